"""The clock: how long forward passes of networks take, which prices layers and fills tables alike."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn

from profilesearch.networks.cost import evaluating

ROUNDS = 5
_LONG_S = 60.0
"""No round begins after this."""


def pass_times(
    networks: Sequence[nn.Module],
    images: Tensor,
    stretch: float = 0.0,
    rounds: int = ROUNDS,
    tell: Callable[[int], None] | None = None,
) -> list[float]:
    """Returns the nanoseconds of a forward pass of each network: the median of `round_times`, which says the rest."""
    return [float(np.median(times)) for times in round_times(networks, images, stretch, rounds, tell)]


def round_times(
    networks: Sequence[nn.Module],
    images: Tensor,
    stretch: float = 0.0,
    rounds: int = ROUNDS,
    tell: Callable[[int], None] | None = None,
) -> list[list[float]]:
    """Returns the nanoseconds of a forward pass of each network in every round, after a first pass.

    A round times all networks one after the other, so that a change of the machine's pace hits all of them.

    Args:
        networks: On one device.
        images: One batch, on that device.
        stretch: Seconds for which a network passes it again and again in every round; 0 for a single pass.
        rounds: How many; fewer where they take longer than a minute, one at least.
        tell: Called after every round with their number; with all of them at the end.
    """
    seen: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode(), ExitStack() as modes:
        for network in networks:
            modes.enter_context(evaluating(network))
            network(images)  # the first pass is slower
        start = time.perf_counter()
        for number in range(1, rounds + 1):
            for network, times in zip(networks, seen, strict=True):
                times.append(_one(network, images, stretch))
            late = time.perf_counter() - start > _LONG_S
            if tell:
                tell(rounds if late else number)
            if late:
                break
    return seen


def _one(network: nn.Module, images: Tensor, stretch: float) -> float:
    """Mean nanoseconds of as many passes as a stretch has room for, of one at least."""
    passes, start = 0, time.perf_counter_ns()
    while True:
        network(images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        passes, spent = passes + 1, time.perf_counter_ns() - start
        if spent >= stretch * 1e9:
            return spent / passes
