"""Discovers the channel groups of any torch network; the only file that knows Torch-Pruning.

Torch-Pruning (Fang et al. 2023, arXiv 2301.12900) traces which layers are coupled. We read its graph once, keep plain
indices, and exclude, with the reason, every group that the graph does not describe correctly.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.networks.groups import ChannelGroup, GroupTable, OutOfScope, Slice

Node = torch_pruning.dependency.Node
_NORMS = (nn.modules.batchnorm._BatchNorm,)
_VECTORS = ("weight", "bias", "running_mean", "running_var")


class _ExcludedError(Exception):
    """The group cannot be pruned; the message is the reason that users see."""


def trace(model: nn.Module, example: Tensor) -> GroupTable:
    """Finds all channel groups of `model`, in network order.

    Args:
        model: Any torch network; it is left unchanged, in evaluation mode.
        example: One input, shape (1, C, H, W).

    Returns:
        Groups of every scope, and the layers that are out of scope with their reasons.

    Raises:
        UsageError: The network cannot be traced.
    """
    model.eval()
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    graph = _build(model, example)
    names = {module: name for name, module in model.named_modules()}
    groups: list[ChannelGroup] = []
    excluded: list[OutOfScope] = []
    seen: set[str] = set()
    for name, layer in layers.items():
        if name in seen or _is_depthwise(layer):
            continue
        channels = int(layer.weight.shape[0])
        try:
            members = list(_members(graph, layer, channels))
            seen.update(names[m] for m, out, _, _ in members if out and m in names)
            groups.append(_group(name, channels, members, names))
        except _ExcludedError as reason:
            excluded.append(OutOfScope(name, channels, str(reason)))
    return GroupTable(tuple(groups), tuple(excluded))


def _build(model: nn.Module, example: Tensor) -> "torch_pruning.DependencyGraph":
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch_pruning.DependencyGraph().build_dependency(model, example_inputs=example, verbose=False)
    except Exception as error:
        raise UsageError(
            f"cannot trace {type(model).__name__} with an input of shape {tuple(example.shape)}: {error}; "
            "check the input size, and that the forward pass has no data-dependent control flow"
        ) from error


Member = tuple[nn.Module, bool, list[int], list[int]]
"""A layer, whether the channels are its outputs, their indices there, and their indices in the root layer."""


def _members(graph: "torch_pruning.DependencyGraph", layer: nn.Module, channels: int) -> Iterator[Member]:
    """Yields what is coupled to the outputs of `layer`, and a residual sum as a bare module."""
    prune_out = graph.get_pruner_of_module(layer).prune_out_channels
    try:
        items = graph.get_pruning_group(layer, prune_out, idxs=list(range(channels)))
    except Exception as error:
        raise _ExcludedError(f"its couplings cannot be traced ({type(error).__name__})") from error
    for item in items:
        yield item.dep.target.module, graph.is_out_channel_pruning_fn(item.dep.handler), item.idxs, item.root_idxs


def _group(name: str, channels: int, members: list[Member], names: dict[nn.Module, str]) -> ChannelGroup:
    """Turns the members into slices.

    Raises:
        _ExcludedError: With the reason why the group is out of scope.
    """
    rows: dict[tuple[str, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    producers: set[str] = set()
    consumed = summed = False
    for module, is_output, indices, roots in members:
        if module not in names:  # an operation without parameters
            summed |= "AddBackward" in str(getattr(module, "_grad_fn", ""))
            continue
        member = names[module]
        _check_kind(member, module, is_output)
        if is_output and isinstance(module, nn.Conv2d | nn.Linear):
            if len(indices) != len(module.weight):
                padded = f"{channels} to {len(module.weight)}"
                raise _ExcludedError(f"tied to {member} by a shortcut that pads channels ({padded})")
            if not _is_depthwise(module):
                producers.add(member)
        consumed |= not is_output
        for tensor, dim, size in _tensors(module, is_output):
            if max(indices) >= size:
                raise _ExcludedError(f"its couplings are traced wrongly at {member} (index {max(indices)} of {size})")
            for index, root in zip(indices, roots, strict=True):
                if index not in rows[f"{member}.{tensor}", dim][root]:
                    rows[f"{member}.{tensor}", dim][root].append(index)
    if not consumed:
        raise _ExcludedError("makes the outputs of the network")
    slices = tuple(Slice(tensor, dim, _matrix(by_root, channels)) for (tensor, dim), by_root in rows.items())
    return ChannelGroup(name, channels, "all" if summed and len(producers) > 1 else "block", slices)


def _check_kind(name: str, module: nn.Module, is_output: bool) -> None:
    if isinstance(module, _NORMS):
        return
    if not isinstance(module, nn.Conv2d | nn.Linear):
        raise _ExcludedError(f"tied to {name}, a {type(module).__name__}, which is not supported yet")
    if isinstance(module, nn.Conv2d) and module.groups > 1 and not _is_depthwise(module):
        side = "outputs" if is_output else "inputs"
        raise _ExcludedError(f"tied to the {side} of {name}, a grouped convolution, which is not supported yet")


def _tensors(module: nn.Module, is_output: bool) -> Iterator[tuple[str, int, int]]:
    """Yields name, dimension and size of what follows the channels in one layer."""
    if is_output or isinstance(module, _NORMS) or _is_depthwise(module):
        for name in _VECTORS:
            tensor = getattr(module, name, None)
            if isinstance(tensor, Tensor):
                yield name, 0, tensor.shape[0]
    elif isinstance(module.weight, Tensor):
        yield "weight", 1, module.weight.shape[1]


def _matrix(by_root: dict[int, list[int]], channels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    lengths = {len(indices) for indices in by_root.values()}
    if set(by_root) != set(range(channels)) or len(lengths) != 1:
        raise _ExcludedError("its couplings are traced wrongly (some channels have no place in a tied layer)")
    return np.array([sorted(by_root[root]) for root in range(channels)], dtype=np.int64)


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels > 1
