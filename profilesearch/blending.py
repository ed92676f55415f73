"""Blend: how far from uniform towards what single layers lose, found out on the network by what its refit leaves.

Losses of layers that are cut alone are added up, as if no cut made another one worse, and as if no later layer could
make up for it. Where that goes too far, half of the way is often better, and sometimes none of it.
"""

from collections.abc import Callable

import numpy as np

from profilesearch.evidence import provenance
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray
from profilesearch.networks.names import BLEND
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Profile
from profilesearch.sensitivity import sensitive

PARTS = (0.0, 0.5, 1.0)
"""Parts of the way from the uniform profile to the sensitive one."""
Judge = Callable[[Profile], float]
"""Returns how far a network's outputs are from the full one's once it is cut by a profile and refitted."""


def blended(space: ProfileSpace, losses: FloatArray, judge: Judge) -> Profile:
    """Returns that profile, of `PARTS` of the way, which leaves a network closest to the full one.

    Args:
        space: The profile space of a budget.
        losses: By `group_losses`, shape (G, len(RATIOS)).
        judge: Cuts, refits and compares; of equals the one nearest to uniform is taken.
    """
    uniform, sensed = space.uniform(), sensitive(space, losses)
    tried: dict[tuple[int, ...], Profile] = {}
    for part in PARTS:
        widths = between(space, uniform, sensed, part)
        found = provenance({"searcher": BLEND, "hyperparameters": {"part": part}})
        tried.setdefault(tuple(widths.tolist()), space.profile(widths, found))
    return min(tried.values(), key=judge) if len(tried) > 1 else next(iter(tried.values()))


def between(space: ProfileSpace, start: IntArray, end: IntArray, part: float) -> IntArray:
    """Returns the profile of a budget that lies between two of them, shape (G,), by geometric means of their widths."""
    if part in (0, 1):
        return end if part else start
    widths = np.maximum(start, 1) ** (1 - part) * np.maximum(end, 1) ** part
    between: IntArray = space.project(widths[None] / space.table.channels)[0]
    return between


def how_far(profile: Profile) -> str:
    """Says which part of the way a blended profile goes; nothing of others."""
    part = profile.found.get("hyperparameters", {}).get("part") if profile.found.get("searcher") == BLEND else None
    if part is None:
        return ""
    return f"{part:.0%} of the way from uniform to sensitivity leaves the network closest to the full one"
