"""What a profile reaches in a network, and whether it fits its architecture at all."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build, image_size, is_foreign_code
from profilesearch.networks.cost import CostModel
from profilesearch.networks.graph import trace
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.space import TOLERANCE
from profilesearch.profiles import Budget, Profile, Scope

_CLASSES = 10
OFF = 0.01
"""Relative distance from its budget that no projected profile has."""


def reached_in(profile: Profile, cost: CostModel, widths: IntArray) -> Profile:
    """Returns the profile with what it reaches in the network that it was used on.

    Latency depends on the device: what the file says of it is left as it is.

    Args:
        profile: As it was found.
        cost: Of the network at hand.
        widths: Kept channels of the groups of its scope, shape (G,).
    """
    metric, second = profile.budget.metric, profile.budget.keep_params is not None
    return replace(
        profile,
        reached=profile.reached if metric == "latency" else float(cost.relative(widths, metric)),
        reached_params=float(cost.relative(widths, "params")) if second else None,
    )


def check_fits(profile: Profile) -> None:
    """Checks that a profile fits its architecture.

    Its channel groups are those of any network of the architecture; what it reaches depends on classes, channels and
    pixels, and is what its file says. Somebody's own code is never imported for a file alone: nothing is checked there.

    Raises:
        UsageError: It does not fit.
    """
    if not is_foreign_code(profile.architecture):
        _groups(profile.architecture, _size(profile), profile.scope).ratios(profile)


def reached_text(profile: Profile) -> str:
    """Says what a profile reaches, such as `49.9% of the macs and 40.1% of the params`."""
    second = "" if profile.reached_params is None else f" and {profile.reached_params:.1%} of the params"
    priced = "priced " if profile.budget.metric == "latency" else ""  # from measured layers; the clock may disagree
    return f"{profile.reached:.1%} of the {priced}{profile.budget.metric}{second}"


def off_budget(profile: Profile) -> str:
    """Says how far a profile is off the budget that it names; nothing where it is on it."""
    budget = profile.budget
    pairs = [(profile.reached, budget.keep)]
    if budget.keep_params is not None and profile.reached_params is not None:
        pairs.append((profile.reached_params, budget.keep_params))
    if all(abs(reached / keep - 1) <= OFF for reached, keep in pairs):
        return ""
    return f", not the {' and '.join(f'{keep:.1%}' for _, keep in pairs)} of its budget"


def rows_off(budget: Budget, costs: Mapping[str, tuple[float, float]]) -> str:
    """Says which rows of a table are off its budget by more than projection allows; nothing where none is.

    Args:
        budget: Of all rows.
        costs: By name of the row, the relative cost in the budget's metric and that in parameters.
    """
    keeps, off = (budget.keep, budget.keep_params), {}
    for name, reached in costs.items():
        misses = [cost / keep - 1 for cost, keep in zip(reached, keeps, strict=True) if keep is not None]
        off[name] = max(misses, key=abs)
    said = "; ".join(f"{name} by {miss:+.1%}" for name, miss in off.items() if abs(miss) > TOLERANCE)
    return f"off the budget, since widths are whole: {said}" if said else ""


def _size(profile: Profile) -> int:
    """Returns the height and width of the images that the profile was searched on, as far as it says."""
    names = [member["data"] for member in profile.found.get("pool", []) if "data" in member]
    sizes = [int(size) for size in (name.rpartition("@")[2] for name in names) if size.isdecimal()]
    return min(sizes, default=image_size(profile.architecture))


@cache
def _groups(architecture: str, size: int, scope: Scope) -> GroupTable:
    network = build(architecture, _CLASSES).eval()
    try:
        return trace(network, torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))).within(scope)
    except RuntimeError as error:
        raise UsageError(f"{architecture} cannot take images of {size} by {size}") from error
