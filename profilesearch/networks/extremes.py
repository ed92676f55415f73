"""The ends of a budget surface: of all widths with equal cost in one metric, those with most or least of another."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray

Cost = Callable[[FloatArray | IntArray], FloatArray]
"""Relative cost of widths that need not be whole: (N, G) to (N,)."""
_EXACT = 1e-5
_TINY = 1e-15
_STEPS = 50
_GAIN = 1e-5
_SMALLEST = 1e-3
"""Trust region, as a part of a group's channels, at which the ascent ends."""


@dataclass(frozen=True, eq=False)
class Surface:
    """All widths, whole or not, that have a given cost.

    Attributes:
        cost: Never less for wider groups.
        level: What the widths cost, relative to the full network.
        low: Smallest widths, shape (G,).
        high: Largest widths, shape (G,).
    """

    cost: Cost
    level: float
    low: FloatArray
    high: FloatArray

    def reach(self, widths: FloatArray) -> FloatArray:
        """Scales widths of shape (N, G) by one factor each, and bounds them, so that they lie on the surface."""
        bottom, top = np.log((self.low / widths).min(axis=1)), np.log((self.high / widths).max(axis=1))
        factor = rising_root(lambda x, rows: self.cost(self._scaled(widths[rows], x)) - self.level, bottom, top)
        return self._scaled(widths, factor)

    def _scaled(self, widths: FloatArray, log_factor: FloatArray) -> FloatArray:
        scaled: FloatArray = np.clip(widths * np.exp(log_factor)[:, None], self.low, self.high)
        return scaled

    def extreme(self, other: Cost, sign: int, alike: float = 1e-7) -> FloatArray:
        """Returns the point of the surface that has most (sign 1) or least (-1) of another cost, shape (G,).

        Sequential linear programming with a trust region (Griffith and Stewart 1961): one constraint and bounds make
        each program a fractional knapsack (Dantzig 1957), which is solved exactly by sorting groups by what they have
        of the other cost for each unit of this one. Groups that are alike in this share evenly. Where no two groups
        meet in a layer, both costs are linear and the first program is the answer; else it is the best of several
        starts, and may be a local one.

        Args:
            other: What the point has most or least of.
            sign: 1 or -1.
            alike: Groups that differ by a smaller part share evenly, at the price of at most that part of what they
                have.
        """
        middle = self.high[None] / 2
        starts = np.concatenate([middle, *(self._leaning(other, share) for share in (0.5, 2.0))])
        ends = np.stack([self._ascend(start, other, sign, alike) for start in self.reach(starts)])
        best: FloatArray = ends[int(np.argmax(sign * other(ends)))]
        return best

    def _leaning(self, other: Cost, power: float) -> FloatArray:
        """A start that leans to groups that have much of the other cost (power above 1) or little; shape (1, G)."""
        gain = _slopes(other, self.high) / np.maximum(_slopes(self.cost, self.high), _TINY)
        order = np.argsort(np.argsort(gain)) / max(1, len(gain) - 1)
        leaning: FloatArray = self.high * power ** (4 * order - 2)
        return leaning[None]

    def _ascend(self, widths: FloatArray, other: Cost, sign: int, alike: float) -> FloatArray:
        radius, value = 1.0, sign * float(other(widths[None])[0])
        for _ in range(_STEPS):
            room = radius * (self.high - self.low)
            low, high = np.maximum(widths - room, self.low), np.minimum(widths + room, self.high)
            slopes, gains = _slopes(self.cost, widths), sign * _slopes(other, widths)
            kinds = _kinds(gains / np.maximum(slopes, _TINY), alike)
            moved = self.reach(_knapsack(slopes, kinds, float(slopes @ widths), low, high)[None])[0]
            reached = sign * float(other(moved[None])[0])
            if reached > value + _GAIN:
                widths, value, radius = moved, reached, min(1.0, 2 * radius)
            elif radius < _SMALLEST:
                break
            else:
                radius /= 3
        return widths


def rising_root(function: Callable[..., FloatArray], low: FloatArray, high: FloatArray) -> FloatArray:
    """Finds a zero in [low, high] of N functions that rise from one end to the other; an end where there is none.

    By Chandrupatla's method (1997), as scipy has it for arrays.

    Args:
        function: Called with arguments and the indices that they belong to, both of shape (K,).
        low: Shape (N,).
        high: Shape (N,).
    """
    rows = np.arange(len(low))
    below, above = function(low, rows), function(high, rows)
    root = np.where(below >= 0, low, high)
    inside = np.flatnonzero((below < 0) & (above > 0))
    if len(inside):
        from scipy.optimize import elementwise  # noqa: PLC0415  takes half a second

        found = elementwise.find_root(
            lambda x, row: function(x, row.astype(np.int64)),
            (low[inside], high[inside]),
            args=(inside.astype(np.float64),),
            tolerances={"fatol": _EXACT},
        )
        root[inside] = found.x
    return root


def _slopes(cost: Cost, widths: FloatArray) -> FloatArray:
    """Cost of the last channel of each group, shape (G,)."""
    less: FloatArray = widths - np.eye(len(widths))
    slopes: FloatArray = np.maximum(cost(widths[None]) - cost(less), 0)
    return slopes


def _kinds(worth: FloatArray, alike: float) -> IntArray:
    """Numbers groups by their worth, the least first; of one number are those that differ by less than a part."""
    kinds, kind, first = np.zeros(len(worth), dtype=np.int64), -1, -np.inf
    for place in np.argsort(worth):
        if worth[place] > first + alike * abs(first) or kind < 0:
            kind, first = kind + 1, worth[place]
        kinds[place] = kind
    return kinds


def _knapsack(slopes: FloatArray, kinds: IntArray, budget: float, low: FloatArray, high: FloatArray) -> FloatArray:
    """Fills the best kinds first: widths in [low, high] whose sum, weighted by `slopes`, is the budget."""
    room = np.bincount(kinds, slopes * (high - low))
    left = budget - float(slopes @ low)
    before = np.concatenate([np.cumsum(room[::-1])[::-1][1:], [0.0]])  # what better kinds take
    share = np.clip((left - before) / np.maximum(room, _TINY), 0, 1)
    widths: FloatArray = low + share[kinds] * (high - low)
    return widths
