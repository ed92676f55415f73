"""What the cells of records may hold: a kind for each column, so that a wrong cell is found when its file is read."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Value = str | float | None
"""What a cell says: a text, a number, or None where a number was not taken."""


@dataclass(frozen=True)
class Kind:
    """What a column's cells may hold.

    Attributes:
        fits: Says whether a text is such a cell.
        value: Returns what such a cell says.
    """

    fits: Callable[[str], bool]
    value: Callable[[str], Value] = str

    def __call__(self, cell: str) -> bool:
        """Says whether a text is a cell of this kind."""
        return self.fits(cell)


@dataclass(frozen=True)
class Later:
    """The kind of a column that came later; `before` is what rows without it mean."""

    kind: Kind
    before: str

    def __call__(self, cell: str) -> bool:
        """Says whether a text is a cell of this kind."""
        return self.kind(cell)

    def value(self, cell: str) -> Value:
        """Returns what a cell says."""
        return self.kind.value(cell)


Table = Mapping[str, Kind | Later]
"""The columns of records with their kinds; the first is the rows' identity."""
_WHOLE = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_REAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", re.ASCII)
_DIGITS = 10
"""Of a whole number."""
_NOT_TAKEN = ("", "nan")


text = Kind(lambda cell: bool(cell) and cell.isprintable())
"""A name."""


def whole(least: int = 0) -> Kind:
    """Returns the kind of whole numbers in [least, 2^31), written as Python writes them."""
    return Kind(lambda cell: bool(_WHOLE.fullmatch(cell)) and len(cell) <= _DIGITS and least <= int(cell) < 2**31, int)


def real(low: float, high: float) -> Kind:
    """Returns the kind of finite numbers in [low, high]."""
    return Kind(lambda cell: bool(_REAL.fullmatch(cell)) and low <= float(cell) <= high, float)


def maybe(kind: Kind) -> Kind:
    """Returns the kind of cells that are of another kind, or empty or NaN where a number was not taken."""
    return Kind(
        lambda cell: cell in _NOT_TAKEN or kind(cell), lambda cell: None if cell in _NOT_TAKEN else kind.value(cell)
    )


def several(kind: Kind, between: str = " ") -> Kind:
    """Returns the kind of one cell or more of another kind, with something between them."""
    return Kind(lambda cell: all(map(kind, cell.split(between))))


def one_of(names: Iterable[str]) -> Kind:
    """Returns the kind of certain names."""
    return Kind(frozenset(names).__contains__)


def hexadecimal(length: int) -> Kind:
    """Returns the kind of hashes of so many characters."""
    return Kind(lambda cell: bool(re.fullmatch(rf"[0-9a-f]{{{length}}}", cell, re.ASCII)))


def values(table: Table, row: Mapping[str, str]) -> dict[str, Value]:
    """Returns what the cells of a row say, by column: numbers as numbers."""
    return {column: kind.value(row[column]) for column, kind in table.items()}


part = real(0, 1)
"""Of a whole, as accuracies are."""
amount = real(0, 1e6)
"""Relative to another network's, so about 1."""
