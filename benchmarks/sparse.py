"""Which kind of a smaller network is faster, at equal accuracy, and what does fine-tuning it cost?

Takes the folder that `profilesearch transfer` wrote. Every structured network stands beside the unstructured one whose
accuracy downstream is nearest, if that is near. Times are medians of one run in alternation: a forward pass by torch as
it is, by torch with weights as sparse matrices (CSR, where images are unfolded to columns), and by ONNX Runtime; a
training step of everything; and fine-tuning the classifier alone on features that are extracted once, beside all steps
it replaces.

    python benchmarks/sparse.py transferred --downstream cifar100 --finetune linear
"""

import argparse
import copy
import csv
import tempfile
import time
import warnings
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.applying.exports import READERS, WRITERS
from profilesearch.networks.checkpoints import load_pruned
from profilesearch.research.transfers.masks import Masks, classifier_name, prunable_layers
from profilesearch.research.transfers.methods import METHODS

_ROUNDS = 7
_NEAR = 0.02
WAYS = ("torch", "torch CSR", "ONNX Runtime", "training step", "classifier step")


class CsrConv(nn.Module):
    """A convolution whose weight is a sparse matrix, over unfolded images."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        with warnings.catch_warnings(action="ignore"):  # CSR is called beta at the first use
            self.weight = layer.weight.detach().flatten(1).to_sparse_csr()

    def forward(self, images: Tensor) -> Tensor:
        """Returns what the convolution returns."""
        of, around = self.layer, self.layer.padding
        assert not isinstance(around, str)  # noqa: S101  unfold takes numbers
        columns = functional.unfold(images, of.kernel_size, of.dilation, around, of.stride)
        count, size, places = columns.shape
        made = self.weight @ columns.transpose(0, 1).reshape(size, count * places)
        height = (images.shape[2] + 2 * around[0] - of.kernel_size[0]) // of.stride[0] + 1
        return made.view(-1, count, places).transpose(0, 1).reshape(count, len(made), height, -1)


def main() -> None:
    """Prints a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--downstream", required=True)
    parser.add_argument("--finetune", default="linear")
    parser.add_argument("--size", type=int, default=32, help="of the images")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--setting", default="*", help="folder in networks/, where there are several")
    options = parser.parse_args()
    settings = [path for path in (options.folder / "networks").glob(options.setting) if path.is_dir()]
    if len(settings) != 1:
        parser.error(f"--setting must name one of {', '.join(sorted(path.name for path in settings)) or 'none'}")
    found = read(options.folder / "rows.csv", options.downstream, options.finetune)
    accuracies = {key: value for key, value in found.items() if file_of(settings[0], key)}
    chosen = pairs(accuracies)
    networks = {key: load_pruned(path) for key in chosen if (path := file_of(settings[0], key))}
    images = torch.rand(options.batch, *shape(next(iter(networks.values())), options.size))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, batches of {options.batch}, milliseconds")
    print(f"{'network':22}" + "".join(f"{each:>17}" for each in ("accuracy", *WAYS)))
    ways = {key: ways_of(network, images) for key, network in networks.items()}
    times = alternate({
        (key, way): run for key, several in ways.items() for way, run in zip(WAYS, several, strict=True)
    })  # fmt: skip
    for key in chosen:
        cells = "".join(f"{times[key, way]:17.2f}" for way in WAYS)
        print(f"{f'{key[0]} {key[1]:g}':22}{accuracies[key]:17.2%}{cells}")


def read(path: Path, downstream: str, finetune: str) -> dict[tuple[str, float], float]:
    """Returns mean accuracies by method and level."""
    found: dict[tuple[str, float], list[float]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (row["downstream"], row["finetune"]) == (downstream, finetune):
                found.setdefault((row["method"], float(row["level"])), []).append(float(row["accuracy"]))
    return {key: float(np.mean(values)) for key, values in found.items()}


def pairs(accuracies: Mapping[tuple[str, float], float]) -> list[tuple[str, float]]:
    """Returns dense, then each structured network, with the unstructured one that is nearest in accuracy."""
    sparse = [key for key in accuracies if not METHODS[key[0]].structured]
    chosen = [key for key in accuracies if key[0] == "dense"]
    for key in accuracies:
        if METHODS[key[0]].structured and key[0] != "dense":
            near = [other for other in sparse if abs(accuracies[other] - accuracies[key]) <= _NEAR]
            chosen += [key, *sorted(near, key=lambda other: abs(accuracies[other] - accuracies[key]))[:1]]
    return list(dict.fromkeys(chosen))


def file_of(folder: Path, key: tuple[str, float]) -> Path | None:
    """Returns the file of a compressed network; those of profiles have the profile's name behind the level."""
    name = f"{key[0]}-{key[1]:g}"
    return next((path for tail in ("", "-*") for path in folder.glob(f"{name}{tail}.safetensors")), None)


def shape(model: nn.Module, size: int) -> tuple[int, int, int]:
    """Of one image."""
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    return first.in_channels, size, size


def ways_of(network: nn.Module, images: Tensor) -> list[Callable[[], object]]:
    """Returns what is timed on a network, in the order of `WAYS`."""
    labels = torch.zeros(len(images), dtype=torch.long)
    sparse, onnx = as_csr(network), by_onnx(network, images)
    for other in (sparse, onnx):
        torch.testing.assert_close(other(images), network(images), atol=1e-3, rtol=1e-3)
    everything, classifier = copy.deepcopy(network).train().requires_grad_(True), last_layer(network)
    Masks(everything)
    features = torch.rand(len(images), classifier.in_features)

    def step(model: nn.Module, given: Tensor) -> None:
        with torch.enable_grad():
            optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
            functional.cross_entropy(model(given), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    steps = [lambda: step(everything, images), lambda: step(classifier, features)]
    return [lambda: network(images), lambda: sparse(images), lambda: onnx(images), *steps]


def as_csr(network: nn.Module) -> nn.Module:
    """Returns a copy whose ungrouped convolutions multiply by sparse matrices."""
    changed = copy.deepcopy(network).eval()
    for name, layer in prunable_layers(network).items():
        if isinstance(layer, nn.Conv2d) and layer.groups == 1:
            changed.set_submodule(name, CsrConv(layer))
    return changed


def by_onnx(network: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns the network as ONNX Runtime runs it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = Path(folder) / "network.onnx"
        WRITERS["onnx"](network, images[:2], {}, path)
        return READERS["onnx"](path)


def last_layer(network: nn.Module) -> nn.Linear:
    """Returns a copy of the classifier."""
    layer = copy.deepcopy(network.get_submodule(classifier_name(network)))
    assert isinstance(layer, nn.Linear)  # noqa: S101  that is what classifier_name looks for
    return layer.requires_grad_(True)


def alternate(runs: Mapping[Hashable, Callable[[], object]]) -> dict[Hashable, float]:
    """Returns the median milliseconds of each, over rounds in which all take turns."""
    seconds: dict[Hashable, list[float]] = {key: [] for key in runs}
    for number in range(_ROUNDS + 1):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if number:  # the first round warms up
                seconds[key].append(time.perf_counter() - start)
    return {key: float(np.median(values)) * 1000 for key, values in seconds.items()}


if __name__ == "__main__":
    with torch.no_grad():
        main()
