"""Files that run elsewhere: ONNX and torch's exported programs, each scored after it was read back."""

import importlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from profilesearch.applying.settings import FORMATS
from profilesearch.errors import UsageError, choose
from profilesearch.networks.cost import evaluating
from profilesearch.system.files import write_atomically
from profilesearch.system.temporary import plainly_named
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.inputs import input_channels
from profilesearch.tasks.memory import batches

Predict = Callable[[Tensor], Tensor]
"""From normalized images (N, C, H, W) to logits (N, classes)."""
_BATCH = 50


@dataclass(frozen=True)
class Export:
    """An exported file, read back and compared with the network that it was made of.

    Attributes:
        file: Its name.
        accuracy: On the images that it was checked with.
        torch_accuracy: Of the network itself on them.
        same: Share of the images for which both predict the same class.
        images: How many images.
    """

    file: str
    accuracy: float
    torch_accuracy: float
    same: float
    images: int

    def to_json(self) -> dict[str, Any]:
        """Returns the plain object for reports."""
        return asdict(self)


def export(model: nn.Module, kind: str, path: Path, data: DataSet, images: Images) -> Export:
    """Writes a network in another format, reads it back, and compares what both predict.

    Args:
        model: In any mode; exported in evaluation mode, for any number of images at a time.
        kind: One of `FORMATS`.
        path: File to write; it also says what `metadata_of` returns: `metadata_props` of ONNX, extra files of
            `torch.export`.
        data: Gives the normalization.
        images: To compare on.

    Raises:
        UsageError: The network cannot be exported, a package is missing, or the file cannot be written.
    """
    pixels = data.normalize(images.pixels, input_channels(model, data.image_shape))
    example, about = pixels[:2].contiguous(), metadata_of(data, tuple(pixels.shape[1:]))
    with evaluating(model):
        try:
            write_atomically(path, lambda temporary: WRITERS[kind](model, example, about, temporary))
        except UsageError:
            raise
        except Exception as error:  # exporters raise whatever they meet
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(
                f"the network cannot be exported to {kind}: {reason}; leave --export {kind} out"
            ) from error
        with torch.inference_mode():
            ours = _predict(model, pixels)
    theirs = _predict(READERS[kind](path), pixels)
    right = [float((predicted == images.labels).float().mean()) for predicted in (theirs, ours)]
    return Export(path.name, right[0], right[1], float((theirs == ours).float().mean()), len(images))


def _predict(network: Predict, pixels: Tensor) -> Tensor:
    return torch.cat([network(pixels[part]).argmax(dim=1) for part in batches(len(pixels), _BATCH)])


def check_format(kind: str) -> None:
    """Checks before any work that a format can be written and read back.

    Raises:
        UsageError: It is unknown, or a package is missing.
    """
    choose("format", kind, FORMATS)
    for package in ("onnx", "onnxscript", "onnxruntime") if kind == "onnx" else ():
        _need(package)


def metadata_of(data: DataSet, shape: tuple[int, ...]) -> dict[str, str]:
    """Returns what whoever runs an exported file has to know, each as JSON.

    Args:
        data: What the network classifies.
        shape: Of one input, (C, H, W).
    """
    names = list(data.class_names or map(str, range(data.num_classes)))
    mean, std, luma = data.normalization(shape[0])
    about: dict[str, Any] = {"data": data.name, "class_names": names, "mean": mean, "std": std, "input_size": shape}
    about |= {"grey_of_normalized_colours": luma} if luma else {}
    return {name: json.dumps(value) for name, value in about.items()}


def _write_onnx(model: nn.Module, example: Tensor, about: Mapping[str, str], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model, (example,), input_names=["images"], output_names=["logits"], dynamo=True, verbose=False,
            dynamic_shapes=({0: "batch"},),  # dynamic too, and under the name that readers of the file know it by
        )  # fmt: skip
    if program is None:
        raise UsageError("the network cannot be exported to onnx; leave --export onnx out")
    program.model.metadata_props.update(about)
    program.save(path)


def _read_onnx(path: Path) -> Predict:
    runtime = _need("onnxruntime")
    with plainly_named(path) as plain:
        session = runtime.InferenceSession(str(plain), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: torch.from_numpy(np.asarray(session.run(None, {name: batch.numpy()})[0]))


def _write_pt2(model: nn.Module, example: Tensor, about: Mapping[str, str], path: Path) -> None:
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    content = io.BytesIO()  # torch ends the whole process where a disk gets full while it writes
    torch.export.save(program, content, extra_files=dict(about))
    path.write_bytes(content.getbuffer())


def _read_pt2(path: Path) -> Predict:
    with path.open("rb") as file:
        module: Predict = torch.export.load(file).module()
    return module


def _need(package: str) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(f"exporting to onnx needs {package}; `pip install 'profilesearch[onnx]'` brings it") from error


WRITERS = {"onnx": _write_onnx, "pt2": _write_pt2}
"""By format: from a network, an example (N, C, H, W), what is known of its images, and a path to a file."""
READERS = {"onnx": _read_onnx, "pt2": _read_pt2}
"""By format: from a file to what predicts."""
