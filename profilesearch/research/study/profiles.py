"""The profiles that several experiments look at."""

from collections.abc import Sequence

import numpy as np

from profilesearch.networks.groups import IntArray
from profilesearch.networks.rivals import widest
from profilesearch.networks.space import ProfileSpace
from profilesearch.research.study.jobs import Widths


def as_widths(widths: IntArray) -> Widths:
    """Turns an array of shape (G,) into plain numbers."""
    return tuple(int(width) for width in widths)


def uniform_profile(space: ProfileSpace) -> Widths:
    """The uniform profile of a budget."""
    return as_widths(space.uniform())


def widest_profile(space: ProfileSpace) -> Widths:
    """The profile with most parameters at a budget of MACs."""
    return as_widths(widest(space))


def parameters(space: ProfileSpace, profiles: Sequence[Widths]) -> str:
    """Parameters of a row's profiles, their mean where they differ, such as `130.2 k (48.3%)`."""
    widths = np.array(profiles)
    mean, part = float(space.cost.params(widths).mean()), float(space.cost.relative(widths, "params").mean())
    return f"{mean / 1e3:.1f} k ({part:.1%})"


def random_profiles(space: ProfileSpace, count: int) -> list[Widths]:
    """The first random profiles of a budget, the same ones in every experiment."""
    return [as_widths(row) for row in space.sample(count, np.random.default_rng(2020))]
