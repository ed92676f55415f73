"""`profilesearch groups`: what can be pruned in an architecture, and what cannot, and why."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profilesearch.cli import ranges
from profilesearch.cli.console import Output, manual_parser, run
from profilesearch.cli.options import add_keep_params_option
from profilesearch.cli.workspace import feasibility
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build, check_architecture, image_size
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import probe, pruning_error
from profilesearch.profiles import SCOPES, Budget, Scope

DESCRIPTION = """\
Show the channel groups of an architecture: which layers keep the same channels, how wide they are, what share
of the cost vanishes with each, and which layers are out of scope, with the reason.

Scope 'block' leaves the residual streams alone; scope 'all' prunes them too. Untrained weights are enough."""
EPILOG = """\
examples:
  profilesearch groups --arch resnet56
  profilesearch groups --arch resnet56 --image-size 32 --classes 10 --keep 0.5 --keep-params 0.5
  profilesearch groups --arch mobilenet_v2 --image-size 64 --classes 10
  profilesearch groups --arch timm:resnet18d
  profilesearch groups --arch mypackage.models:small_net
  profilesearch groups --families

files: none is written"""
FAMILIES = (
    "resnet56", "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "vgg16", "vgg16_bn", "alexnet",
    "squeezenet1_1", "densenet121", "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_large", "mnasnet1_0",
    "shufflenet_v2_x1_0", "efficientnet_b0", "efficientnet_v2_s", "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny",
)  # fmt: skip
"""One of every family of torchvision's convolutional classifiers, and one of ours."""
_TRIALS = 3


@dataclass(frozen=True)
class ScopeRow:
    """One scope of an architecture: its groups, the cheapest network, and the check against masking."""

    groups: int
    cheapest: float
    error: float


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    made = manual_parser("groups", DESCRIPTION, EPILOG)
    made.add_argument("--arch", metavar="NAME", help="architecture, timm:NAME, or package.module:callable")
    made.add_argument(
        "--keep", type=ranges.share, metavar="FRACTION", help="also show what a budget of multiply-adds means"
    )
    add_keep_params_option(made)
    made.add_argument("--families", action="store_true", help="one line for one of each of torchvision's families")
    made.add_argument(
        "--image-size",
        type=ranges.whole(1, 16384),
        metavar="PIXELS",
        help="height and width (default: the architecture's)",
    )
    made.add_argument("--channels", type=ranges.whole(1, 4096), default=3, metavar="N", help="of the images")
    made.add_argument("--classes", type=ranges.whole(1, 10**6), default=1000, metavar="N", help="outputs")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    options = parser().parse_args(arguments)
    output = Output.of(options)
    if bool(options.arch) == options.families:
        raise UsageError("give either --arch NAME or --families")
    if options.keep is None and options.keep_params is not None:
        raise UsageError("--keep-params is the second metric of a budget; give --keep as well")
    if options.families:
        _families(options, output)
    else:
        _groups(options, output)


def _plan(options: argparse.Namespace, architecture: str) -> Plan:
    check_architecture(architecture)
    size = options.image_size or image_size(architecture)
    network = build(architecture, options.classes, options.channels)
    return Plan(architecture, network, (options.channels, size, size))


def _groups(options: argparse.Namespace, output: Output) -> None:
    plan = _plan(options, options.arch)
    table = plan.table
    if not table.groups:
        output.say(f"{options.arch} has no channel group that can be pruned")
    else:
        cost = plan.space(Budget("macs", 1.0), "all").cost
        macs, params = cost.shares("macs"), cost.shares("params")
        rows = [
            [group.name, str(group.channels), group.scope, f"{a:.2%}", f"{b:.2%}", ", ".join(group.layers)]
            for group, a, b in zip(table.groups, macs, params, strict=True)
        ]
        low = {scope: plan.space(Budget("macs", 1.0), scope).reach()[0] for scope in _scopes(table)}
        reach = ", ".join(f"scope {scope} reaches down to {least:.1%}" for scope, least in low.items())
        title = f"{options.arch}, images of {'x'.join(map(str, plan.image_shape))}: {len(rows)} channel groups; {reach}"
        output.table(title, ["group", "channels", "scope", "of the MACs", "of the parameters", "made by"], rows)
        for scope in _scopes(table) if options.keep is not None else []:
            feasibility(plan.space(Budget("macs", options.keep, options.keep_params), scope), output)
    out = [[", ".join(entry.layers) or entry.name, str(entry.channels), entry.reason] for entry in table.excluded]
    if out:
        output.table("out of scope", ["made by", "channels", "reason"], out)
    output.result(_to_json(options.arch, table))


def _scopes(table: GroupTable) -> list[Scope]:
    return [scope for scope in SCOPES if table.within(scope).groups]


def _to_json(architecture: str, table: GroupTable) -> dict[str, Any]:
    groups = [{"name": g.name, "channels": g.channels, "scope": g.scope, "made_by": g.layers} for g in table.groups]
    excluded = [{"name": e.name, "channels": e.channels, "reason": e.reason, "made_by": e.layers}
                for e in table.excluded]  # fmt: skip
    return {"architecture": architecture, "fingerprint": table.fingerprint, "groups": groups, "excluded": excluded}


def _families(options: argparse.Namespace, output: Output) -> None:
    """Prints a line for each family, as a Markdown table."""
    output.say(
        "| network | groups, block | cheapest | groups, all | cheapest | pruned = masked | out of scope |\n"
        "|---|--:|--:|--:|--:|--:|---|"
    )
    results = {}
    for name in FAMILIES:
        plan = _plan(options, name)
        rows = {"block": _scope_row(plan, "block")}
        same = len(plan.table.groups) == rows["block"].groups
        rows["all"] = rows["block"] if same else _scope_row(plan, "all")
        error = max(row.error for row in rows.values())
        reasons = Counter(e.reason for e in plan.table.excluded if e.reason != "makes the outputs of the network")
        cells = [name, *(text for row in rows.values() for text in (str(row.groups), f"{row.cheapest:.1%}"))]
        cells += [f"within {error:.0e}", "; ".join(f"{reason} ({count})" for reason, count in reasons.items())]
        output.say(f"| {' | '.join(cells)} |")
        results[name] = {scope: vars(row) for scope, row in rows.items()}
    output.result(results)


def _scope_row(plan: Plan, scope: Scope) -> ScopeRow:
    table = plan.table.within(scope)
    double, images = probe(plan.network, plan.example)
    error = max(pruning_error(double, table.groups, images, seed) for seed in range(1, 1 + _TRIALS))
    return ScopeRow(len(table.groups), plan.space(Budget("macs", 1.0), scope).reach()[0], error)


if __name__ == "__main__":
    run(main)
