"""Weights: foreign ones loaded as they are, pruned ones saved so that they rebuild themselves. No code is ever run."""

import hashlib
import json
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.files import write_atomically
from profilesearch.folders import APPLIED, check_beside
from profilesearch.networks.architectures import build, is_foreign_code
from profilesearch.networks.dimensions import dimensions
from profilesearch.networks.surgery import assign

METADATA_KEY = "profilesearch"
DIGEST_KEY = "digest"
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every name."""


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a checkpoint file.

    Args:
        path: A safetensors file, or a torch file with a state dict, bare or wrapped in a dictionary.

    Returns:
        Tensors by state-dict name without wrappers' prefixes such as `module.`, half precision widened to float32; and
        the metadata that profilesearch stored, empty for other files.

    Raises:
        UsageError: The file is missing or broken, holds values that are not finite, or would run code when loaded.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
            value: Any = load_file(path)
            metadata = json.loads(about.get(METADATA_KEY, "{}"))
            ours = METADATA_KEY in about or any(f'"{DIGEST_KEY}"' in text for text in about.values())
            if ours and metadata.pop(DIGEST_KEY, None) != _file_digest(value, metadata):
                raise UsageError(f"{path} is damaged: its content does not fit its digest; fetch or make it again")
        else:
            metadata = {}
            value = torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} is broken or holds more than tensors, and loading it could run code; save its state dict with "
            "safetensors or torch.save and use that file"
        ) from error
    except (safetensors.SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UsageError(f"{path} is no checkpoint or is broken ({_first_line(error)}); fetch it again") from error
    return _clean(path, value), metadata


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Loads tensors into a network whose names and shapes must fit exactly.

    Raises:
        UsageError: With the first tensor that does not fit.
    """
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            if name.endswith("num_batches_tracked"):
                continue
            raise UsageError(f"{source} is of another architecture: it has no tensor '{name}'")
        if tensors[name].shape != tensor.shape:
            raise UsageError(
                f"{source} does not fit: '{name}' has shape {tuple(tensors[name].shape)}, the network expects "
                f"{tuple(tensor.shape)}; check --arch and the number of classes"
            )
    extra = next((name for name in tensors if name not in expected), None)
    if extra is not None:
        raise UsageError(f"{source} is of another architecture: its tensor '{extra}' has no place in this network")
    load_state(model, tensors)


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
    tensors, _ = load_tensors(path)
    expected = model.state_dict()
    fitting = {
        name: tensor for name, tensor in tensors.items() if getattr(expected.get(name), "shape", 0) == tensor.shape
    }
    if 2 * len(fitting) < len(expected):
        raise UsageError(f"{path} is of another architecture: only {len(fitting)} of {len(expected)} tensors fit")
    load_state(model, fitting)
    return [name for name in expected if name not in fitting]


def load_network(architecture: str, path: str | Path) -> nn.Module:
    """Builds the full network that a checkpoint belongs to; classes and input channels are those of its tensors.

    Raises:
        UsageError: The file is broken or of another architecture.
    """
    tensors, _ = load_tensors(path)
    classes, channels = dimensions(architecture, tensors)
    model = build(architecture, classes, channels)
    load_into(model, tensors, str(path))
    return model.eval()


def save_network(path: str | Path, model: nn.Module, metadata: Mapping[str, Any], half: bool = False) -> None:
    """Writes a network's tensors with metadata, atomically.

    Args:
        path: A file that ends in `.safetensors`.
        model: Full or pruned.
        metadata: Plain data; `architecture`, `num_classes` and `in_channels` let `load_pruned` rebuild it.
        half: Stores half precision, half the size.

    Raises:
        UsageError: The file cannot be written.
    """
    tensors = {
        name: tensor.half() if half and tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    write_atomically(Path(path), lambda temporary: write_tensors(temporary, tensors, metadata))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Fills a safetensors file; call it through `write_atomically`.

    Raises:
        OSError: The disk is full.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry: the order of several would differ from file to file.
    about = json.dumps({**metadata, DIGEST_KEY: _file_digest(plain, metadata)})
    try:
        save_file(plain, path, {METADATA_KEY: about})
    except safetensors.SafetensorError as error:  # how a full disk shows
        raise OSError(0, str(error)) from error


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _file_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Hash of what a file of ours holds: a flipped bit anywhere is found when the file is read."""
    text = json.dumps(dict(metadata), sort_keys=True)
    return hashlib.sha256(f"{text} {tensor_digest(dict(sorted(tensors.items())))}".encode()).hexdigest()[:16]


def load_pruned(path: str | Path, architecture: str | None = None) -> nn.Module:
    """Rebuilds a pruned network from its file: the stock architecture, cut to the stored shapes.

    Args:
        path: A file that `apply` wrote.
        architecture: `package.module:callable` where the network is of your own code: a file alone never makes a
            module be imported.

    Returns:
        The network in evaluation mode, with bit-identical outputs to the one that was saved.

    Raises:
        UsageError: The file is broken or was not written by profilesearch, names another architecture, or is not of
            the result that the report beside it describes.
    """
    check_beside(Path(path), APPLIED)
    tensors, metadata = load_tensors(path)
    stored = str(metadata.get("architecture", ""))
    if architecture not in (None, stored) or (architecture is None and is_foreign_code(stored)):
        raise UsageError(
            f"{path} is of '{stored}'; if you trust that name, load_pruned(path, architecture='{stored}') imports it"
        )
    try:
        model = build(metadata["architecture"], metadata["num_classes"], metadata["in_channels"])
    except KeyError as error:
        raise UsageError(f"{path} does not say how to rebuild its network; use a file that 'apply' wrote") from error
    expected = model.state_dict()
    if tensors.keys() != expected.keys():
        raise UsageError(f"{path} does not hold the tensors of {metadata['architecture']}; the file is damaged")
    assign(model, tensors)
    return model.eval()


def _clean(path: Path, value: Any) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
    if not isinstance(value, Mapping):
        raise UsageError(f"{path} holds a {type(value).__name__} instead of a state dict; save model.state_dict()")
    tensors = {str(name): item for name, item in value.items() if isinstance(item, Tensor)}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): item for name, item in tensors.items()}
    tensors = {_name(name): item for name, item in tensors.items()}
    if not tensors:
        raise UsageError(f"{path} holds no tensors; save model.state_dict()")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UsageError(f"'{name}' in {path} holds values that are not finite; train or fetch it again")
    return {n: t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for n, t in tensors.items()}


def _name(name: str) -> str:
    """Drops the dots that torchvision's first DenseNets had in their names."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1", name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
