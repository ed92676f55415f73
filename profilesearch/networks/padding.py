"""Pruned networks with channels of zeros, for hardware that multiplies blocks of channels."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from profilesearch.networks.surgery import Pruner, assign


def padded(network: nn.Module, pruner: Pruner, keep: Mapping[str, Tensor], multiple: int) -> nn.Module:
    """Returns a pruned network whose widths are filled up to a multiple with channels of zeros.

    It gives the same outputs, and learns the same: with SGD and weight decay what is zero stays zero, since a channel
    whose weights, scale and shift are zero, and that its consumers ignore, has no gradient. A GPU pads odd widths of
    half precision before each convolution anyway; here it is done once.

    Args:
        network: What `pruner` made of its model with `keep`; its weights may have changed since.
        pruner: Of the full network.
        keep: Kept channels of every group, sorted ascending, by group name.
        multiple: Of every width, as far as the full network has channels.
    """
    wide = {group.name: _filled(keep[group.name], group.channels, multiple) for group in pruner.table.groups}
    mine = dict(network.named_parameters()) | dict(network.named_buffers())
    narrow, spots, filled = pruner.spots(keep), pruner.spots(wide), {}
    for name, tensor in mine.items():
        full = torch.zeros(int(max(spots[name].max(), narrow[name].max())) + 1, dtype=tensor.dtype)
        full[narrow[name].flatten()] = tensor.detach().cpu().flatten()
        filled[name] = full[spots[name]]
    network = pruner.prune(wide).train(network.training)
    assign(network, filled)
    return network


def _filled(kept: Tensor, channels: int, multiple: int) -> Tensor:
    width = min(channels, -(-len(kept) // multiple) * multiple)
    removed = torch.ones(channels, dtype=torch.bool)
    removed[kept] = False
    return torch.cat([kept, removed.nonzero()[: width - len(kept), 0]]).sort().values
