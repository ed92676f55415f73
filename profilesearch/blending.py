"""Blend: how far from uniform towards what single layers lose, found out on the network by what its refit leaves.

Losses of layers that are cut alone are added up, as if no cut made another one worse, and as if no later layer could
make up for it. Where that goes too far, half of the way is often better, and sometimes none of it.
"""

import math
from collections.abc import Callable

import numpy as np

from profilesearch.errors import UsageError
from profilesearch.evidence import Provenance, provenance
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray
from profilesearch.networks.names import BLEND, UNIFORM
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
        judge: Cuts, refits and compares; of equals the one nearest to uniform is taken, and one that the network cannot
            be cut to, or whose outputs are not finite, is the farthest of all.
    """
    uniform, sensed = space.uniform(), sensitive(space, losses)
    if np.array_equal(uniform, sensed):
        return space.profile(uniform, _found(0.0, alike=True))
    tried: dict[tuple[int, ...], Profile] = {}
    for part in PARTS:
        widths = between(space, uniform, sensed, part)
        tried.setdefault(tuple(widths.tolist()), space.profile(widths, _found(part)))
    profiles = list(tried.values())
    far = [_far(judge, each) for each in profiles] if len(profiles) > 1 else [0.0]
    if len(far) > 1 and min(far) == max(far):
        return space.profile(uniform, _found(0.0, alike=True))
    return profiles[far.index(min(far))]


def _found(part: float, **more: bool) -> Provenance:
    return provenance({"searcher": BLEND, "hyperparameters": {"part": part, **more}})


def _far(judge: Judge, profile: Profile) -> float:
    try:
        far = judge(profile)
    except UsageError:  # of these widths; were they taken all the same, it would be said
        return math.inf
    return far if math.isfinite(far) else math.inf


def between(space: ProfileSpace, start: IntArray, end: IntArray, part: float) -> IntArray:
    """Returns the profile of a budget that lies between two of them, shape (G,), by geometric means of their widths."""
    if part in (0, 1):
        return end if part else start
    widths = np.maximum(start, 1) ** (1 - part) * np.maximum(end, 1) ** part
    between: IntArray = space.project(widths[None] / space.table.channels)[0]
    return between


def how_far(profile: Profile) -> str:
    """Says which part of the way a blended profile goes; nothing of others."""
    given = profile.found.get("hyperparameters", {}) if profile.found.get("searcher") == BLEND else {}
    if "part" not in given:
        return ""
    if given.get("alike"):
        return "uniform, from which nothing tells sensitivity apart here"
    part = f"{given['part']:.0%}"
    return f"{part} of the way from uniform to sensitivity leaves the refitted network closest to the full one"


def is_uniform(profile: Profile) -> bool:
    """Says whether a profile is the uniform one, by that name or as a blend that goes no way from it."""
    found = profile.found
    went = found.get("hyperparameters", {}).get("part", 1) if found.get("searcher") == BLEND else 1
    return found.get("searcher") == UNIFORM or went == 0
