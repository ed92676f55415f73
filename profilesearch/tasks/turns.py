"""Several trainings on one device, in one process, taking turns."""

import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

import torch

_AHEAD = 64
"""Steps that a training is handed over before the device has finished them: while one is prepared, the others go on."""
_PAUSE = 1e-4
"""Seconds to wait where every training is that far ahead."""
Result = TypeVar("Result")
Training = Generator[torch.cuda.Event | None, None, Result]
"""Yields after every step what tells when the device has finished it, or None."""


def in_turns(trainings: Iterator[Training[Result] | None], most: int) -> Iterator[Result]:
    """Runs trainings side by side: a small network leaves most of a device idle.

    Args:
        trainings: Asked for the next one whenever there is room; None where it is not ready yet.
        most: How many run at a time.

    Yields:
        Their results, as they end.
    """
    lanes: list[_Lane[Result]] = []
    more = True
    while more or lanes:
        idle = True
        while more and len(lanes) < most:
            try:
                training = next(trainings)
            except StopIteration:
                more = False
                break
            if training is None:
                break
            lanes.append(_Lane(training))
        for lane in list(lanes):
            if lane.full:
                continue
            idle = False
            try:
                lane.step()
            except StopIteration as end:
                lanes.remove(lane)
                yield end.value
        if idle:
            time.sleep(_PAUSE)


class _Lane(Generic[Result]):
    """One training, and which of its steps the device has yet to finish."""

    def __init__(self, training: Training[Result]) -> None:
        self._training = training
        self._ahead: deque[torch.cuda.Event] = deque()

    @property
    def full(self) -> bool:
        while self._ahead and self._ahead[0].query():  # type: ignore[no-untyped-call]
            self._ahead.popleft()
        return len(self._ahead) >= _AHEAD

    def step(self) -> None:
        done = next(self._training)
        if done is not None:
            self._ahead.append(done)
