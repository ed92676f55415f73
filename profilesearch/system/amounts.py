"""Ranges of numbers that come from files: one out of range was damaged, edited, or written by another program."""

import math
from typing import Any, TypeGuard


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
