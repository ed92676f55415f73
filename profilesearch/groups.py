"""`profilesearch groups`: what can be pruned in an architecture, and what cannot, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from profilesearch.cli import ranges
from profilesearch.cli.console import Output, run
from profilesearch.cli.families import show_families
from profilesearch.cli.options import KEEP_PARAMS
from profilesearch.cli.settings import Settings, option
from profilesearch.cli.workspace import feasibility
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build, check_architecture, image_size
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.plan import Plan
from profilesearch.profiles import SCOPES, Budget, Scope


@dataclass(frozen=True, kw_only=True)
class Grouping(Settings):
    """What `groups` is told."""

    verb = "groups"
    description = """\
Show the channel groups of an architecture: which layers keep the same channels, how wide they are, what share
of the cost vanishes with each, and which layers are out of scope, with the reason.

Scope 'block' leaves the residual streams alone; scope 'all' prunes them too. Untrained weights are enough."""
    epilog = """\
examples:
  profilesearch groups --arch resnet56
  profilesearch groups --arch resnet56 --image-size 32 --classes 10 --keep 0.5 --keep-params 0.5
  profilesearch groups --arch mobilenet_v2 --image-size 64 --classes 10
  profilesearch groups --arch timm:resnet18d
  profilesearch groups --arch mypackage.models:small_net
  profilesearch groups --families

files: none is written"""

    arch: str | None = field(
        default=None, metadata=option("architecture, timm:NAME, or package.module:callable", "NAME")
    )
    keep: float | None = field(
        default=None, metadata=option("also show what a budget of multiply-adds means", "FRACTION", ranges.share)
    )
    keep_params: float | None = field(default=None, metadata=option(*KEEP_PARAMS))
    families: bool = field(default=False, metadata=option("one line for one of each of torchvision's families"))
    image_size: int | None = field(
        default=None,
        metadata=option("height and width (default: the architecture's)", "PIXELS", ranges.whole(1, 16384)),
    )
    channels: int = field(default=3, metadata=option("of the images", "N", ranges.whole(1, 4096)))
    classes: int = field(default=1000, metadata=option("outputs", "N", ranges.whole(1, 10**6)))

    def plan(self, architecture: str) -> Plan:
        """Returns an untrained network of an architecture and what can be pruned in it."""
        check_architecture(architecture)
        size = self.image_size or image_size(architecture)
        return Plan(architecture, build(architecture, self.classes, self.channels), (self.channels, size, size))


parser = Grouping.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    settings = Grouping.read(arguments)
    output = Output.of(settings)
    if bool(settings.arch) == settings.families:
        raise UsageError("give either --arch NAME or --families")
    if settings.keep is None and settings.keep_params is not None:
        raise UsageError("--keep-params is the second metric of a budget; give --keep as well")
    if settings.arch:
        _groups(settings.arch, settings, output)
    else:
        show_families(settings.plan, output)


def _groups(arch: str, settings: Grouping, output: Output) -> None:
    plan = settings.plan(arch)
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


if __name__ == "__main__":
    run(main)
