"""Records: raw rows of measurements in CSV files that are only appended to."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

from profilesearch.errors import UsageError
from profilesearch.research.study.cells import Later, Table
from profilesearch.system.files import cannot_write, regular_file, write_text
from profilesearch.system.journal import append, locked

Row = dict[str, str]
_CHECK = "check"
_SHOWN = 40
"""Characters of a wrong cell that a message shows."""


class Records:
    """Rows by identity, in a CSV file whose first column is that identity.

    A row is added as soon as it is measured, as `append` says. A half-written last line is not read; its measurement is
    taken again. A file that was deleted meanwhile is written again.

    Every row ends with a checksum, in a column of its own. A file of an earlier version has none, and gets none; one
    that lacks columns which came later is written anew before the next row.

    Args:
        path: The file; created with its folders at the first row. None keeps the rows in memory.
        table: All columns, the identity first, with what their cells may hold.

    Raises:
        UsageError: The file has other columns, cannot be read, or holds a row that was not written like that.
    """

    def __init__(self, path: Path | None, table: Table) -> None:
        self.path = path
        self.columns = tuple(table)
        self._table = table
        self._checked = True
        self._there = self.columns  # of the file
        self._rows: dict[str, Row] = {}
        if path is not None and path.exists():
            self._read(path)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, identity: str) -> Row:
        return self._rows[identity]

    def get(self, identity: str) -> Row | None:
        """Returns the row with this identity, or None."""
        return self._rows.get(identity)

    def rows(self) -> list[Row]:
        """Returns all rows in the order in which they were measured."""
        return list(self._rows.values())

    def wrong(self, row: Row, column: str, reason: str = "") -> UsageError:
        """Returns the sentence about a row with a wrong cell."""
        return self._refused(_short(row[self.columns[0]]), f"'{_short(row[column])}' as its {column}{reason}")

    def put(self, row: Row) -> None:
        """Adds a row; one whose identity is there already changes nothing.

        Raises:
            UsageError: The file cannot be written, or a cell is not what its column holds.
        """
        identity = row[self.columns[0]]
        if identity in self._rows:
            return
        self._look_at(row)
        if self.path is not None:
            self._append(self.path, row)
        self._rows[identity] = row

    def _renew(self, path: Path) -> None:
        """Writes a file of an earlier version as those of today are."""
        try:
            with locked(path):
                self._read(path)  # another process may have been faster
                if self._there != self.columns:
                    self._there, self._checked = self.columns, True
                    write_text(path, self._text())
        except OSError as error:
            raise cannot_write(path, error) from error

    def _append(self, path: Path, row: Row) -> None:
        if not path.exists():
            self._there, self._checked = self.columns, True
        elif self._there != self.columns:
            self._renew(path)
        append(path, _line(self._cells(row)).encode(), lambda: self._text().encode())

    def _text(self) -> str:
        """Returns a whole file with all rows that are known."""
        return "".join(map(_line, (self._head, *map(self._cells, self._rows.values()))))

    def _read(self, path: Path) -> None:
        try:
            content = regular_file(path, "records").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise UsageError(f"cannot read {path}; move it away, and its rows are measured again") from error
        reader = csv.reader(io.StringIO(content[: content.rfind("\n") + 1]), strict=True)
        try:
            for cells in reader:
                if reader.line_num == 1:
                    self._take_head(path, cells)
                elif cells:
                    self._take(cells, reader.line_num)
        except csv.Error as error:
            raise UsageError(f"{path} is damaged ({error}); move it away, and its rows are measured again") from error

    def _take_head(self, path: Path, cells: list[str]) -> None:
        self._checked = cells[-1:] == [_CHECK]
        old = tuple(name for name, kind in self._table.items() if not isinstance(kind, Later))
        self._there = old if tuple(cells) == self._with_check(old) else self.columns
        if tuple(cells) != self._head:
            raise UsageError(f"{path} was written by another version; move it away, and its rows are measured again")

    def _take(self, cells: list[str], line: int) -> None:
        if len(cells) != len(self._head):
            raise self._refused(f"in line {line}", f"{len(cells)} cells instead of {len(self._head)}")
        before = {name: kind.before for name, kind in self._table.items() if isinstance(kind, Later)}
        row = before | dict(zip(self._there, cells, strict=False))
        self._look_at(row)
        if cells != self._cells(row):
            raise self._refused(_short(cells[0]), "cells that do not fit its checksum")
        self._rows.setdefault(cells[0], row)

    @property
    def _head(self) -> tuple[str, ...]:
        return self._with_check(self._there)

    def _with_check(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return (*columns, _CHECK) if self._checked else columns

    def _cells(self, row: Row) -> list[str]:
        """Returns what stands in a row's line."""
        cells = [row[column] for column in self._there]
        return [*cells, f"{crc32(_line(cells).encode()):08x}"] if self._checked else cells

    def _look_at(self, row: Row) -> None:
        for column, fits in self._table.items():
            if not fits(row[column]):
                raise self.wrong(row, column)

    def _refused(self, which: str, what: str) -> UsageError:
        where = self.path or "the records"
        return UsageError(f"{where} has a row {which} with {what}; take that row out, and it is measured again")


def _short(cell: str) -> str:
    return cell if len(cell) <= _SHOWN else f"{cell[:_SHOWN]}..."


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
