"""Latency as a cost: a table of measured layers, made once on a device, that prices profiles without building them."""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator
from torch import Tensor, nn

from profilesearch.files import write_json
from profilesearch.networks.cost import CostModel, FloatArray, evaluating, watch_layers
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.profiles import Metric

_STEPS = 8
_REPEATS = 5
Say = Callable[[int, int], None]
"""Called with layers measured and layers in all."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer as the table knows it: all that its time depends on but its widths."""

    kind: str
    outputs: int
    inputs: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    height: int
    width: int

    def build(self, outputs: int, inputs: int) -> tuple[nn.Module, Tensor]:
        """Returns the layer at other widths, with what usually follows it, and one image for it."""
        if self.kind == "linear":
            return nn.Linear(inputs, outputs).eval(), torch.rand(self.height, inputs)
        groups = max(1, self.groups * outputs // self.outputs) if self.groups > 1 else 1
        inputs = self.inputs * groups if self.groups > 1 else inputs  # `inputs` are those of one group of channels
        outputs = self.outputs // self.groups * groups if self.groups > 1 else outputs
        convolution = nn.Conv2d(
            inputs, outputs, self.kernel, self.stride, self.padding, self.dilation, groups, bias=False  # type: ignore[arg-type]
        )  # fmt: skip
        block = nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU()).eval()
        return block, torch.rand(1, inputs, self.height, self.width)


class LatencyModel(CostModel):
    """Prices profiles in nanoseconds for one image, and as `CostModel` does.

    Every layer's time is interpolated between measured widths, and all are scaled so that the full network's is right.
    Tables are kept in one file, by device, so that each layer is measured once.

    Args:
        model: The full network.
        table: Its channel groups.
        example: One input, shape (1, C, H, W).
        cache: File of the tables; that of the user where None.
        say: Called while layers are measured.
    """

    def __init__(
        self, model: nn.Module, table: GroupTable, example: Tensor, cache: Path | None = None, say: Say | None = None
    ) -> None:
        super().__init__(model, table, example)
        layers = _layers(model, example)
        tables = _Tables(cache or default_cache())
        missing = [layer for layer in dict.fromkeys(layers.values()) if tables.get(layer) is None]
        for done, layer in enumerate(missing, 1):
            tables.put(layer, _measure(layer))
            if say:
                say(done, len(missing))
        self._prices = [(name, _Price(layer, tables.get(layer) or {})) for name, layer in layers.items()]
        self._scale = 1.0
        self._scale = _time(model, example) / float(self._nanoseconds(self._channels))

    def cost(self, widths: IntArray, metric: Metric) -> IntArray:
        """Returns the cost in the given metric for widths of shape (..., G), as shape (...)."""
        if metric != "latency":
            return super().cost(widths, metric)
        whole: IntArray = np.rint(self._nanoseconds(widths)).astype(np.int64)
        return whole

    def _nanoseconds(self, widths: IntArray) -> FloatArray:
        total: FloatArray = np.zeros(np.asarray(widths).shape[:-1])
        for name, price in self._prices:
            outputs, inputs = self.dimensions(f"{name}.weight", widths)
            total = total + price(outputs, inputs)
        return total * self._scale


class _Price:
    """Time of one layer, linear between measured widths, and never less for a wider one."""

    def __init__(self, layer: Layer, measured: dict[str, list[float] | list[list[float]]]) -> None:
        self._axes = [np.array(measured["outputs"]), np.array(measured["inputs"])]
        times = np.array(measured["times"])
        for axis in (0, 1):
            times = np.maximum.accumulate(times, axis=axis)
        self._look_up = RegularGridInterpolator(tuple(self._axes), times) if min(times.shape) > 1 else None
        self._times = times

    def __call__(self, outputs: FloatArray, inputs: FloatArray) -> FloatArray:
        outputs, inputs = (
            np.clip(sizes, axis[0], axis[-1]) for sizes, axis in zip((outputs, inputs), self._axes, strict=True)
        )
        if self._look_up is not None:
            both: FloatArray = self._look_up(np.stack([outputs, inputs], axis=-1))
            return both.reshape(outputs.shape)
        along = 0 if self._times.shape[1] == 1 else 1
        one: FloatArray = np.interp((outputs, inputs)[along], self._axes[along], self._times.ravel())
        return one


class _Tables:
    """Measured layers of this device, in a file that all devices share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._device = device_name()
        try:
            self._all = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._all = {}
        if not isinstance(self._all, dict):
            self._all = {}

    def get(self, layer: Layer) -> dict[str, list[float] | list[list[float]]] | None:
        found: dict[str, list[float] | list[list[float]]] | None = self._all.get(self._device, {}).get(_key(layer))
        return found

    def put(self, layer: Layer, measured: dict[str, list[float] | list[list[float]]]) -> None:
        self._all.setdefault(self._device, {})[_key(layer)] = measured
        write_json(self._path, self._all)


def default_cache() -> Path:
    """Returns the user's file of measured layers."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "profilesearch" / "latency.json"


def device_name(device: torch.device | None = None) -> str:
    """Names the processor and its threads, or the GPU, and the version of torch."""
    threads = "" if device is not None and device.type == "cuda" else f", {torch.get_num_threads()} threads"
    return f"{hardware_name(device)}{threads}, torch {torch.__version__}"


def hardware_name(device: torch.device | None = None) -> str:
    """Names the processor, or the GPU."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return name


def latency_error(widths: IntArray, cost: LatencyModel, networks: Sequence[nn.Module], example: Tensor) -> float:
    """Returns the mean relative difference between priced and measured latency.

    Args:
        widths: Of N profiles, shape (N, G).
        cost: What prices them.
        networks: The N networks that were really pruned to them.
        example: One input.
    """
    measured = np.array([_time(network, example) for network in networks])
    return float(np.abs(cost.cost(widths, "latency") / measured - 1).mean())


def _layers(model: nn.Module, example: Tensor) -> dict[str, Layer]:
    """Returns the layers with weights that the network uses, by name, in the order of their use."""
    seen: dict[str, Layer] = {}

    def note(name: str, module: nn.Conv2d | nn.Linear, given: Tensor, _: Tensor) -> None:
        outputs, inputs = module.weight.shape[:2]
        if isinstance(module, nn.Linear):
            rows = given[0].numel() // given.shape[-1]
            seen[name] = Layer("linear", outputs, inputs, (), (), (), (), 1, rows, 1)
            return
        padding = _padding(module)
        height, width = given.shape[2:]
        seen[name] = Layer("conv", outputs, inputs, module.kernel_size, module.stride, padding, module.dilation,
                           module.groups, height, width)  # fmt: skip

    watch_layers(model, example, note)
    return seen


def _padding(module: nn.Conv2d) -> tuple[int, ...]:
    """Returns a convolution's padding as numbers; that of `same` rounded up where its sides differ."""
    if not isinstance(module.padding, str):
        return module.padding
    reach = [d * (size - 1) for d, size in zip(module.dilation, module.kernel_size, strict=True)]
    return tuple(-(-each // 2) if module.padding == "same" else 0 for each in reach)


def _measure(layer: Layer) -> dict[str, list[float] | list[list[float]]]:
    outputs, inputs = _grid(layer.outputs), _grid(layer.inputs) if layer.groups == 1 else [layer.inputs]
    times = [[_time(*layer.build(many, few)) for few in inputs] for many in outputs]
    return {"outputs": list(map(float, outputs)), "inputs": list(map(float, inputs)), "times": times}


def _grid(channels: int) -> list[int]:
    return sorted({max(1, round(channels * step / _STEPS)) for step in range(1, _STEPS + 1)} | {1})


def _time(network: nn.Module, images: Tensor) -> float:
    """Median nanoseconds of a forward pass."""
    with evaluating(network), torch.inference_mode():
        network(images)
        times = []
        for _ in range(_REPEATS):
            start = time.perf_counter_ns()
            network(images)
            times.append(time.perf_counter_ns() - start)
    return float(np.median(times))


def _key(layer: Layer) -> str:
    return " ".join(map(str, astuple(layer))).replace("(", "").replace(")", "").replace(",", "")
