"""The profile space: keep ratios to widths, and any proposal to the budget surface."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from profilesearch.errors import UsageError
from profilesearch.evidence import Provenance
from profilesearch.networks.cost import CostModel, FloatArray
from profilesearch.networks.counting import is_unnamed
from profilesearch.networks.extremes import Surface
from profilesearch.networks.groups import TIED, GroupTable, IntArray
from profilesearch.networks.labels import layer_of
from profilesearch.networks.pairs import Pair
from profilesearch.networks.rules import FLY
from profilesearch.networks.steps import exchange
from profilesearch.profiles import Budget, Profile, Scope

_TOLD = 3
"""Reasons that are told, at most."""
_WORTH = 0.01
"""Part of the multiply-adds that makes a reason worth telling."""
TOLERANCE = 0.005
"""Largest relative distance of a projected profile from its budget, in each of its metrics."""


def round_widths(ratios: FloatArray, channels: IntArray, multiple: int = 1, least: float = 0.0) -> IntArray:
    """Rounds keep ratios to whole channels: nearest, with a floor, and monotone.

    The admissible widths of a group are the multiples of `multiple` and all its channels.

    Args:
        ratios: Keep ratios in [0, 1], shape (..., G).
        channels: Channels of each group, shape (G,).
        multiple: Widths are multiples of this, except for full groups.
        least: Smallest keep ratio; at least one channel (or one multiple) always stays.

    Returns:
        Widths, shape (..., G).
    """
    wanted = np.clip(ratios, least, 1.0) * channels
    below = np.floor(wanted / multiple) * multiple
    above = np.minimum(below + multiple, channels)
    nearest = np.where(wanted - below < above - wanted, below, above)
    smallest = np.minimum(channels, multiple * np.maximum(1, np.ceil(least * channels / multiple - 1e-9)))
    return np.clip(nearest, smallest, channels).astype(np.int64)


def left_out(table: GroupTable, cost: CostModel) -> str:
    """Says for people why layers keep their channels in every scope, those with the most multiply-adds first."""
    macs: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for use in cost.uses:
        macs[layer_of(use.kernel)] += use.macs
        if use.shape and is_unnamed(use.kernel):
            parts[FLY] += use.macs
    for entry in (each for each in table.excluded if each.reason != TIED):
        parts[entry.reason] += sum(macs[layer] for layer in entry.layers)
    told = [(why, part / macs.total()) for why, part in parts.most_common(_TOLD)]
    said = [f"{why} ({part:.0%})" for why, part in told if part > _WORTH]
    return f"; of the multiply-adds, these make channels that stay: {', '.join(said)}" if said else ""


@dataclass(frozen=True, eq=False)
class ProfileSpace:
    """All profiles of an architecture under a budget.

    Attributes:
        architecture: Name of the architecture.
        scope: Which groups are touched; `table` holds just these.
        table: The channel groups, G of them.
        cost: Their cost model.
        budget: What the profiles may cost.
        multiple: Widths are multiples of this.
        least: Smallest keep ratio of any group.

    Raises:
        UsageError: The budget is below what the smallest profile costs, or its two metrics cannot be met together.
    """

    architecture: str
    scope: Scope
    table: GroupTable
    cost: CostModel
    budget: Budget
    multiple: int = 1
    least: float = 0.1

    def __post_init__(self) -> None:
        if not self.table.groups:
            raise UsageError(f"{self.architecture} has no group in scope '{self.scope}'; nothing can be pruned")
        if self.multiple < 1:
            raise UsageError(f"multiple must be at least 1, got {self.multiple}")
        low = self.reach()[0]
        if self.budget.keep < low * (1 - TOLERANCE):
            raise UsageError(
                f"keep {self.budget.keep:g} of the {self.budget.metric} is out of reach for {self.architecture} in "
                f"scope '{self.scope}'; the reachable range is {np.ceil(low * 1000) / 1000:.3f} to 1"
                f"{left_out(self.table, self.cost)}"
            )
        if self.budget.keep_params is not None:
            least, most = self.reach_params()
            if not least * (1 - TOLERANCE) <= self.budget.keep_params <= most * (1 + TOLERANCE):
                raise UsageError(
                    f"{self.architecture} cannot keep {self.budget.text} together in scope '{self.scope}'; at "
                    f"{self.budget.keep:g} of the {self.budget.metric}, `keep_params` reaches from "
                    f"{np.ceil(least * 1000) / 1000:.3f} to {np.floor(most * 1000) / 1000:.3f}"
                )

    @property
    def size(self) -> int:
        """Number of groups, G."""
        return len(self.table.groups)

    def widths(self, ratios: FloatArray) -> IntArray:
        """Rounds keep ratios of shape (..., G) to widths."""
        return round_widths(ratios, self.table.channels, self.multiple, self.least)

    def relative(self, widths: IntArray | FloatArray) -> FloatArray:
        """Cost of widths (..., G) in the budget's metric, as a fraction of the full network's."""
        return self.cost.relative(widths, self.budget.metric)

    def params_text(self, widths: IntArray) -> str:
        """Parameters of one profile, widths (G,), for people, such as `130.2 k (48.3%)`."""
        return f"{float(self.cost.params(widths)) / 1e3:.1f} k ({self.relative_params(widths):.1%})"

    def relative_params(self, widths: IntArray) -> float:
        """Parameters of one profile, widths (G,), as a fraction of the full network's."""
        return float(self.cost.relative(widths, "params"))

    @cached_property
    def most(self) -> float:
        """Relative cost beyond which nothing is that was moved onto the budget: by a step of the costliest group.

        Infinite for latency, since times that were measured stand still and jump.
        """
        if self.budget.metric == "latency":
            return np.inf
        smallest, full = self.ends
        step = 1 - self.relative(np.maximum(full - self.multiple * np.eye(self.size, dtype=np.int64), smallest)).min()
        metrics = 1 if self.budget.keep_params is None else 2
        return self.budget.keep / (1 - TOLERANCE) + metrics * float(step)

    @property
    def ends(self) -> IntArray:
        """Widths of the smallest and of the full profile, shape (2, G)."""
        return self.widths(np.array([[0.0], [1.0]]) * np.ones(self.table.channels.shape))

    def reach(self) -> tuple[float, float]:
        """Returns the smallest and largest relative cost that profiles of this space have."""
        low, high = self.relative(self.ends)
        return float(low), float(high)

    def reach_params(self) -> tuple[float, float]:
        """Returns the smallest and largest part of the parameters at the budget's cost in its first metric."""
        return self.pair.reach()

    @cached_property
    def surface(self) -> Surface:
        """The budget surface of widths that need not be whole."""
        low, high = self.ends.astype(np.float64)
        return Surface(self.relative, self.budget.keep, low, high)

    @cached_property
    def pair(self) -> Pair:
        """What meets both costs of a budget of two metrics."""
        level = self.budget.keep_params or 1.0
        params = partial(self.cost.relative, metric="params")
        return Pair.of(self.surface, params, level, self.multiple, TOLERANCE)

    def project(self, ratios: FloatArray) -> IntArray:
        """Moves proposals onto the budget surface by scaling all keep ratios by one factor.

        The factor is found by bisection on the rounded cost, which is monotone; then single steps of width fill what
        rounding left below the budget.

        Under a budget with two metrics, proposals are moved as `Pair` says.

        Args:
            ratios: Keep ratios, shape (N, G).

        Returns:
            Widths, shape (N, G): at most the budget, or beyond it by less than what they would fall short; with two
            metrics, on either side of each. Within half a percent wherever the granularity of the widths allows.
        """
        ratios = np.clip(np.atleast_2d(ratios), self.least, 1.0)
        if self.budget.keep_params is not None:
            near = self.pair.project(ratios * self.table.channels)
            return self.pair.settle(self.widths(near / self.table.channels))
        return self.fill(self._scaled(ratios, self._log_factor(ratios)))

    def uniform_ratio(self) -> float:
        """Returns the largest keep ratio that, the same in every group, stays within the budget."""
        return float(np.exp(self._log_factor(np.ones((1, self.size))))[0])

    def _log_factor(self, ratios: FloatArray) -> FloatArray:
        """Logarithm of the largest factor for which scaled ratios, shape (N, G), fit the budget; shape (N,)."""
        low = np.log(self.least / ratios.max(axis=1))
        top = high = -np.log(ratios.min(axis=1))
        for _ in range(40):
            middle = (low + high) / 2
            fits = self.relative(self._scaled(ratios, middle)) <= self.budget.keep
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        # Bisection never tries its upper end, and there the full network meets a budget of 1.
        fits = self.relative(self._scaled(ratios, top)) <= self.budget.keep
        factor: FloatArray = np.where(fits, top, low)
        return factor

    def _scaled(self, ratios: FloatArray, log_factor: FloatArray) -> IntArray:
        return self.widths(ratios * np.exp(log_factor)[:, None])

    def fill(self, widths: IntArray) -> IntArray:
        """Adds single steps of width, the largest that fits first, until none fits below the budget.

        Where that still leaves more than the tolerance, one step beyond the budget is taken if it ends within that,
        else steps and exchanges of two as long as they end nearer to the budget.
        """
        while True:
            wider, costs = self._steps(widths)
            best = np.where(costs <= self.budget.keep, costs, -np.inf).argmax(axis=1)
            rows = np.flatnonzero(costs[np.arange(len(widths)), best] <= self.budget.keep)
            if not len(rows):
                break
            filled = widths.copy()
            filled[rows] = wider[rows, best[rows]]
            widths = filled
        missing = self.budget.keep - self.relative(widths)
        nearest = costs.argmin(axis=1)
        beyond = costs[np.arange(len(widths)), nearest] - self.budget.keep
        enough, (low, high) = TOLERANCE * self.budget.keep, self.ends
        take = (missing > enough) & (beyond < missing) & (beyond <= enough)
        widths = np.where(take[:, None], wider[np.arange(len(widths)), nearest], widths)
        return exchange(widths, self._off, low, high, self.multiple, TOLERANCE)

    def _off(self, widths: IntArray) -> FloatArray:
        """Relative distance of widths (..., G) from the budget, in its first metric."""
        return self.relative(widths) / self.budget.keep - 1

    def _steps(self, widths: IntArray) -> tuple[IntArray, FloatArray]:
        """Widths (N, G) after one step in each group, (N, G, G), and their costs (N, G), infinite for full groups."""
        step = np.minimum(self.multiple, self.table.channels - widths)
        wider: IntArray = widths[:, None, :] + step[:, :, None] * np.eye(self.size, dtype=np.int64)
        return wider, np.where(step > 0, self.relative(wider), np.inf)

    def uniform(self) -> IntArray:
        """Returns the widths of the uniform profile on the budget surface, shape (G,)."""
        widths: IntArray = self.project(np.full((1, self.size), 0.5))[0]
        return widths

    def sample(self, count: int, random: np.random.Generator) -> IntArray:
        """Draws profiles on the budget surface: independent keep ratios, then projection; shape (count, G)."""
        return self.project(random.uniform(self.least, 1.0, size=(count, self.size)))

    def profile(self, widths: IntArray, found: Provenance) -> Profile:
        """Makes the profile of the given widths, shape (G,)."""
        ratios = widths / self.table.channels
        return Profile(
            architecture=self.architecture,
            scope=self.scope,
            fingerprint=self.table.fingerprint,
            keep={name: float(ratio) for name, ratio in zip(self.table.names, ratios, strict=True)},
            budget=self.budget,
            reached=float(self.relative(widths)),
            found=found,
            reached_params=self.relative_params(widths) if self.budget.keep_params is not None else None,
        )
