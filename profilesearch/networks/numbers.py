"""What networks keep: tensors, and whole numbers beside them, such as widths, in layers of kinds of their own."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from profilesearch.networks.tracking import tensors

KNOWN = (nn.modules.conv._ConvNd, nn.Linear)
"""Kinds whose numbers are told by their weight's shape."""
_CHANNELS: dict[type[nn.Module], int] = {nn.InstanceNorm1d: -2, nn.InstanceNorm2d: -3, nn.InstanceNorm3d: -4}
"""Along which dimension these have their channels; there may be no batch."""


def state_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns the tensors of a network's state dict, by name, without what else its modules keep there."""
    return {name: each for name, each in model.state_dict().items() if isinstance(each, Tensor)}


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns what torch's own state dict of a network holds, by name, whatever people's methods make of theirs."""
    found = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for leaf, tensor in _own(module):
            if leaf not in module._non_persistent_buffers_set:
                found[f"{path}.{leaf}".removeprefix(".")] = tensor
    return found


def fit(module: nn.Module, sizes: Mapping[int, set[int]], numbers: Mapping[str, int] | None, prefix: str) -> None:
    """Makes the attributes of a layer agree with its tensors.

    Args:
        module: Of any kind.
        sizes: The new sizes of its tensors' dimensions, by the old ones. Where there are no `numbers`, those that a
            module of an unknown kind keeps are taken for the width that they are equal to, if all dimensions of this
            size became one other.
        numbers: New values by name, as `stem.channels`; None where they are told by the sizes.
        prefix: Of the module's names.
    """
    weight = {**module._parameters, **module._buffers}.get("weight")
    if isinstance(module, KNOWN) and weight is None:
        return  # a weight that is computed is not cut, and to ask for it changes some, as of spectral normalization
    if isinstance(module, nn.modules.conv._ConvNd) and weight is not None:
        rows, columns = weight.shape[:2]
        if module.groups > 1:  # whole groups stay or go
            module.groups = module.groups * rows // (module.in_channels if module.transposed else module.out_channels)
        columns *= module.groups
        module.in_channels, module.out_channels = (rows, columns) if module.transposed else (columns, rows)
    elif isinstance(module, nn.Linear) and weight is not None:
        module.out_features, module.in_features = weight.shape
    else:
        for name, value in _numbers(module).items():
            told = sizes.get(value, set()) if numbers is None else {numbers.get(prefix + name, value)}
            if len(told) == 1:
                setattr(module, name, *told)
        for name, values in _lists(module).items():
            several = [(numbers or {}).get(f"{prefix}{name}[{place}]", value) for place, value in enumerate(values)]
            if several != list(values):
                setattr(module, name, type(values)(several))


def kept_numbers(model: nn.Module) -> dict[str, int]:
    """Returns the numbers that a file of a pruned network keeps, by name, as `stem.channels`; none where it needs none.

    Torch's own layers need none, but for `InstanceNorm` without tensors: their numbers can be told by the shapes.
    """
    layers = [(prefix, module) for prefix, module in _layers(model) if not isinstance(module, KNOWN)]
    bare = [(f"{path}.", module) for path, module in model.named_modules() if _bare(module)]
    within = [(prefix, module) for prefix, module in _holders(model) if not _is_torchs(module)]
    if not bare and not within and all(_is_torchs(module) for _, module in layers):
        return {}
    return {prefix + name: value for prefix, module in (*layers, *bare, *within) for name, value in _held(module)}


def all_numbers(model: nn.Module) -> dict[str, int]:
    """Returns the whole numbers that the modules of a network keep, one by one or in lists, by name."""
    named = ((f"{path}." if path else "", module) for path, module in model.named_modules())
    return {prefix + name: value for prefix, module in named for name, value in _held(module)}


def holding(module: nn.Module, sizes: Sequence[int], whole: int) -> list[list[str]] | None:
    """Names the numbers of a module that say how it cuts a tensor into pieces.

    Args:
        module: That cuts.
        sizes: Of the pieces.
        whole: Their sum, or more.

    Returns:
        Names for every piece, and for the whole; None where the module does not hold the sizes, or all but one of them.
    """
    for name, values in _lists(module).items():
        if list(values) == list(sizes):
            return [*([f"{name}[{place}]"] for place in range(len(sizes))), []]
    found = [[name for name, value in _numbers(module).items() if value == size] for size in (*sizes, whole)]
    missing = sum(not names for names in found[:-1])
    return found if missing < min(2, len(sizes)) else None


def settle(model: nn.Module, example: Tensor) -> None:
    """Gives each `InstanceNorm` without tensors, by which it could be told, the number of channels that it meets.

    Args:
        model: Pruned, in evaluation mode; changed in place.
        example: One input, shape (1, C, H, W).
    """

    def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        vars(layer)["num_features"] = tensors((args, kwargs))[0].shape[_CHANNELS[type(layer)]]

    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in model.modules() if _bare(layer)]
    try:
        if hooks:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                model(example.clone())  # which some change in place
    finally:
        for hook in hooks:
            hook.remove()


def settle_like(model: nn.Module, other: nn.Module) -> None:
    """Gives each `InstanceNorm` without tensors the number of channels that it has in another copy of the network."""
    for path, layer in model.named_modules():
        if _bare(layer):
            vars(layer)["num_features"] = vars(other.get_submodule(path))["num_features"]


def _bare(layer: nn.Module) -> bool:
    return type(layer) in _CHANNELS and next(_own(layer), None) is None


def following(
    model: nn.Module, cuts: Mapping[tuple[str, int], frozenset[tuple[str, int]]]
) -> dict[str, tuple[str, int]]:
    """Returns the numbers that follow a width, by name, and the tensor and dimension that have it.

    Those do that equal the sizes of dimensions that are all cut alike. Where some are cut otherwise the number is the
    size of none of them for certain, whatever they are equal to after one cut: it stays.

    Args:
        model: The full network.
        cuts: How dimensions of tensors are cut: the groups that they follow, each with its indices for a channel.
    """
    found = {}
    for prefix, module in _layers(model):
        ways: dict[int, set[frozenset[tuple[str, int]]]] = defaultdict(set)
        places: dict[int, tuple[str, int]] = {}
        for leaf, tensor in _own(module):
            for dim, size in enumerate(tensor.shape):
                places[size] = prefix + leaf, dim
                ways[size].add(cuts.get(places[size], frozenset()))
        for name, value in _numbers(module).items():
            if len(ways.get(value, ())) == 1 and frozenset() not in ways[value]:
                found[prefix + name] = places[value]
    return found


def _holders(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields all modules that keep numbers, but no tensor of their own."""
    for path, module in model.named_modules():
        if next(_own(module), None) is None and any(True for _ in _held(module)):
            yield f"{path}." if path else "", module


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.")


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields all modules that have tensors of their own, with the beginning of these tensors' names."""
    for path, module in model.named_modules():
        if any(True for _ in _own(module)):
            yield f"{path}." if path else "", module


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for leaf, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            yield leaf, tensor


def _numbers(module: nn.Module) -> dict[str, int]:
    """Returns the whole numbers among a module's attributes, by their names."""
    return {name: value for name, value in vars(module).items() if type(value) is int}


def _lists(module: nn.Module) -> dict[str, list[int] | tuple[int, ...]]:
    """Returns the lists and tuples of whole numbers among a module's attributes, by their names."""
    kept = ((name, each) for name, each in vars(module).items() if type(each) in (list, tuple) and each)
    return {name: several for name, several in kept if all(type(each) is int for each in several)}


def _held(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Yields the names of a module's whole numbers, one by one and in lists, and what they are."""
    yield from _numbers(module).items()
    for name, values in _lists(module).items():
        yield from ((f"{name}[{place}]", value) for place, value in enumerate(values))
