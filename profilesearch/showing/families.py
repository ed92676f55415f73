"""What can be pruned in one of every family of torchvision's classifiers, checked against masking."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from profilesearch.cli.console import Output
from profilesearch.networks.plan import Plan
from profilesearch.networks.probing import probe
from profilesearch.networks.surgery import pruning_error
from profilesearch.profiles import Budget, Scope

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


def show_families(plan_of: Callable[[str], Plan], output: Output) -> None:
    """Prints a line for each family, as a Markdown table.

    Args:
        plan_of: Builds an architecture by name.
        output: Shows it.
    """
    output.say(
        "| network | groups, block | cheapest | groups, all | cheapest | pruned = masked | out of scope |\n"
        "|---|--:|--:|--:|--:|--:|---|"
    )
    results = {}
    for name in FAMILIES:
        plan = plan_of(name)
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
