"""The measured speed of networks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from profilesearch.networks.cost import evaluating


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
    from torch.utils.benchmark import Timer  # noqa: PLC0415  looks for compilers, and may log what it finds

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
