"""Surgery: networks with really smaller tensors, cut by plain indices."""

import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.networks.cost import evaluating
from profilesearch.networks.groups import ChannelGroup, GroupTable, OutOfScope

TOLERANCE = 1e-6
"""Largest relative difference between a pruned and a masked network, in double precision."""


class Pruner:
    """Cuts one network to many profiles.

    Args:
        model: The full network; never changed.
        table: Its channel groups.
    """

    def __init__(self, model: nn.Module, table: GroupTable) -> None:
        self.model = model
        self.table = table
        self._tensors = _tensors(model)
        self._follows: dict[str, list[tuple[int, ChannelGroup, Tensor]]] = defaultdict(list)
        for group in table.groups:
            for part in group.slices:
                self._follows[part.tensor].append((part.dim, group, torch.from_numpy(part.rows)))

    def prune(self, keep: Mapping[str, Tensor], share: bool = False) -> nn.Module:
        """Returns a smaller network.

        Args:
            keep: Kept channels of every group, sorted ascending, by group name.
            share: Lets tensors that are not cut be the full network's own. Faster, for networks that are only
                evaluated; training one would change the full network.
        """
        cut = {name: self._cut(name, tensor, keep) for name, tensor in self._tensors.items()}
        shared = {id(tensor): tensor for tensor in self._tensors.values()}
        pruned = copy.deepcopy(self.model, shared)
        if not share:
            cut = {name: tensor.clone() for name, tensor in cut.items()}
        assign(pruned, cut)
        return pruned

    def _cut(self, name: str, tensor: Tensor, keep: Mapping[str, Tensor]) -> Tensor:
        tensor = tensor.detach()
        stays: dict[int, Tensor] = {}
        for dim, group, rows in self._follows.get(name, ()):
            if len(keep[group.name]) == group.channels:
                continue
            removed = torch.ones(group.channels, dtype=torch.bool)
            removed[keep[group.name]] = False
            mask = stays.setdefault(dim, torch.ones(tensor.shape[dim], dtype=torch.bool))
            mask[rows[removed].flatten()] = False
        if len(stays) == 2:  # one copy instead of two
            return tensor[stays[0].nonzero(), stays[1].nonzero()[:, 0]]
        for dim, mask in stays.items():
            tensor = tensor.index_select(dim, mask.nonzero()[:, 0].to(tensor.device))
        return tensor


def assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replaces parameters and buffers by tensors of other shapes, and fits the layers' attributes to them.

    Args:
        model: Changed in place.
        tensors: New values by state-dict name; a parameter stays a parameter.
    """
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for leaf, old in module._parameters.items():
            if old is not None and prefix + leaf in tensors:
                module._parameters[leaf] = nn.Parameter(tensors[prefix + leaf], requires_grad=old.requires_grad)
        for leaf, buffer in module._buffers.items():
            if buffer is not None and prefix + leaf in tensors:
                module._buffers[leaf] = tensors[prefix + leaf]
        _fit(module)


def _fit(module: nn.Module) -> None:
    """Makes the attributes of a layer agree with its tensors."""
    if isinstance(module, nn.Conv2d):
        if module.groups > 1:  # whole groups stay or go
            module.groups = module.groups * len(module.weight) // module.out_channels
        module.out_channels = len(module.weight)
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None:
        module.num_features = len(module.weight)


def check_plan(model: nn.Module, table: GroupTable, example: Tensor) -> GroupTable:
    """Checks that pruning equals masking, and excludes the groups for which it does not.

    The pruned network must give the same output as the full network with the pruned channels set to zero where they
    are made. All groups are checked together, at random widths; only if that fails, one by one.

    Args:
        model: The full network; never changed.
        table: Its channel groups.
        example: One input, shape (1, C, H, W).

    Returns:
        The table with the groups that passed.
    """
    double, batch = probe(model, example)
    if _pruned_equals_masked(double, table.groups, batch):
        return table
    passed = tuple(group for group in table.groups if _pruned_equals_masked(double, (group,), batch))
    reason = "the pruned network differs from the masked one"
    failed = tuple(OutOfScope(g.name, g.channels, reason) for g in table.groups if g not in passed)
    if not _pruned_equals_masked(double, passed, batch):
        raise UsageError("pruning this network changes more than the pruned channels; its structure is not supported")
    return replace(table, groups=passed, excluded=(*table.excluded, *failed))


def probe(model: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """Returns what pruning is checked on: a double-precision copy of a network, and two random images.

    Scales, shifts and statistics of the copy are random, because zeros, as some networks start with, hide mistakes.
    """
    generator = torch.Generator().manual_seed(0)
    double = copy.deepcopy(model).double().requires_grad_(False)
    for tensor in _tensors(double).values():
        if tensor.is_floating_point() and tensor.numel() == max(tensor.shape, default=1):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return double, torch.rand(2, *example.shape[1:], dtype=torch.float64, generator=generator)


def _pruned_equals_masked(model: nn.Module, groups: tuple[ChannelGroup, ...], batch: Tensor) -> bool:
    try:
        return pruning_error(model, groups, batch) < TOLERANCE
    except (RuntimeError, ValueError, IndexError):
        return False


def pruning_error(model: nn.Module, groups: tuple[ChannelGroup, ...], batch: Tensor, seed: int = 0) -> float:
    """Largest difference between a network pruned to random widths and the masked one, over their largest output.

    Args:
        model: The full network, in double precision; never changed.
        groups: What to prune.
        batch: Images.
        seed: Of the widths and the kept channels.
    """
    random = np.random.default_rng(seed)
    keep = {}
    for group in groups:
        width = random.integers(1, group.channels)
        kept = random.choice(group.channels, size=width, replace=False)
        keep[group.name] = torch.from_numpy(np.sort(kept))
    pruner = Pruner(model, GroupTable(groups))
    with evaluating(model), torch.inference_mode():
        pruned = pruner.prune(keep).eval()(batch)
        expected = mask(model, groups, keep)(batch)
    return float((pruned - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def mask(model: nn.Module, groups: tuple[ChannelGroup, ...], keep: Mapping[str, Tensor]) -> nn.Module:
    """Returns a copy of the full network whose pruned channels are zero where they are made."""
    masked = copy.deepcopy(model)
    tensors = dict(masked.named_parameters())
    with torch.no_grad():
        for group in groups:
            removed = np.setdiff1d(np.arange(group.channels), keep[group.name].numpy())
            for part in group.slices:
                if part.dim == 0 and part.tensor in tensors:
                    tensors[part.tensor][torch.from_numpy(part.rows[removed].ravel())] = 0
    return masked


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
