"""Layers that no forward pass was seen to run, such as heads on request, and whose inputs may be cut all the same."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from profilesearch.networks.cost import evaluating
from profilesearch.networks.counting import slow_attention
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.labels import UNUSED

_NORMS = nn.modules.batchnorm._NormBase


def stranded(network: nn.Module, table: GroupTable, keep: Mapping[str, Tensor], example: Tensor) -> list[str]:
    """Names layers that never ran, and take as many channels as the full network has where some were cut.

    Args:
        network: The full network, in single precision; never changed.
        table: Its channel groups.
        keep: The kept channels of every group.
        example: One input, shape (1, C, H, W).
    """
    shapes = {name: each.shape for name, each in (*network.named_parameters(), *network.named_buffers())}
    parts = [part for group in table.groups for part in group.slices if len(keep[group.name]) < group.channels]
    cut = {shapes[part.tensor][part.dim] for part in parts if part.tensor in shapes}  # others are made on the fly
    idle = {name for each in table.excluded if each.reason == UNUSED for name in each.layers}
    norms = {name: each for name, each in network.named_modules() if isinstance(each, _NORMS)}
    followed = {part.tensor.rpartition(".")[0] for group in table.groups for part in group.slices}
    idle |= _idle(network, {name: norms[name] for name in norms.keys() - followed}, example)
    return [name for name, each in network.named_modules() if name in idle and _takes(each) in cut]


def _idle(network: nn.Module, layers: Mapping[str, nn.Module], example: Tensor) -> set[str]:
    """Returns the names of those layers that one forward pass does not run."""
    if not layers:
        return set()
    ran: set[nn.Module] = set()
    hooks = [layer.register_forward_pre_hook(lambda layer, _: ran.add(layer)) for layer in layers.values()]
    try:
        with torch.no_grad(), evaluating(network), slow_attention(), torch.random.fork_rng(devices=[]):
            network(example.clone())  # which some change in place
    finally:
        for hook in hooks:
            hook.remove()
    return {name for name, layer in layers.items() if layer not in ran}


def _takes(layer: nn.Module) -> int:
    """Returns how many channels a layer takes; 0 where that is not known."""
    for name in ("in_channels", "in_features", "num_features"):
        if isinstance(number := getattr(layer, name, None), int):
            return number
    return 0
