"""Reads checkpoint files: no code is run, damage that the file's checksums can show is found, memory is bounded."""

import hashlib
import json
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from profilesearch.errors import UsageError
from profilesearch.system.files import regular_file
from profilesearch.system.temporary import plainly_named

METADATA_KEY = "profilesearch"
DIGEST_KEY = "digest"
_SCRIPT = "/constants.pkl"
"""The part of TorchScript's files that others have not."""
_VARIANCE = "running_var"
"""What BatchNorm calls the variances that it takes the root of."""
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: Of the file.
        size: Of the file, in bytes.
        tensors: By their places in it, joined by dots.
        metadata: What profilesearch stored; empty for other files.
        unknown: Names of the classes that torch does not know, whose objects are left out.
    """

    path: Path
    size: int
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    unknown: tuple[str, ...] = ()

    def plain(self, name: str, tensor: Tensor) -> Tensor:
        """Returns one of the tensors for use: half precision and less widened to float32.

        Files of ours, which their digest vouches for, may hold whatever a network keeps.

        Raises:
            UsageError: In another file, it is not dense, or holds something else, values that are not finite, variances
                below zero, or more of them than the file. Masks, of zeros and negative infinity, are let through.
        """
        tensor = tensor.detach()
        if not self.metadata:
            self._check_kind(name, tensor)
        plain = tensor.float() if tensor.dtype in _WIDENED else tensor.clone(memory_format=torch.contiguous_format)
        if name.endswith(_VARIANCE) and bool((plain < 0).any()):
            raise UsageError(f"'{name}' in {self.path} holds variances below zero; train or fetch it again")
        if self.metadata or not plain.is_floating_point() or bool(plain.float().isfinite().all()):
            return plain
        if not bool(((plain == 0) | plain.isneginf()).all()):
            raise UsageError(f"'{name}' in {self.path} holds values that are not finite; train or fetch it again")
        return plain

    def _check_kind(self, name: str, tensor: Tensor) -> None:
        kind = next((what for what, there in _KINDS.items() if there(tensor)), "")
        if kind or tensor.dtype not in _WIDENED + _EXACT:
            kind = kind or str(tensor.dtype).removeprefix("torch.")
            raise UsageError(f"'{name}' in {self.path} is a {kind} tensor; save the network with plain float32 ones")
        if not 0 < tensor.numel() * tensor.element_size() <= self.size:
            raise UsageError(
                f"'{name}' in {self.path} says that its shape is {tuple(tensor.shape)}, which the file cannot hold; "
                "make it again"
            )


_WIDENED = (
    torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz
)  # fmt: skip
_EXACT = (torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_KINDS: dict[str, Callable[[Tensor], bool]] = {
    "meta": lambda tensor: tensor.is_meta,
    "quantized": lambda tensor: tensor.is_quantized,
    "sparse": lambda tensor: tensor.layout != torch.strided,
}


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a safetensors file or a torch file.

    Raises:
        UsageError: The file is missing or broken, is compressed, holds no tensors, or is a pipe or a device.
    """
    try:
        size = regular_file(path, "checkpoint").stat().st_size
        if path.suffix == ".safetensors":
            with plainly_named(path) as plain:
                tensors, about = load_file(plain), _about(plain)
            metadata = _metadata(path, tensors, about)
            return Checkpoint(path, size, tensors, metadata)
        value, unknown = _read_torch(path, size)
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise more_than_tensors(path) from error
    except Exception as error:  # torch and safetensors raise whatever they meet in a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} is no checkpoint or is broken ({reason}); fetch it again") from error
    tensors = _flatten(value)
    if not tensors and unknown:
        raise more_than_tensors(path)
    if not tensors:
        raise UsageError(f"{path} holds no tensors; save model.state_dict()")
    return Checkpoint(path, size, tensors, {}, unknown)


def _flatten(value: Any) -> dict[str, Tensor]:
    """Returns the tensors in nested mappings and lists by their places; each container once."""
    tensors: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [("", value)]
    seen = set()
    while waiting:
        place, item = waiting.pop()
        if isinstance(item, Tensor):
            if not item.is_nested:  # which have no shape
                tensors[place] = item
        elif isinstance(item, Mapping | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            entries = item.items() if isinstance(item, Mapping) else enumerate(item)
            waiting += reversed([(f"{place}.{name}" if place else str(name), entry) for name, entry in entries])
    return tensors


def more_than_tensors(path: Path) -> UsageError:
    """Returns the sentence for files whose weights lie in objects that only their own code could bring back."""
    return UsageError(
        f"{path} is broken or holds more than tensors, and loading it could run code; save its state dict with "
        "safetensors or torch.save and use that file"
    )


class _StandIn(list[Any]):
    """Takes the place of every object beside the weights whose class torch does not know; what it held is left out."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Forgets what belongs to the object."""


def _read_torch(path: Path, size: int) -> tuple[Any, tuple[str, ...]]:
    with path.open("rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP
    with warnings.catch_warnings(), plainly_named(path) as plain:
        warnings.simplefilter("ignore")  # about old formats
        if not is_zip:  # torch's format until 1.6, which has no checksums
            return torch.load(plain, map_location="cpu", weights_only=True), ()
        _check_zip(path, size)
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(plain)
        known: dict[str, Callable[..., Any]] = {"collections.defaultdict": lambda *_: OrderedDict()}
        # Mapped, so that a tensor cannot reach beyond the file, and what is not needed is not read.
        with torch.serialization.safe_globals([(known.get(name, _StandIn), name) for name in unknown]):
            return torch.load(plain, map_location="cpu", weights_only=True, mmap=True), tuple(unknown)


def _check_zip(path: Path, size: int) -> None:
    """Checks what torch itself does not: the checksums, and that content is stored as it is, which bounds memory."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(record.filename.endswith(_SCRIPT) for record in records):
            raise UsageError(
                f"{path} is a TorchScript file, which holds code; save its weights in Python and use that file: "
                f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pt')"
            )
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise UsageError(f"{path} is compressed, which torch.save does not do; load it and save it again")
        if sum(record.file_size for record in records) > size or len({each.filename for each in records}) < len(
            records
        ):
            raise UsageError(f"{path} is no checkpoint or is broken (its parts overlap); fetch it again")
        damaged = archive.testzip()
    if damaged is not None:
        raise UsageError(f"{path} is damaged: the checksum of its part '{damaged}' does not fit; fetch it again")


def _about(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _metadata(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> dict[str, Any]:
    """Returns what a file of ours says, checked against its digest; nothing where it is somebody else's."""
    if METADATA_KEY not in about and not any(f'"{DIGEST_KEY}"' in text for text in about.values()):
        return {}
    damaged = UsageError(f"{path} is damaged: its content does not fit its digest; fetch or make it again")
    try:
        metadata = json.loads(about.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError) as error:
        raise damaged from error
    if not isinstance(metadata, dict) or metadata.pop(DIGEST_KEY, None) != file_digest(tensors, metadata):
        raise damaged
    for name, value in metadata.items():
        if name in _FIELDS and not _FIELDS[name](value):
            raise UsageError(f"{path} is damaged: {value!r:.60} cannot be its '{name}'; make it again")
    return metadata


def file_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Hash of what a file of ours holds: a flipped bit anywhere is found when the file is read."""
    text = json.dumps(dict(metadata), sort_keys=True)
    return hashlib.sha256(f"{text} {tensor_digest(dict(sorted(tensors.items())))}".encode()).hexdigest()[:16]


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Hash of names, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9  # which NaN is not


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _channelwise(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_number, value))


def _recipe(value: Any) -> bool:
    return isinstance(value, dict) and _whole(0, 10**9)(value.get("epochs")) and _number(value.get("lr"))


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(type(each) is int for each in value.values())


_SEED = _whole(0, 2**63 - 1)
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "architecture": _text, "num_classes": _whole(1, 2**31), "in_channels": _whole(1, 2**31), "data": _text,
    "images": _text, "mean": _channelwise, "std": _channelwise, "seed": _SEED, "split_seed": _SEED,
    "trained_on": _text, "start": _text, "recipe": _recipe, "epoch": _whole(0, 10**9), "identity": _text,
    "numbers": _numbers,
    "held_out_accuracy": lambda value: _number(value) and 0 <= value <= 1,
}  # fmt: skip
"""What commands read from the metadata, and what it can be."""
