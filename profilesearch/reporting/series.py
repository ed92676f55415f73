"""What every run of a page is called and drawn in: its own title and colour, the same in every plot."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.colors import hsv_to_rgb, to_hex

_GOLDEN = 0.618034
"""Part of the circle between one hue and the next, beyond the named colours."""


class Palette:
    """Colours by name, given in the order in which names are first asked for."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """Returns the colour of what has this name, as `#rrggbb`: always the same one, and no other name's."""
        return self._given.setdefault(name, _colour(len(self._given)))


def _colour(number: int) -> str:
    named = mpl.colormaps["tab10"]
    if number < named.N:
        return str(to_hex(named(number)))
    red, green, blue = hsv_to_rgb((number * _GOLDEN % 1, 0.65, 0.75))
    return str(to_hex((float(red), float(green), float(blue))))


def titles(paths: Sequence[Path]) -> list[str]:
    """Returns what runs are called on a page: the shortest ends of their paths that tell them apart.

    Args:
        paths: Of different files or folders.
    """
    parts = [(*path.resolve().parent.parts, path.resolve().stem if path.is_file() else path.resolve().name)
             for path in paths]  # fmt: skip
    return [_title(own, [*parts[:place], *parts[place + 1 :]]) for place, own in enumerate(parts)]


def _title(own: Sequence[str], others: Sequence[Sequence[str]]) -> str:
    ends = (own[-size:] for size in range(1, len(own) + 1))
    return "/".join(next((end for end in ends if all(other[-len(end) :] != end for other in others)), own))
