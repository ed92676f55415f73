"""Records: raw rows of measurements in CSV files that are only appended to."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.files import cannot_write, write_text

Row = dict[str, str]


class Records:
    """Rows by identity, in a CSV file whose first column is that identity.

    A row is written in one piece as soon as it is measured. A half-written last line, from a kill, is cut off when the
    file is read; its measurement is taken again.

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
            if not path.exists():
                write_text(path, _line(self.columns))
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
            try:
                content = line.encode()
                size = os.fstat(descriptor).st_size
                if os.write(descriptor, content) < len(content):
                    os.ftruncate(descriptor, size)
                    raise OSError(28, "no space left on the device")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot_write(path, error) from error

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path}; move it away, and its rows are measured again") from error
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_text(path, whole)
        lines = list(csv.reader(io.StringIO(whole)))
        if not lines or tuple(lines[0]) != self.columns:
            raise UsageError(f"{path} was written by another version; move it away, and its rows are measured again")
        for cells in lines[1:]:
            if len(cells) == len(self.columns):
                self._rows.setdefault(cells[0], dict(zip(self.columns, cells, strict=True)))


def _line(cells: object) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]
    return buffer.getvalue()
