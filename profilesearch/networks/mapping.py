"""Profiles for relatives: keep ratios carried to another depth or width of a family, by relative place."""

import numpy as np

from profilesearch.errors import UsageError
from profilesearch.evidence import provenance
from profilesearch.networks.architectures import build, is_foreign_code, stem_channels
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Profile


def carry(profile: Profile, plan: Plan) -> Profile:
    """Carries a profile to a relative of its architecture, and projects it onto its budget there.

    Args:
        profile: Of another depth or width of the family; its architecture must be one that `build` knows.
        plan: The network that it shall serve.

    Raises:
        UsageError: The profile does not fit its own architecture, or its budget is out of reach here.
    """
    if is_foreign_code(profile.architecture) and profile.architecture != plan.architecture:
        raise UsageError(
            f"the profile is of '{profile.architecture}', somebody's own code, which a file alone never makes be "
            "imported; map profiles of named architectures"
        )
    channels = stem_channels(profile.architecture, plan.image_shape[0])
    relative = build(profile.architecture, 10, channels)
    source = Plan(profile.architecture, relative, (channels, *plan.image_shape[1:])).table.within(profile.scope)
    space = plan.space(profile.budget, profile.scope)
    ratios = map_by_place(source.ratios(profile), source.channels, space.table.channels)
    origin = {"architecture": profile.architecture, "fingerprint": profile.fingerprint}
    return space.profile(space.project(ratios[None])[0], provenance(profile.found, {"mapped_from": origin}))


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
