"""The baseline that is not ours: Torch-Pruning's global threshold (Fang et al. 2023, arXiv 2301.12900)."""

import copy

import numpy as np
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.errors import choose
from profilesearch.networks.cost import CostModel, evaluated
from profilesearch.networks.criteria import Batch
from profilesearch.networks.groups import GroupTable, IntArray

IMPORTANCES = ("l1", "l2", "taylor")
_STEPS = 12


def global_threshold(
    model: nn.Module,
    table: GroupTable,
    cost: CostModel,
    keep: float,
    importance: str,
    example: Tensor,
    batch: Batch,
) -> tuple[nn.Module, IntArray]:
    """Prunes with Torch-Pruning: channels of all groups compete by one importance, the least important go.

    Its pruner is told the ratio for which the network is within the budget of MACs and next to it, found by bisection.
    Layers outside the table are left whole, so that it touches the same groups as profiles do.

    Args:
        model: The full network; never changed.
        table: Channel groups that may be pruned, G of them.
        cost: Their cost.
        keep: Fraction of the MACs.
        importance: `l1`, `l2` (group norms) or `taylor` (first-order, group-wise).
        example: One image as a batch.
        batch: Normalized training images and labels, for `taylor`.

    Returns:
        Torch-Pruning's own network, and the widths that it chose, shape (G,).

    Raises:
        UsageError: An unknown importance.
    """
    choose("importance", importance, IMPORTANCES)
    low, high = 0.0, 0.95
    best: tuple[nn.Module, IntArray] | None = None
    for _ in range(_STEPS):
        ratio = (low + high) / 2
        network = _pruned(model, table, ratio, importance, example, batch)
        widths = _widths(network, table)
        if float(cost.relative(widths, "macs")) <= keep:
            best, high = (network, widths), ratio
        else:
            low = ratio
    if best is None:
        network = _pruned(model, table, high, importance, example, batch)
        best = network, _widths(network, table)
    return best


def _pruned(
    model: nn.Module, table: GroupTable, ratio: float, importance: str, example: Tensor, batch: Batch
) -> nn.Module:
    network = evaluated(copy.deepcopy(model))
    prunable = {group.name for group in table.groups}
    ignored = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and name not in prunable
    ]
    importances = {
        "l1": tp.importance.GroupMagnitudeImportance(p=1),
        "l2": tp.importance.GroupMagnitudeImportance(p=2),
        "taylor": tp.importance.GroupTaylorImportance(),
    }
    pruner = tp.pruner.BasePruner(
        network,
        example,
        importance=importances[importance],
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=ignored,
    )
    if importance == "taylor":
        functional.cross_entropy(network(batch[0]), batch[1]).backward()  # type: ignore[no-untyped-call]
    pruner.step()
    network.zero_grad()
    return evaluated(network)


def _widths(network: nn.Module, table: GroupTable) -> IntArray:
    tensors = dict(network.named_parameters())
    return np.array([len(tensors[f"{group.name}.weight"]) for group in table.groups], dtype=np.int64)
