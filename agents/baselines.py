"""Baselines without learning: uniform, widest, taper, random, exhaustive."""

from itertools import product

import numpy as np

from agents.base import Searcher, Trial
from profilesearch.networks.groups import IntArray
from profilesearch.networks.rivals import SLOPES, default_slope, taper, widest
from profilesearch.networks.space import ProfileSpace

CHUNK = 16
"""Profiles handed to the problem at a time."""
SEGMENTS = 4
"""The exhaustive grid has one keep ratio for each of at most this many segments of the network."""


class UniformSearcher(Searcher):
    """Keeps every group at the same ratio: one evaluation."""

    name = "uniform"
    searches = False
    seeded = False

    def propose(self, trial: Trial, seed: int) -> None:
        """Evaluates the uniform profile."""
        trial.evaluate(trial.problem.space.uniform()[None])


class WidestSearcher(Searcher):
    """Keeps the most parameters that the budget allows: one evaluation."""

    name = "widest"
    searches = False
    seeded = False

    def propose(self, trial: Trial, seed: int) -> None:
        """Evaluates the widest profile."""
        trial.evaluate(widest(trial.problem.space)[None])


class TaperSearcher(Searcher):
    """Lets the pool choose one slope of the keep ratio over the network's depth, out of a handful."""

    name = "taper"
    searches = False
    seeded = False

    def propose(self, trial: Trial, seed: int) -> None:
        """Evaluates the slopes, the nearest to the default first; the seed has no influence."""
        space = trial.problem.space
        slopes = sorted(SLOPES, key=lambda slope: abs(slope - default_slope(space)))[: trial.evaluations]
        trial.evaluate(np.array([taper(space, slope) for slope in slopes]))


class RandomSearcher(Searcher):
    """Draws independent keep ratios and projects them onto the budget surface."""

    name = "random"

    def propose(self, trial: Trial, seed: int) -> None:
        """Evaluates random profiles until none is left."""
        random = np.random.default_rng(seed)
        while trial.left:
            trial.evaluate(trial.problem.space.sample(min(CHUNK, trial.left), random))


class ExhaustiveSearcher(Searcher):
    """Evaluates a whole grid on the budget surface: the finest one that the evaluations allow.

    The network is cut into segments of groups with equal width, with one keep ratio each; all combinations of levels
    are projected, and those that coincide there are counted once.
    """

    name = "exhaustive"
    seeded = False

    def propose(self, trial: Trial, seed: int) -> None:
        """Evaluates the grid; the seed has no influence."""
        profiles = grid(trial.problem.space, trial.evaluations)
        for start in range(0, len(profiles), CHUNK):
            trial.evaluate(profiles[start : start + CHUNK])


def grid(space: ProfileSpace, most: int) -> IntArray:
    """Returns the finest grid on the budget surface with at most `most` profiles, shape (N, G).

    Args:
        space: The profile space.
        most: At least 1.
    """
    segments = _segments(space)
    count = segments.max() + 1
    best = space.uniform()[None]
    for levels in range(2, most + 2):
        if count == 1 or (levels**count) > 50 * most:  # far more points than can remain after merging
            break
        ratios = np.array(list(product(np.linspace(space.least, 1, levels), repeat=count)))[:, segments]
        profiles = np.unique(space.project(ratios), axis=0)
        if len(profiles) > most:
            break
        best = profiles
    return best


def _segments(space: ProfileSpace) -> IntArray:
    """Assigns every group to a segment, shape (G,): runs of equal width, merged to at most `SEGMENTS`."""
    channels = space.table.channels
    runs = np.cumsum(np.diff(channels, prepend=channels[0]) != 0)
    merged: IntArray = (runs * min(SEGMENTS, runs[-1] + 1) // (runs[-1] + 1)).astype(np.int64)
    return merged
