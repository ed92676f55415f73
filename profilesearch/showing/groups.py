"""What can be pruned in an architecture, and what cannot, and why: what `groups` does."""

from functools import partial
from itertools import product
from typing import Any

from profilesearch.cli.console import Output
from profilesearch.cli.workspace import feasibility
from profilesearch.networks.architectures import build, check_architecture, image_size
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.plan import Plan
from profilesearch.profiles import SCOPES, Budget, Scope
from profilesearch.showing.families import show_families
from profilesearch.showing.settings import Grouping


def groups(settings: Grouping) -> None:
    """Does what `groups` is told."""
    output = Output.of(settings)
    if settings.arch:
        _groups(settings.arch, settings, output)
    else:
        show_families(partial(plan_of, settings), output)


def plan_of(settings: Grouping, architecture: str) -> Plan:
    """Returns an untrained network of an architecture and what can be pruned in it."""
    check_architecture(architecture)
    size, channels = settings.image_size or image_size(architecture), settings.channels
    return Plan(architecture, build(architecture, settings.classes, channels), (channels, size, size))


def _groups(arch: str, settings: Grouping, output: Output) -> None:
    plan = plan_of(settings, arch)
    table = plan.table
    if not table.groups:
        output.say(f"{arch} has no channel group that can be pruned")
    else:
        cost = plan.space(Budget("macs", 1.0), "all").cost
        macs, params = cost.shares("macs"), cost.shares("params")
        rows = [
            [group.name, str(group.channels), group.scope, f"{a:.2%}", f"{b:.2%}", ", ".join(group.layers)]
            for group, a, b in zip(table.groups, macs, params, strict=True)
        ]
        low = {scope: plan.space(Budget("macs", 1.0), scope).reach()[0] for scope in _scopes(table)}
        reach = ", ".join(f"scope {scope} reaches down to {least:.1%}" for scope, least in low.items())
        title = f"{arch}, images of {'x'.join(map(str, plan.image_shape))}: {len(rows)} channel groups; {reach}"
        output.table(title, ["group", "channels", "scope", "of the MACs", "of the parameters", "made by"], rows)
        budgets = [] if settings.keep is None else [Budget("macs", settings.keep, settings.keep_params)]
        for budget, scope in product(budgets, _scopes(table)):
            feasibility(plan.space(budget, scope), output)
    out = [[", ".join(entry.layers) or entry.name, str(entry.channels), entry.reason] for entry in table.excluded]
    if out:
        output.table("out of scope", ["made by", "channels", "reason"], out)
    output.result(_to_json(arch, table))


def _scopes(table: GroupTable) -> list[Scope]:
    return [scope for scope in SCOPES if table.within(scope).groups]


def _to_json(architecture: str, table: GroupTable) -> dict[str, Any]:
    groups = [{"name": g.name, "channels": g.channels, "scope": g.scope, "made_by": g.layers} for g in table.groups]
    excluded = [{"name": e.name, "channels": e.channels, "reason": e.reason, "made_by": e.layers}
                for e in table.excluded]  # fmt: skip
    return {"architecture": architecture, "fingerprint": table.fingerprint, "groups": groups, "excluded": excluded}
