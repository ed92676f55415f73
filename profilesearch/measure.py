"""Intervals for accuracies, and the measured size and speed of networks."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from profilesearch.networks.cost import evaluating

_Z = 1.959964
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t for 1 to 9 degrees of freedom; beyond, the normal one is near enough."""


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of an accuracy measured on that many images (Wilson 1927)."""
    centre = accuracy + _Z**2 / (2 * images)
    spread = _Z * math.sqrt(accuracy * (1 - accuracy) / images + _Z**2 / (4 * images**2))
    scale = 1 + _Z**2 / images
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the half width of its 95 % interval (Student's t); NaN for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    quantile = _T[len(values) - 2] if len(values) - 2 < len(_T) else _Z
    return mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))


@dataclass(frozen=True)
class Speed:
    """Median time of a forward pass in full precision, in milliseconds, for 1 and for 64 images."""

    batch1: float
    batch64: float

    def to_json(self) -> dict[str, float]:
        """Returns rounded milliseconds."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def measure_speed(models: Sequence[nn.Module], image_shape: tuple[int, int, int]) -> list[Speed]:
    """Times networks in alternation, so that a change of the machine's pace hits all of them.

    Args:
        models: Networks to compare.
        image_shape: (C, H, W).
    """
    times = {batch: _median_times(models, torch.rand(batch, *image_shape)) for batch in (1, 64)}
    return [Speed(one, many) for one, many in zip(times[1], times[64], strict=True)]


def _median_times(models: Sequence[nn.Module], images: Tensor) -> list[float]:
    timers = [Timer("model(images)", globals={"model": model, "images": images}, num_threads=torch.get_num_threads())
              for model in models]  # fmt: skip
    rounds: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for model in models:
            with evaluating(model):
                model(images)
        for _ in range(5):
            for timer, seen in zip(timers, rounds, strict=True):
                seen.append(timer.blocked_autorange(min_run_time=0.1).median * 1000)
    return [float(np.median(seen)) for seen in rounds]
