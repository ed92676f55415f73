"""Profiles for relatives: keep ratios carried to another depth or width of a family, by relative place."""

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray


def map_by_place(ratios: FloatArray, source: IntArray, target: IntArray) -> FloatArray:
    """Carries keep ratios from one network of a family to another.

    Stages are runs of groups of equal width. Where both networks have the same number of stages, each stage is carried
    to its counterpart; else the whole network is one stage. Inside a stage, a group takes the ratio at its relative
    place, linear between its neighbours there. Project the result onto the budget.

    Args:
        ratios: Keep ratios of the source network, shape (G,).
        source: Channels of its groups, shape (G,).
        target: Channels of the other network's groups, shape (H,).

    Returns:
        Keep ratios for the other network, shape (H,).
    """
    stages, others = _stages(source), _stages(target)
    if len(stages) != len(others):
        stages, others = [slice(0, len(source))], [slice(0, len(target))]
    pairs = zip(stages, others, strict=True)
    return np.concatenate([np.interp(_places(target[to]), _places(source[of]), ratios[of]) for of, to in pairs])


def _stages(channels: IntArray) -> list[slice]:
    starts = np.flatnonzero(np.diff(channels, prepend=-1))
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(channels)], strict=True)]


def _places(groups: IntArray) -> FloatArray:
    """Middle of every group when the stage is cut into equal parts, in (0, 1)."""
    places: FloatArray = (np.arange(len(groups)) + 0.5) / len(groups)
    return places
