"""What a profile reaches, from its keep ratios: what a file says of it was true when the file was written, at most."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build, image_size, is_foreign_code
from profilesearch.networks.cost import CostModel
from profilesearch.networks.graph import trace
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.space import TOLERANCE, round_widths
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


def reached_anew(profile: Profile) -> Profile:
    """Returns the profile with what it reaches in a network of its architecture for 10 classes.

    It is returned unchanged where that is not known without more: latency, and architectures that are somebody's own
    code, which a file alone never makes be imported.

    Raises:
        UsageError: The profile does not fit its architecture.
    """
    open_ = profile.budget.metric == "latency" and profile.budget.keep_params is None
    if open_ or is_foreign_code(profile.architecture):
        return profile
    table, cost = _known(profile.architecture, _size(profile), profile.scope)
    return reached_in(profile, cost, round_widths(table.ratios(profile), table.channels))


def reached_text(profile: Profile) -> str:
    """Says what a profile reaches, such as `49.9% of the macs and 40.1% of the params`."""
    second = "" if profile.reached_params is None else f" and {profile.reached_params:.1%} of the params"
    return f"{profile.reached:.1%} of the {profile.budget.metric}{second}"


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
def _known(architecture: str, size: int, scope: Scope) -> tuple[GroupTable, CostModel]:
    network = build(architecture, _CLASSES).eval()
    example = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        table = trace(network, example).within(scope)
        return table, CostModel(network, table, example)
    except RuntimeError as error:
        raise UsageError(f"{architecture} cannot take images of {size} by {size}") from error
