"""Weights: foreign ones loaded as they are, pruned ones saved so that they rebuild themselves. No code is ever run."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import filled_later, is_foreign_code
from profilesearch.networks.cost import evaluated
from profilesearch.networks.dimensions import dimensions, skeleton
from profilesearch.networks.factors import Stored
from profilesearch.networks.given import like
from profilesearch.networks.matching import COUNTERS, find, under
from profilesearch.networks.names import entry_of
from profilesearch.networks.numbers import kept_numbers, own_tensors, state_tensors
from profilesearch.networks.plan import copied
from profilesearch.networks.reading import (
    DIGEST_KEY,
    METADATA_KEY,
    Checkpoint,
    file_digest,
    more_than_tensors,
    read_checkpoint,
)
from profilesearch.networks.surgery import assign
from profilesearch.system.files import write_atomically
from profilesearch.system.folders import APPLIED, check_beside

_OTHER = "is of another architecture than was asked for"
_HALF_LOSS = 2**-10
"""What half precision may change of a value; where it has all of its digits, it is at most half of that."""


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads all tensors of a file that profilesearch wrote.

    Args:
        path: Of the file; of others, tensors have the names that stand there.

    Returns:
        Tensors by name, half precision widened to float32; and the metadata that profilesearch stored, empty for other
        files.

    Raises:
        UsageError: The file is missing or broken, or would run code when loaded; or it is from elsewhere and holds
            values that are not finite.
    """
    checkpoint = _open(Path(path))
    return _values(checkpoint, checkpoint.tensors), checkpoint.metadata


def load_metadata(path: str | Path) -> dict[str, Any]:
    """Returns what profilesearch stored beside a checkpoint's tensors; nothing for files from elsewhere.

    Raises:
        UsageError: The file is missing or broken.
    """
    return _open(Path(path)).metadata


@dataclass(frozen=True)
class Matched:
    """A checkpoint's tensors for an architecture.

    Attributes:
        tensors: By the network's names.
        classes: Class scores of the network.
        channels: Of its images.
        note: A sentence for people on what was taken from the file; empty where that goes without saying.
    """

    tensors: dict[str, Tensor]
    classes: int
    channels: int
    note: str


def load_matched(architecture: str, path: str | Path) -> Matched:
    """Reads the tensors of a network from a checkpoint, whatever was wrapped around them.

    Args:
        architecture: Its name; the names of its tensors decide what is taken.
        path: A checkpoint; `FILE#ENTRY` takes one entry of a file that holds several.

    Raises:
        UsageError: The file is broken or of another architecture.
    """
    checkpoint = _open(path := Path(path))
    expected = skeleton(architecture)
    found = find(checkpoint.tensors, expected)
    if checkpoint.unknown and not found.tensors.keys() & expected.keys():
        raise more_than_tensors(path)
    _check_names(found.tensors, expected, str(path))
    tensors = _values(checkpoint, found.tensors)
    return Matched(tensors, *dimensions(architecture, tensors), found.note(path))


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Loads tensors into a network whose names and shapes must fit exactly.

    Raises:
        UsageError: With the first tensor that does not fit.
    """
    expected = state_tensors(model)
    _check_names(tensors, expected, source)
    for name, tensor in expected.items():
        given = tensors.get(name, tensor)
        if given.shape != tensor.shape:
            raise UsageError(
                f"{source} does not fit: '{name}' has shape {tuple(given.shape)}, the network expects "
                f"{tuple(tensor.shape)}; check the architecture and the number of classes"
            )
        if given.is_floating_point() != tensor.is_floating_point() and not name.endswith(COUNTERS):
            raise UsageError(
                f"{source} does not fit: '{name}' holds {given.dtype}, the network expects {tensor.dtype}; save the "
                "network in floating point"
            )
    load_state(model, tensors)


def _check_names(tensors: Mapping[str, Any], expected: Mapping[str, Any], source: str) -> None:
    for name in expected:
        if name in tensors or name.endswith(COUNTERS):
            continue
        module, _, leaf = name.rpartition(".")
        if any(each.startswith((f"{name}_", f"{module}.parametrizations.{leaf}.")) for each in tensors):
            raise UsageError(
                f"{source} holds '{name}' in parts; before saving, remove what splits it, with "
                "torch.nn.utils.parametrize.remove_parametrizations or torch.nn.utils.remove_spectral_norm"
            )
        raise UsageError(f"{source} {_OTHER}: it has no tensor '{name}'")
    extra = next((name for name in tensors if name not in expected), None)
    if extra is not None:
        raise UsageError(f"{source} {_OTHER}: its tensor '{extra}' has no place in this network")


def load_state(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads those tensors that are there, as of the modules' own versions: files do not keep these."""
    state = OrderedDict(tensors)
    state._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    model.load_state_dict(state, strict=False)


def load_fitting(model: nn.Module, path: str | Path) -> list[str]:
    """Starts a network from a relative's weights: all tensors whose name and shape fit, such as all but the classifier.

    Returns:
        The names of the network's tensors that stay as they are.

    Raises:
        UsageError: The file is broken, or less than half of the tensors fit.
    """
    checkpoint = _open(Path(path))
    expected = {name: tensor.shape for name, tensor in state_tensors(model).items()}
    found = find(checkpoint.tensors, expected).tensors
    fitting = _values(checkpoint, {name: each for name, each in found.items() if expected.get(name) == each.shape})
    if 2 * len(fitting) < len(expected):
        raise UsageError(f"{path} {_OTHER}: only {len(fitting)} of {len(expected)} tensors fit")
    load_state(model, fitting)
    return [name for name in expected if name not in fitting]


def load_network(architecture: str, path: str | Path) -> nn.Module:
    """Builds the full network that a checkpoint belongs to; classes and input channels are those of its tensors.

    Raises:
        UsageError: The file is broken or of another architecture.
    """
    matched = load_matched(architecture, path)
    model = filled_later(architecture, matched.classes, matched.channels)
    load_into(model, matched.tensors, str(path))
    return evaluated(model)


def save_network(path: str | Path, model: nn.Module, metadata: Mapping[str, Any], half: bool = False) -> None:
    """Writes a network's tensors with metadata, atomically; what else its modules keep in its state dict is left out.

    Args:
        path: A file that ends in `.safetensors`.
        model: Full or pruned.
        metadata: Plain data; `architecture`, `num_classes` and `in_channels` let `load_pruned` rebuild it.
        half: Stores half precision, half the size; but a tensor that would lose by it stays as it is.

    Raises:
        UsageError: The file cannot be written.
    """
    tensors = {name: _halved(tensor) if half else tensor for name, tensor in own_tensors(model).items()}
    about = {**metadata, **({"numbers": numbers} if (numbers := kept_numbers(model)) else {})}
    write_atomically(Path(path), lambda temporary: write_tensors(temporary, tensors, about))


def _halved(tensor: Tensor) -> Tensor:
    """Returns a tensor in half precision, unless a value is beyond its range, or too small for its steps.

    Values count relative to the largest of their output channel: BatchNorm makes small channels large again.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    exact, half = tensor.detach().double(), tensor.detach().half()
    rows = exact.reshape(len(exact) if exact.dim() else 1, -1)
    off = (half.double().reshape(rows.shape) - rows).abs()
    return half if bool((off <= _HALF_LOSS * rows.abs().amax(dim=1, keepdim=True)).all()) else tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Fills a safetensors file, in which no two tensors share memory; call it through `write_atomically`.

    Raises:
        OSError: The disk is full.
    """
    plain = {name: each.detach().cpu().clone(memory_format=torch.contiguous_format) for name, each in tensors.items()}
    # One entry: the order of several would differ from file to file.
    about = json.dumps({**metadata, DIGEST_KEY: file_digest(plain, metadata)})
    try:
        save_file(plain, path, {METADATA_KEY: about})
    except safetensors.SafetensorError as error:  # how a full disk shows
        raise OSError(0, str(error)) from error


def load_pruned(path: str | Path, architecture: str | None = None, network: nn.Module | None = None) -> nn.Module:
    """Rebuilds a pruned network from its file: the full one, cut to the stored shapes.

    Args:
        path: A file that `apply`, or what `prune` returns, wrote.
        architecture: `package.module:callable` where the network is of your own code: a file alone never makes a
            module be imported.
        network: The full network, trained or not, in place of one by its architecture's name; never changed.

    Returns:
        The network in evaluation mode, with bit-identical outputs to the one that was saved, laid out as `network` is.

    Raises:
        UsageError: The file is broken or was not written by profilesearch, names another architecture, is not of
            `network`, or is not of the result that the report beside it describes.
    """
    check_beside(Path(path), APPLIED)
    tensors, metadata = load_tensors(path)
    model = _full(path, tensors, metadata, architecture) if network is None else copied(network)
    what = str(metadata["architecture"]) if network is None else type(model).__name__
    if not _is_of(tensors, model):
        raise UsageError(f"{path} does not hold the tensors of {what}; the file is damaged, or of another network")
    assign(model, like(model if network is None else network, tensors), metadata.get("numbers"))
    return evaluated(model)


def _is_of(tensors: Mapping[str, Tensor], model: nn.Module) -> bool:
    """Says whether a network has tensors of these names, and kernels of these sizes, which no pruning changes."""
    own, buffers = own_tensors(model), dict(model.named_buffers(remove_duplicate=False)).keys()
    if not own.keys() <= tensors.keys() <= own.keys() | buffers:  # some of which only a pruned network's state dict has
        return False
    layers = {f"{path}.weight".removeprefix("."): each for path, each in model.named_modules()}
    kernels = [name for name, each in layers.items() if isinstance(each, nn.modules.conv._ConvNd) and name in own]
    return all(tensors[name].shape[2:] == own[name].shape[2:] for name in kernels)


def _full(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], architecture: str | None
) -> nn.Module:
    """Builds the untrained full network that a pruned one's file names."""
    stored = str(metadata.get("architecture", ""))
    if architecture not in (None, stored) or (architecture is None and is_foreign_code(stored)):
        raise UsageError(
            f"{path} is of '{stored}'; if you trust that name, load_pruned(path, architecture='{stored}') imports it"
        )
    if not {"architecture", "num_classes", "in_channels"} <= metadata.keys():
        raise UsageError(
            f"{path} does not say how to rebuild its network; use a file that 'apply' wrote, or give the full network "
            "with network=..."
        )
    sizes = metadata["num_classes"], metadata["in_channels"]
    if max(sizes) > max(max(tensor.shape, default=0) for tensor in tensors.values()):
        raise UsageError(f"{path} is damaged: none of its tensors is as large as {max(sizes)}; make it again")
    return filled_later(stored, *sizes)


def _open(path: Path) -> Checkpoint:
    """Reads a file, or the entry of a file."""
    file, entry = entry_of(path)
    checkpoint = read_checkpoint(file)
    return replace(checkpoint, tensors=under(checkpoint.tensors, entry)) if entry else checkpoint


def _values(checkpoint: Checkpoint, stored: Mapping[str, Stored]) -> dict[str, Tensor]:
    return {name: _value(checkpoint, name, each) for name, each in stored.items()}


def _value(checkpoint: Checkpoint, name: str, stored: Stored) -> Tensor:
    if isinstance(stored, Tensor):
        return checkpoint.plain(name, stored)
    one, other = (checkpoint.plain(name, part) for part in stored.parts)
    return checkpoint.plain(name, stored.multiply(one, other))
