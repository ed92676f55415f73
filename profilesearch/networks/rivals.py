"""Rivals that need no search: profiles that the budget alone gives, without a look at any weight or image."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.extremes import Cost
from profilesearch.networks.groups import IntArray
from profilesearch.networks.names import CONTENDERS, RANDOM, TAPER, UNIFORM, WIDEST, check_rival
from profilesearch.networks.space import ProfileSpace
from profilesearch.networks.steps import steps
from profilesearch.profiles import Metric

SLOPES = tuple(float(slope) for slope in np.linspace(-2, 2, 13))
"""Of `taper`, as doublings of the keep ratio from the first group to the last: from a quarter to four times."""
_TRIED = 64
_FREE = 1e-12


@lru_cache(maxsize=16)
def widest(space: ProfileSpace) -> IntArray:
    """Returns the profile with the most parameters at the budget's cost, shape (G,).

    Under a budget of parameters it is the profile with the most multiply-adds. What it fills are the groups that have
    most of the one for each unit of the other, in most networks the last ones; the others are left at the smallest keep
    ratio. That is what the definition asks for, and may starve whole stages. Groups that are equal in this share it.

    The method is `Surface.extreme`, rounded, and then steps in one group or exchanges between two as long as one gains.
    Held against scipy's SLSQP (Kraft 1988) from five starts, on seven networks, two scopes and two budgets, it found
    the same or up to 0.1 points more, never less.

    Args:
        space: The profile space; its budget has one metric.

    Raises:
        UsageError: The budget fixes the parameters as well.
    """
    check_rival("widest", space.budget)
    metric, (low, high) = other_metric(space), space.ends

    def other(widths: FloatArray | IntArray) -> FloatArray:
        return space.cost.relative(widths, metric)

    near = space.surface.extreme(other, 1) / space.table.channels
    widths = space.widths(near)
    while float(space.relative(widths)) > space.budget.keep and (widths > low).any():
        widths = widths + steps(widths[None], low, high, space.multiple)[0, space.size :].sum(axis=0)
    while (better := _exchanged(space, other, widths)) is not None:
        widths = better
    filled: IntArray = space.fill(widths[None])[0]
    return filled


def rivals_of(space: ProfileSpace) -> dict[str, IntArray]:
    """Returns the profiles that every search must beat, by name: the widest is none under a budget of two metrics."""
    names = [name for name in CONTENDERS if name == UNIFORM or space.budget.keep_params is None]
    return {name: RIVALS[name](space, 0) for name in names}


def other_metric(space: ProfileSpace) -> Metric:
    """Returns what `widest` has most of: parameters, or multiply-adds where the budget is of parameters."""
    return "macs" if space.budget.metric == "params" else "params"


def _exchanged(space: ProfileSpace, other: Cost, widths: IntArray) -> IntArray | None:
    """Takes the pair of steps that gains most of the other cost within the budget; nothing where none gains."""
    low, high = space.ends
    every = np.concatenate([steps(widths[None], low, high, space.multiple)[0], np.zeros((1, space.size), np.int64)])
    cost, value = float(space.relative(widths)), float(other(widths))
    costs, values = space.relative(widths + every) - cost, other(widths + every) - value
    one, two = np.triu_indices(len(every), 1)
    gains = np.where(cost + costs[one] + costs[two] <= space.budget.keep, values[one] + values[two], -np.inf)
    best = np.argsort(-gains, kind="stable")[:_TRIED]  # added up, effects are exact where two groups meet in no layer
    moved = widths + every[one[best]] + every[two[best]]
    inside = ((moved >= low) & (moved <= high)).all(axis=1)
    reached = np.where(inside & (space.relative(moved) <= space.budget.keep), other(moved), -np.inf)
    chosen: IntArray = moved[int(reached.argmax())]
    return chosen if reached.max() > value + _FREE else None


def taper(space: ProfileSpace, slope: float | None = None) -> IntArray:
    """Returns the profile whose keep ratio grows by one factor from group to group, scaled onto the budget, shape (G,).

    The logarithm of the keep ratio is linear in a group's relative place in the network: always defined, also where
    networks have no stages of equal width or resolution, and of one form at every budget, since the budget scales all
    ratios by one factor.

    Args:
        space: The profile space.
        slope: Doublings of the keep ratio from the first group to the last; `default_slope` where None.
    """
    slope = default_slope(space) if slope is None else slope
    ratios = np.exp2(slope * np.linspace(-1, 0, space.size))
    widths: IntArray = space.project(ratios[None] / ratios.max())[0]
    return widths


def default_slope(space: ProfileSpace) -> float:
    """Returns the slope where no pool chooses one: the last group keeps twice what the first keeps.

    Later groups have more parameters for each multiply-add, so that more of the network is left at equal multiply-adds;
    under a budget of parameters it is the other way round, and so is the slope. Profiles that were searched for
    small-image ResNets have factors of 1.3 to 3.1, and of 0.4 to 0.5 for parameters. Those of ResNet-18 and MobileNetV2
    at 64 pixels lean the other way: where there is a pool, let it choose.
    """
    return -1.0 if space.budget.metric == "params" else 1.0


RIVALS: dict[str, Callable[[ProfileSpace, int], IntArray]] = {
    UNIFORM: lambda space, seed: space.uniform(),
    WIDEST: lambda space, seed: widest(space),
    TAPER: lambda space, seed: taper(space),
    RANDOM: lambda space, seed: space.sample(1, np.random.default_rng(seed))[0],
}
"""By name; the seed is that of random draws."""
