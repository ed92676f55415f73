"""Budgets with two metrics: profiles that meet both at once, as whole channels."""

from dataclasses import dataclass

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.extremes import Cost, Surface, rising_root
from profilesearch.networks.groups import IntArray
from profilesearch.networks.steps import steps

_MOVES = 40
_ALIKE = 0.005
_AIM = 0.25
_NEARER = 1e-9
_FAR = 60
_OTHER = 0.05
_AT_ONCE = 2_000_000
"""Pairs of steps that are looked at together: bounds memory."""


@dataclass(frozen=True, eq=False)
class Pair:
    """All profiles that have a given cost in one metric and in another.

    Attributes:
        surface: The profiles that meet the first metric.
        other: Cost in the second metric.
        ends: The points of the surface with least and with most of the second cost, shape (2, G).
        level: What profiles cost in the second metric.
        multiple: Widths are multiples of this, except for full groups.
        tolerance: Largest relative distance from either level with which a profile is good enough.
    """

    surface: Surface
    other: Cost
    ends: FloatArray
    level: float
    multiple: int
    tolerance: float

    @classmethod
    def of(cls, surface: Surface, other: Cost, level: float, multiple: int, tolerance: float) -> "Pair":
        """Finds the ends; groups that hardly differ are alike there, so that proposals stay together on their way."""
        ends = np.stack([surface.extreme(other, sign, _ALIKE) for sign in (-1, 1)])
        return cls(surface, other, ends, level, multiple, tolerance)

    def reach(self) -> tuple[float, float]:
        """Returns the smallest and largest second cost that is found on the surface."""
        low, high = self.other(self.ends)
        return float(low), float(high)

    def project(self, widths: FloatArray) -> FloatArray:
        """Moves proposals to where both costs are met, as widths that need not be whole.

        A proposal that has too little of the second cost goes to the point of the surface that has most of it, and one
        that has too much to the point that has least: its logarithm moves along a straight line, and is scaled onto the
        surface at each place. The line ends beyond the level, and the cost is continuous on it, so that there is such a
        place for every proposal and every level within reach; the bisection finds one.

        Args:
            widths: Positive, shape (N, G).

        Returns:
            Widths, shape (N, G).
        """
        start = np.log(self.surface.reach(widths))
        more = self.other(np.exp(start)) < self.level
        goal = np.log(self.ends)[more.astype(np.int64)]
        sign = np.where(more, 1.0, -1.0)

        def at(share: FloatArray, rows: IntArray) -> FloatArray:
            return self.surface.reach(np.exp(start[rows] + share[:, None] * (goal[rows] - start[rows])))

        def beyond(share: FloatArray, rows: IntArray) -> FloatArray:
            missing: FloatArray = sign[rows] * (self.other(at(share, rows)) - self.level)
            return missing

        share = rising_root(beyond, np.zeros(len(start)), np.ones(len(start)))
        return at(share, np.arange(len(start)))

    def settle(self, widths: IntArray) -> IntArray:
        """Mends what rounding did to both costs, by steps in one group or in two at a time.

        Each time, the step or pair of steps is taken that brings both costs nearest, until they are within a part of
        the tolerance or none comes nearer. Where that is not within the tolerance, three steps are taken together, in
        small networks of several channels each.

        Args:
            widths: Whole, shape (N, G).

        Returns:
            Widths, shape (N, G).
        """
        widths = widths.copy()
        for part in self._parts(widths):
            self._settle(part)
        return widths

    @staticmethod
    def _parts(widths: IntArray, most: int = 1) -> list[IntArray]:
        """Cuts profiles into parts whose pairs of steps fit into memory; they are views."""
        chunk = max(1, _AT_ONCE // (2 * most * widths.shape[1] + 1) ** 2)
        return [widths[start : start + chunk] for start in range(0, len(widths), chunk)]

    def _settle(self, widths: IntArray) -> None:
        active = np.arange(len(widths))
        for _ in range(_MOVES):
            off = self._off(widths[active])
            far = np.abs(off).max(axis=-1) > _AIM * self.tolerance
            active, off = active[far], off[far]
            if not len(active):
                return
            moved = self._nearest(widths[active], off)
            better = _distance(self._off(moved)) < _distance(off) - _NEARER
            for row in np.flatnonzero(~better & (np.abs(off).max(axis=-1) > self.tolerance)):
                moved[row] = self._further(widths[active[row]])
                better[row] = _distance(self._off(moved[row])) < _distance(off[row]) - _NEARER
            active, moved = active[better], moved[better]
            widths[active] = moved

    def _off(self, widths: IntArray) -> FloatArray:
        """Relative distances from both levels: (..., G) to (..., 2)."""
        first, second = self.surface.cost(widths), self.other(widths)
        return np.stack([first / self.surface.level - 1, second / self.level - 1], axis=-1)

    def _further(self, widths: IntArray) -> IntArray:
        """Returns the best three steps from one profile, shape (G,)."""
        most = max(1, _FAR // len(widths))
        started = widths + self._taken(widths[None], most)[0]
        moved = np.concatenate([self._nearest(part, self._off(part), most) for part in self._parts(started, most)])
        best: IntArray = moved[int(_distance(self._off(moved)).argmin())]
        return best

    def _taken(self, widths: IntArray, most: int) -> IntArray:
        low, high = self.surface.low, self.surface.high
        return np.concatenate([steps(widths, low, high, self.multiple, far) for far in range(1, most + 1)], axis=1)

    def _nearest(self, widths: IntArray, off: FloatArray, most: int = 1) -> IntArray:
        """Takes the pair of steps whose effects together bring widths (N, G), off by (N, 2), nearest to both levels."""
        size, taken = widths.shape[1], self._taken(widths, most)
        effects = self._off(widths[:, None] + taken) - off[:, None]
        none = np.zeros((len(widths), 1, size), dtype=np.int64)
        effects = np.concatenate([effects, np.zeros((len(widths), 1, 2))], axis=1)
        effects[~np.concatenate([taken, none + 1], axis=1).any(axis=-1)] = np.inf
        taken = np.concatenate([taken, none], axis=1)
        left = _distance(off[:, None, None] + effects[:, :, None] + effects[:, None])
        group = np.append(np.tile(np.arange(size), 2 * most), size)
        left[:, (group[:, None] == group) & (group < size)] = np.inf
        one, two = np.divmod(left.reshape(len(widths), -1).argmin(axis=1), len(group))
        rows = np.arange(len(widths))
        moved: IntArray = widths + taken[rows, one] + taken[rows, two]
        return moved


def _distance(off: FloatArray) -> FloatArray:
    """How far profiles are off, (..., 2) to (...): the larger of both, and hardly the other."""
    far = np.abs(off)
    one, other = far[..., 0], far[..., 1]  # reductions over an axis of two take several times as long
    distance: FloatArray = np.maximum(one, other) + _OTHER * (one + other)
    return distance
