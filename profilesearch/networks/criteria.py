"""Criteria: which channels of a group stay."""

from collections.abc import Callable, Iterable, Mapping
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.errors import UsageError, choose
from profilesearch.networks.groups import ChannelGroup, GroupTable, IntArray, Slice
from profilesearch.networks.names import CRITERIA, SEEING
from profilesearch.networks.reconstruction import reconstruction_orders
from profilesearch.system.progress import Progress

MOST_SEEN = 512
"""Images that criteria in `SEEING` are given where a network is pruned, at most."""
Batch = tuple[Tensor, Tensor]
"""Normalized images (N, C, H, W) and labels (N,)."""


def rank_channels(
    model: nn.Module,
    table: GroupTable,
    criterion: str,
    seed: int = 0,
    batch: Batch | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Orders the channels of every group, the most important first.

    `random`: a draw that depends on the seed and the group's name. `l1`, `l2`: norm of the filter (Li et al. 2017,
    arXiv 1608.08710). `fpgm`: sum of distances to the other filters (He et al. 2019, arXiv 1811.00250). `bn`: size of
    the BatchNorm scale (Liu et al. 2017, arXiv 1708.06519). `taylor`: squared first-order change of the loss when the
    filter is removed (Molchanov et al. 2019, arXiv 1906.10771). `reconstruction`: what the layers that read the channel
    lose without it when they are refitted; by `l1` where no such layer is small enough.
    Where several layers make a group's channels, their normalized importances are averaged; where what makes them takes
    them elsewhere, too, those of all weights on them.

    Args:
        model: The full network.
        table: Its channel groups.
        criterion: One of `CRITERIA`.
        seed: Of the random draw; criteria that are not in `DRAWN` ignore it.
        batch: Training images and labels; needed by those in `SEEING` alone.
        progress: Called before every group by `reconstruction`, which takes a while, with groups done, groups in all,
            and its name.

    Returns:
        Channel indices, shape (channels,), by group name.

    Raises:
        UsageError: An unknown criterion, no batch for one that looks at images, or a group without BatchNorm for `bn`.
    """
    choose("criterion", criterion, CRITERIA)
    if criterion == "random":
        return {group.name: _draw(group, seed) for group in table.groups}
    if criterion in SEEING and batch is None:
        raise UsageError(f"criterion '{criterion}' needs training images; use l1 where there are none")
    if criterion == "reconstruction" and batch is not None:
        found = reconstruction_orders(model, table, batch[0], progress)
        others = tuple(group for group in table.groups if group.name not in found)
        return rank_channels(model, GroupTable(others), "l1") | found
    if criterion == "taylor" and batch is not None:
        measure = _taylor(model, *batch)
    elif criterion == "bn":
        measure = _scale
    else:
        measure = {"l1": _l1, "l2": _l2, "fpgm": _distances}[criterion]
    tensors, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    return {group.name: _importance(group, tensors, buffers, measure, criterion).argsort(descending=True, stable=True)
            for group in table.groups}  # fmt: skip


def keep_channels(order: Mapping[str, Tensor], table: GroupTable, widths: IntArray) -> dict[str, Tensor]:
    """Returns the kept channels of every group, sorted ascending, for widths of shape (G,)."""
    return {name: order[name][: int(width)].sort().values for name, width in zip(table.names, widths, strict=True)}


Measure = Callable[[str, Tensor, int], Tensor | None]
"""From a parameter's name, its value and the dimension of its filters to one number each; None if it says nothing."""


def _importance(
    group: ChannelGroup, tensors: Mapping[str, Tensor], buffers: Mapping[str, Tensor], measure: Measure, criterion: str
) -> Tensor:
    makers, every = [part for part in group.slices if not part.takes], {**buffers, **tensors}
    votes = _votes(makers, tensors, measure) or _votes(makers, every, measure) or _votes(group.slices, every, measure)
    if not votes:
        raise UsageError(f"criterion '{criterion}' says nothing about group '{group.name}'; use l1")
    return torch.stack(votes).mean(dim=0)


def _votes(slices: Iterable[Slice], tensors: Mapping[str, Tensor], measure: Measure) -> list[Tensor]:
    votes = []
    for part in slices:
        vote = measure(part.tensor, tensors[part.tensor].detach().float(), part.dim) if part.tensor in tensors else None
        if vote is not None:
            vote = vote[torch.from_numpy(part.rows)].sum(dim=1)
            votes.append(vote / vote.mean().clamp_min(1e-12))
    return votes


def _draw(group: ChannelGroup, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(crc32(f"{seed} {group.name}".encode()))
    return torch.randperm(group.channels, generator=generator)


def _filters(weight: Tensor, dim: int) -> Tensor:
    return weight.movedim(dim, 0).flatten(1)


def _l1(_: str, weight: Tensor, dim: int) -> Tensor | None:
    return _filters(weight, dim).norm(p=1, dim=1) if weight.dim() > 1 else None


def _l2(_: str, weight: Tensor, dim: int) -> Tensor | None:
    return _filters(weight, dim).norm(dim=1) if weight.dim() > 1 else None


def _distances(_: str, weight: Tensor, dim: int) -> Tensor | None:
    if weight.dim() == 1:
        return None
    filters = _filters(weight, dim)
    return torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(dim=1)


def _scale(name: str, weight: Tensor, _: int) -> Tensor | None:
    return weight.abs() if weight.dim() == 1 and name.endswith(".weight") else None


def _taylor(model: nn.Module, images: Tensor, labels: Tensor) -> Measure:
    model.eval()
    # Of copies, since the network's own may be frozen.
    named = {n: tensor.detach().requires_grad_() for n, tensor in model.named_parameters() if tensor.dim() > 1}
    scores = torch.func.functional_call(model, named, (images.clone(),))
    if not scores.requires_grad:
        raise UsageError(f"criterion 'taylor' needs gradients, which {type(model).__name__} does not give; use l1")
    loss = functional.cross_entropy(scores, labels)
    gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))

    def measure(name: str, _: Tensor, dim: int) -> Tensor | None:
        gradient = gradients.get(name)
        if gradient is None:
            return None
        return _filters(named[name].detach() * gradient, dim).sum(dim=1).square()

    return measure
