"""Records: raw rows of measurements in CSV files that are only appended to."""

import csv
import errno
import fcntl
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.files import cannot_write, regular_file

Row = dict[str, str]


class Records:
    """Rows by identity, in a CSV file whose first column is that identity.

    A row is written in one piece as soon as it is measured, under a lock, so that several processes may add rows. A
    half-written last line, from a kill, is not read, and cut off by the next row; its measurement is taken again.

    Args:
        path: The file; created with its folders at the first row. None keeps the rows in memory.
        columns: Names of all columns, the identity first.

    Raises:
        UsageError: The file has other columns, or cannot be read.
    """

    def __init__(self, path: Path | None, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = tuple(columns)
        self._rows: dict[str, Row] = {}
        if path is not None and path.exists():
            self._read(path)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, identity: str) -> Row | None:
        """Returns the row with this identity, or None."""
        return self._rows.get(identity)

    def rows(self) -> list[Row]:
        """Returns all rows in the order in which they were measured."""
        return list(self._rows.values())

    def put(self, row: Row) -> None:
        """Adds a row; one whose identity is there already changes nothing.

        Raises:
            UsageError: The file cannot be written.
        """
        identity = row[self.columns[0]]
        if identity in self._rows:
            return
        if self.path is not None:
            self._append(self.path, _line(row.get(column, "") for column in self.columns))
        self._rows[identity] = row

    def _append(self, path: Path, line: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                with suppress(OSError):  # some network disks have no locks
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                size = _cut(descriptor)
                content = (line if size else _line(self.columns) + line).encode()
                if os.write(descriptor, content) < len(content):
                    os.ftruncate(descriptor, size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot_write(path, error) from error

    def _read(self, path: Path) -> None:
        try:
            text = regular_file(path, "records").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}; move it away, and its rows are measured again") from error
        try:
            lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        except csv.Error as error:
            raise UsageError(f"{path} is damaged ({error}); move it away, and its rows are measured again") from error
        if lines and tuple(lines[0]) != self.columns:
            raise UsageError(f"{path} was written by another version; move it away, and its rows are measured again")
        for cells in lines[1:]:
            if len(cells) == len(self.columns):
                self._rows.setdefault(cells[0], dict(zip(self.columns, cells, strict=True)))


def _cut(descriptor: int) -> int:
    """Cuts off a half-written last line; returns the size of what is left."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        size = os.pread(descriptor, size, 0).rfind(b"\n") + 1
        os.ftruncate(descriptor, size)
    return size


def _line(cells: object) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
    return buffer.getvalue()
