"""Latency as a cost: a table of measured layers, made once on a device, that prices profiles without building them."""

import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from profilesearch.networks.clock import pass_times
from profilesearch.networks.cost import CostModel, FloatArray
from profilesearch.networks.counting import Use
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.profiles import Metric
from profilesearch.system.amounts import is_number
from profilesearch.system.files import cache_folder, read_cache, write_json
from profilesearch.system.folders import digest_of

_STEPS = 8
Say = Callable[[int, int], None]
"""Called with layers measured and layers in all."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer as the table knows it: all that its time depends on but its widths.

    Of a transposed convolution, whose kernel has its inputs first, `outputs` are these and `inputs` the outputs.
    """

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
        made: Any = nn.Conv2d
        if self.kind == "transposed":
            made, inputs, outputs = nn.ConvTranspose2d, outputs, inputs
        convolution = made(
            inputs, outputs, self.kernel, self.stride, self.padding, groups=groups, bias=False, dilation=self.dilation
        )
        block = nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU()).eval()
        return block, torch.rand(1, inputs, self.height, self.width)


class LatencyModel(CostModel):
    """Prices profiles in nanoseconds for one image, and as `CostModel` does.

    Every layer's time is interpolated between measured widths, and all are scaled so that the full network's is right.
    Tables are kept in one file, by device, so that each layer is measured once. The full network is timed each time,
    which moves its own price alone: relative prices are the same wherever the tables are.

    Args:
        model: The full network.
        table: Its channel groups.
        example: One input, shape (1, C, H, W).
        cache: File of the tables; that of the user where None.
        say: Called while layers are measured.

    Attributes:
        digest: Hash of the tables behind the prices.
    """

    def __init__(
        self, model: nn.Module, table: GroupTable, example: Tensor, cache: Path | None = None, say: Say | None = None
    ) -> None:
        super().__init__(model, table, example)
        layers = _layers(self.uses)
        tables = _Tables(cache or default_cache())
        missing = [layer for layer in dict.fromkeys(each for _, each, _ in layers) if tables.get(layer) is None]
        for done, layer in enumerate(missing, 1):
            tables.put(layer, _measure(layer))
            if say:
                say(done, len(missing))
        measured = [(name, tables.get(layer) or {}, turned, times) for (name, layer, turned), times in layers.items()]
        self.digest = digest_of({"tables": measured})
        self._prices = [(name, _Price(its_table), turned, times) for name, its_table, turned, times in measured]
        self._whole = float(self._unscaled(self._channels))
        self._scale = pass_times([model], example)[0] / self._whole

    def relative(self, widths: IntArray | FloatArray, metric: Metric) -> FloatArray:
        """As `CostModel` does; latency is neither scaled nor rounded, so that no clock decides."""
        return self._unscaled(widths) / self._whole if metric == "latency" else super().relative(widths, metric)

    def _cost(self, widths: IntArray | FloatArray, metric: Metric) -> FloatArray:
        return self._unscaled(widths) * self._scale if metric == "latency" else super()._cost(widths, metric)

    def _unscaled(self, widths: IntArray | FloatArray) -> FloatArray:
        total: FloatArray = np.zeros(np.asarray(widths).shape[:-1])
        for name, price, turned, times in self._prices:
            sizes = self.dimensions(name, widths)
            total = total + times * price(*(sizes[::-1] if turned else sizes))
        return total


class _Price:
    """Time of one layer, linear between measured widths, and never less for a wider one."""

    def __init__(self, measured: dict[str, list[float] | list[list[float]]]) -> None:
        self._axes = [np.array(measured["outputs"]), np.array(measured["inputs"])]
        times = np.array(measured["times"])
        for axis in (0, 1):
            times = np.maximum.accumulate(times, axis=axis)
        from scipy.interpolate import RegularGridInterpolator  # noqa: PLC0415  takes half a second

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
        self._all = read_cache(path, _is_measured)

    def get(self, layer: Layer) -> dict[str, list[float] | list[list[float]]] | None:
        found: dict[str, list[float] | list[list[float]]] | None = self._all.get(self._device, {}).get(_key(layer))
        return found

    def put(self, layer: Layer, measured: dict[str, list[float] | list[list[float]]]) -> None:
        self._all.setdefault(self._device, {})[_key(layer)] = measured
        write_json(self._path, self._all)


def default_cache() -> Path:
    """Returns the user's file of measured layers."""
    return cache_folder() / "latency.json"


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
    measured = np.array(pass_times(networks, example))
    return float(np.abs(cost.cost(widths, "latency") / measured - 1).mean())


def _layers(uses: Sequence[Use]) -> Counter[tuple[str, Layer, bool]]:
    """Counts what has a kernel, by its name, the layer, and whether that has its inputs first; in order of first use.

    A module that runs several times is there several times, at other resolutions as another layer.
    """
    seen: Counter[tuple[str, Layer, bool]] = Counter()
    for use in uses:
        if use.operation != "convolution" and len(use.shape) == 2:
            outputs, inputs = use.shape[::-1] if use.turned else use.shape
            rows = use.macs // (outputs * inputs)
            seen[use.kernel, Layer("linear", outputs, inputs, (), (), (), (), 1, rows, 1), use.turned] += 1
        elif use.operation == "convolution" and len(use.shape) == 4:
            stride, padding, dilation, transposed, _, groups = use.settings
            kind = "transposed" if transposed else "conv"
            kernel, settings = use.shape[2:], (tuple(stride), tuple(padding), tuple(dilation))
            seen[use.kernel, Layer(kind, *use.shape[:2], kernel, *settings, groups, *use.given[2:]), False] += 1
    return seen


def _measure(layer: Layer) -> dict[str, list[float] | list[list[float]]]:
    outputs, inputs = _grid(layer.outputs), _grid(layer.inputs) if layer.groups == 1 else [layer.inputs]

    def time(many: int, few: int) -> float:
        block, image = layer.build(many, few)
        return pass_times([block], image)[0]

    with torch.random.fork_rng(devices=[]):  # weights and images are drawn
        times = [[time(many, few) for few in inputs] for many in outputs]
    return {"outputs": list(map(float, outputs)), "inputs": list(map(float, inputs)), "times": times}


def _is_measured(value: Any) -> bool:
    """Says whether something is what `_measure` returns."""
    if not isinstance(value, dict) or value.keys() != {"outputs", "inputs", "times"}:
        return False
    lists = [value["outputs"], value["inputs"], *(value["times"] if isinstance(value["times"], list) else [None])]
    if not all(isinstance(each, list) and each and all(is_number(item, 1) for item in each) for each in lists):
        return False
    outputs, inputs, *times = lists
    rising = all(low < high for axis in (outputs, inputs) for low, high in pairwise(axis))
    return rising and len(times) == len(outputs) and all(len(row) == len(inputs) for row in times)


def _grid(channels: int) -> list[int]:
    return sorted({max(1, round(channels * step / _STEPS)) for step in range(1, _STEPS + 1)} | {1})


def _key(layer: Layer) -> str:
    return " ".join(map(str, astuple(layer))).replace("(", "").replace(")", "").replace(",", "")
