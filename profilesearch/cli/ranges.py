"""Numbers of the command line: each option says its range, and what lies outside is refused before any work."""

import argparse
from collections.abc import Callable

from profilesearch.networks.names import AUTO

MOST = 10**9
"""Largest number of a count that says nothing else."""


def whole(least: int, most: int = MOST, unit: str = "") -> Callable[[str], int]:
    """Returns the `type` of an option that takes a whole number from `least` to `most`, of `unit`s."""
    low = "0 or more" if least == 0 else f"at least {least}"
    what = f"{low}{f' {unit}' if unit else ''}" + (f", at most {most}" if most != MOST else "")

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text}{_apart(text)}") from None
        if not least <= value <= most:
            over = f", at most {most}" if value > most and "at most" not in what else ""
            raise argparse.ArgumentTypeError(f"must be {what}{over}, got {text}")
        return value

    return read


def whole_or_auto(text: str) -> int | str:
    """Reads the value of --multiple-of."""
    return AUTO if text == AUTO else whole(1, 4096)(text)


def real(least: float, most: float, without: str = "", hint: str = "") -> Callable[[str], float]:
    """Returns the `type` of an option that takes a number.

    Args:
        least: Smallest value.
        most: Largest value.
        without: The ends that are not meant: `least`, `most`, or both with a space between.
        hint: Said of a number that lies outside.
    """
    excluded = [end for name, end in (("least", least), ("most", most)) if name in without]
    what = f"in {'(' if least in excluded else '['}{least:g}, {most:g}{')' if most in excluded else ']'}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number {what}, got {text}{_apart(text)}") from None
        if not least <= value <= most or value in excluded:
            raise argparse.ArgumentTypeError(f"must be {what}, got {text}{hint}")
        return value

    return read


def _apart(text: str) -> str:
    """Says how numbers are written, of a text with a comma."""
    return "; write fractions with a point, several numbers with spaces between them" if "," in text else ""


seed = whole(0, 2**31 - 1)
"""Of all random choices; seeds that are made of it by addition still fit into the 32 bits that libraries take."""
workers = whole(0, 1024)
share = real(0, 1, "least", "; 0.5 is half")
"""A part of the whole, more than nothing."""
