"""Single steps of width, and exchanges of two, as the budget surface of whole channels is walked on."""

from collections.abc import Callable

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray

Off = Callable[[IntArray], FloatArray]
"""How far widths are from where they should be: (..., G) to (...)."""
_MOVES = 40
_SMALL = 32
"""Groups of a network in which more is tried, at most."""
_TRIED = 64
"""Pairs of steps whose effects are not only added up but looked at together."""
_NEARER = 1e-9
_AT_ONCE = 2_000_000
"""Pairs of steps that are looked at together: bounds memory."""


def steps(
    widths: IntArray, low: IntArray | FloatArray, high: IntArray | FloatArray, multiple: int, far: int = 1
) -> IntArray:
    """Returns a step up and a step down in each group, as changes of width; shorter where there is no room.

    Args:
        widths: Shape (N, G).
        low: Smallest widths, shape (G,).
        high: Largest widths, shape (G,).
        multiple: Widths are multiples of this, except for full groups.
        far: How many of the admissible widths a step goes.

    Returns:
        Shape (N, 2 G, G).
    """
    up = np.minimum((widths // multiple + far) * multiple, high) - widths
    below = (np.ceil(widths / multiple) - far) * multiple
    down = np.maximum(below, low) - widths
    one = np.eye(widths.shape[1])
    return np.concatenate([up[:, :, None] * one, down[:, :, None] * one], axis=1).astype(np.int64)


def exchange(widths: IntArray, off: Off, low: IntArray, high: IntArray, multiple: int, tolerance: float) -> IntArray:
    """Moves profiles nearer to a budget by steps in one group, or in two at a time.

    Each time, the step or pair of steps is taken that comes nearest, until that is within the tolerance or none comes
    nearer. Then, in small networks, each step that leads away is taken and held, and the same is done from there.

    Args:
        widths: Shape (N, G).
        off: Relative distance from the budget, signed.
        low: Smallest widths, shape (G,).
        high: Largest widths, shape (G,).
        multiple: Widths are multiples of this, except for full groups.
        tolerance: Distance at which a profile stays as it is.

    Returns:
        Widths, shape (N, G).
    """
    widths = _approach(widths, off, low, high, multiple, tolerance)
    far, size = np.abs(off(widths)) > tolerance, len(low)
    if not far.any() or size > _SMALL:
        return widths
    stuck, place = np.unique(widths[far], axis=0, return_inverse=True)
    taken = steps(stuck, low, high, multiple)
    started, held = (stuck[:, None] + taken).reshape(-1, size), (taken != 0).reshape(-1, size)
    below, above = np.where(held, started, low), np.where(held, started, high)
    ended = _approach(started, off, below, above, multiple, tolerance).reshape(taken.shape)
    ended = np.concatenate([ended, stuck[:, None]], axis=1)
    widths[far] = ended[np.arange(len(stuck)), np.abs(off(ended)).argmin(axis=1)][place]
    return widths


def _approach(widths: IntArray, off: Off, low: IntArray, high: IntArray, multiple: int, tolerance: float) -> IntArray:
    """Takes steps and pairs of steps as long as they come nearer; bounds may be those of each profile, (N, G)."""
    widths, active = widths.copy(), np.arange(len(widths))
    low, high = np.broadcast_to(low, widths.shape), np.broadcast_to(high, widths.shape)
    chunk = max(1, _AT_ONCE // (2 * widths.shape[1] + 1) ** 2)
    for _ in range(_MOVES):
        distance = np.abs(off(widths[active]))
        active, distance = active[distance > tolerance], distance[distance > tolerance]
        if not len(active):
            break
        parts = [active[start : start + chunk] for start in range(0, len(active), chunk)]
        taken = [steps(widths[part], low[part], high[part], multiple) for part in parts]
        moved = np.concatenate([_nearest(widths[part], off, each) for part, each in zip(parts, taken, strict=True)])
        better = np.abs(off(moved)) < distance - _NEARER
        active = active[better]
        widths[active] = moved[better]
    return widths


def _nearest(widths: IntArray, off: Off, taken: IntArray) -> IntArray:
    """Takes the step of (N, 2 G, G) or the pair of steps that brings widths (N, G) nearest to the budget."""
    size, here = widths.shape[1], off(widths)
    taken = np.concatenate([taken, np.zeros((len(widths), 1, size), dtype=np.int64)], axis=1)
    effects = off(widths[:, None] + taken) - here[:, None]
    one, two = np.triu_indices(2 * size + 1, 1)
    apart = one + size != two  # up and down in one group is no step
    one, two = one[apart], two[apart]
    left = np.abs(here[:, None] + effects[:, one] + effects[:, two])
    tried = left.argpartition(min(_TRIED, len(one)) - 1)[:, :_TRIED]  # effects do not add up where groups meet
    rows = np.arange(len(widths))
    moved = widths[:, None] + taken[rows[:, None], one[tried]] + taken[rows[:, None], two[tried]]
    nearest: IntArray = moved[rows, np.abs(off(moved)).argmin(axis=1)]
    return nearest
