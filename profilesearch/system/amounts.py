"""Ranges of numbers: of files, where one out of range was damaged, edited, or written otherwise; of arguments."""

import math
from numbers import Integral
from typing import Any, TypeGuard

from profilesearch.errors import UsageError

LARGEST_SEED = 2**32 - 1
"""Of NumPy's old generator, which others seed."""


def is_number(item: object, low: float = -math.inf, high: float = math.inf) -> TypeGuard[float]:
    """Says whether something is a finite number within [low, high]; true and false are none."""
    try:
        return (
            isinstance(item, int | float) and not isinstance(item, bool) and low <= item <= high and math.isfinite(item)
        )
    except OverflowError:  # an integer beyond all floating-point numbers
        return False


def is_part(item: object) -> TypeGuard[float]:
    """Says whether something is a number in [0, 1], as accuracies are."""
    return is_number(item, 0, 1)


def finite(value: Any) -> Any:
    """Returns a JSON value with null for NaN and infinite numbers, which Python writes, and other readers refuse."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def whole_number(name: str, item: object, low: int = 0, high: int | None = None) -> int:
    """Returns an argument as a plain whole number; NumPy's are some too.

    Raises:
        UsageError: It is none, or out of range.
    """
    number = int(item) if isinstance(item, Integral) and not isinstance(item, bool) else None
    if number is not None and low <= number and (high is None or number <= high):
        return number
    most = "" if high is None else f", at most {high}"
    raise UsageError(f"{name} must be a whole number, {low} or more{most}, got {item!r}")
