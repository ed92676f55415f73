"""The measured speed and memory of networks."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from profilesearch.networks.clock import ROUNDS, round_times
from profilesearch.networks.cost import evaluating
from profilesearch.networks.numbers import state_tensors
from profilesearch.system.progress import Progress
from profilesearch.tasks.hardware import device_of

_BLOCK_S = 0.1
"""How long one network is timed at a stretch."""
_ROUNDS = ROUNDS


BATCHES = 1, 64
"""Images of the passes that are timed."""


@dataclass(frozen=True)
class Speed:
    """Time of a forward pass in full precision.

    Attributes:
        rounds: By number of images, the milliseconds of every round.
    """

    rounds: Mapping[int, tuple[float, ...]]

    def median(self, batch: int) -> float:
        """Returns the milliseconds for so many images."""
        return float(np.median(self.rounds[batch]))

    def part(self, full: "Speed", batch: int) -> tuple[float, float, float]:
        """Returns the part of another network's time that this one takes, by their medians, and its interval.

        Both were timed in turns. The interval is from the smallest to the largest part of a round: the part of the
        medians never lies outside, and the median part of all rounds that there could be lies inside in 94 % of the
        cases, for five rounds (the sign test's).
        """
        parts = [one / other for one, other in zip(self.rounds[batch], full.rounds[batch], strict=True)]
        return self.median(batch) / full.median(batch), min(parts), max(parts)

    def to_json(self) -> dict[str, float]:
        """Returns rounded milliseconds."""
        return {f"batch{batch}": round(self.median(batch), 3) for batch in self.rounds}


def part_text(part: float, low: float, high: float) -> str:
    """Returns in words what `Speed.part` returns."""
    return f"{part:.1%} ({low:.0%} to {high:.0%})"


TIMES = "time, 1 image", "time, 64 images"
"""Headings of a table with `time_texts`."""


def time_texts(row: Mapping[str, Any]) -> list[str]:
    """Returns what a row says of measured `time`, by number of images; nothing for those of earlier versions."""
    return [part_text(*row["time"][str(batch)]) if "time" in row else "" for batch in BATCHES]


def measure_speed(
    models: Sequence[nn.Module],
    image_shape: tuple[int, int, int],
    progress: Progress | None = None,
) -> list[Speed]:
    """Times networks in alternation, so that a change of the machine's pace hits all of them.

    Args:
        models: Networks to compare, on one device.
        image_shape: (C, H, W).
        progress: Called after every round with rounds done and rounds in all.
    """
    device = device_of(models[0])
    speeds: list[dict[int, tuple[float, ...]]] = [{} for _ in models]
    for place, batch in enumerate(BATCHES):

        def tell(number: int, place: int = place) -> None:
            if progress:
                progress(place * _ROUNDS + number, len(BATCHES) * _ROUNDS, "")

        images = _drawn(batch, image_shape, device)
        for speed, times in zip(speeds, round_times(models, images, _BLOCK_S, _ROUNDS, tell), strict=True):
            speed[batch] = tuple(each / 1e6 for each in times)
    return [Speed(each) for each in speeds]


def peak_memory(model: nn.Module, image_shape: tuple[int, int, int], batch: int = 64) -> int:
    """Returns the most bytes that a forward pass holds at once: weights, images and whatever lies between.

    Memory that single operations use for themselves is not counted.

    Args:
        model: Any network.
        image_shape: (C, H, W).
        batch: Images.
    """
    images = _drawn(batch, image_shape, device_of(model))
    with evaluating(model), torch.no_grad(), _Memory() as memory:
        model(images)
    state = sum(tensor.numel() * tensor.element_size() for tensor in state_tensors(model).values())
    return int(state + images.numel() * images.element_size() + memory.peak)


def _drawn(batch: int, image_shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Returns images to pass, drawn without a step of the caller's own random stream."""
    return torch.rand(batch, *image_shape, generator=torch.Generator(device).manual_seed(0), device=device)


class _Memory(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, while they are alive.

    Attributes:
        peak: The most bytes at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for tensor in (leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata not in given | self._alive:
                self._alive.add(storage._cdata)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self._now)
        return out

    def _free(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._now -= size
