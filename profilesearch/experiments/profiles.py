"""The profiles that several experiments look at."""

import numpy as np

from profilesearch.experiments.jobs import Widths
from profilesearch.networks.groups import IntArray
from profilesearch.networks.space import ProfileSpace


def as_widths(widths: IntArray) -> Widths:
    """Turns an array of shape (G,) into plain numbers."""
    return tuple(int(width) for width in widths)


def uniform_profile(space: ProfileSpace) -> Widths:
    """The uniform profile of a budget."""
    return as_widths(space.uniform())


def random_profiles(space: ProfileSpace, count: int) -> list[Widths]:
    """The first random profiles of a budget, the same ones in every experiment."""
    return [as_widths(row) for row in space.sample(count, np.random.default_rng(2020))]
