"""What the cells of records may hold: a kind for each column, so that a wrong cell is found when its file is read."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Kind = Callable[[str], bool]
"""Says whether a text is a cell of this kind."""
Table = Mapping[str, Kind]
"""The columns of records with their kinds; the first is the rows' identity."""


@dataclass(frozen=True)
class Later:
    """The kind of a column that came later; `before` is what rows without it mean."""

    kind: Kind
    before: str

    def __call__(self, cell: str) -> bool:
        """Says whether a text is a cell of this kind."""
        return self.kind(cell)


_WHOLE = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_REAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", re.ASCII)
_DIGITS = 10
"""Of a whole number."""


def text(cell: str) -> bool:
    """Says whether a cell holds a name."""
    return bool(cell) and cell.isprintable()


def whole(least: int = 0) -> Kind:
    """Returns the kind of whole numbers in [least, 2^31), written as Python writes them."""
    return lambda cell: bool(_WHOLE.fullmatch(cell)) and len(cell) <= _DIGITS and least <= int(cell) < 2**31


def real(low: float, high: float) -> Kind:
    """Returns the kind of finite numbers in [low, high]."""
    return lambda cell: bool(_REAL.fullmatch(cell)) and low <= float(cell) <= high


def maybe(kind: Kind) -> Kind:
    """Returns the kind of cells that are of another kind, or empty or NaN where a number was not taken."""
    return lambda cell: cell in ("", "nan") or kind(cell)


def several(kind: Kind, between: str = " ") -> Kind:
    """Returns the kind of one cell or more of another kind, with something between them."""
    return lambda cell: all(map(kind, cell.split(between)))


def one_of(names: Iterable[str]) -> Kind:
    """Returns the kind of certain names."""
    return frozenset(names).__contains__


def hexadecimal(length: int) -> Kind:
    """Returns the kind of hashes of so many characters."""
    return lambda cell: bool(re.fullmatch(rf"[0-9a-f]{{{length}}}", cell, re.ASCII))


part = real(0, 1)
"""Of a whole, as accuracies are."""
amount = real(0, 1e6)
"""Relative to another network's, so about 1."""
