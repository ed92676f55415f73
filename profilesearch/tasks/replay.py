"""A training step that a CUDA device repeats by itself."""

import random
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from profilesearch.tasks.augment import Moves
from profilesearch.tasks.data import Images
from profilesearch.tasks.epoch import Batches
from profilesearch.tasks.lessons import Lessons
from profilesearch.tasks.step import Step

_MOST = 4 * 2**30
"""Bytes of images on a device."""
_FIRST = 3
"""Steps before one is recorded: libraries choose their kernels, and momentum gets its memory."""
_WAITING = "synchronizing CUDA operation"
"""What torch says where the processor waits for the device, if it is asked to say so."""


def fits(images: Images, device: torch.device) -> bool:
    """Says whether a CUDA device holds images beside all else, as far as one of them tells."""
    if device.type != "cuda":
        return False
    most = min(_MOST, torch.cuda.get_device_properties(device).total_memory // 4)
    return len(images) * images[:1].pixels.nbytes <= most


class Replay:
    """One step of a training, recorded as a CUDA graph and then repeated.

    The step of a small network is hundreds of kernels of microseconds each, which the processor hands over more slowly
    than the device works them off. Recorded, a step is one call. Images, learning rates, and what an epoch draws lie on
    the device, and a counter there says which come next, so that nothing is copied between two steps.

    The network's own Python code runs in the first steps alone, and what it decides there stays decided. Where it waits
    for the device or draws random numbers on the processor, nothing is recorded, and every step is handed over.

    Args:
        step: Makes a step.
        batches: Of images on the same device as the network.
        optimizer: Of the network's parameters; gets the learning rates.
        start: Number of the first step.
        lessons: What the teacher says of the images, where there is one.
        say: Called with a line for people where a step cannot be recorded.
    """

    def __init__(
        self,
        step: Step,
        batches: Batches,
        optimizer: torch.optim.SGD,
        start: int,
        lessons: Lessons | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        device, recipe, total = batches.images.pixels.device, batches.recipe, batches.steps * batches.recipe.epochs
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._step, self._batches, self._optimizer, self._lessons, self._say = step, batches, optimizer, lessons, say
        self._graph: torch.cuda.CUDAGraph | None = None
        self._start = self._next = start
        self._obstacle = ""
        self._rates = [recipe.rate(number, total) for number in range(total)]
        with torch.cuda.stream(self._stream):
            self._table = torch.tensor(self._rates, device=device)
            self._rate = torch.tensor(recipe.lr, device=device)
            self._number, self._place = (torch.tensor([first], device=device) for first in (start, 0))
            self._total = torch.zeros((), device=device)
            self._drawn: list[Tensor] = []

    def begin(self, epoch: int) -> None:
        """Draws an epoch."""
        drawn = [each.pin_memory() for each in self._batches.drawn(epoch)]  # or the processor waits for what is ahead
        with torch.cuda.stream(self._stream):
            there = [each.to(self._table.device, non_blocking=True) for each in drawn]
            if self._lessons:
                there.append(self._lessons.of(self._batches, epoch, there))
            if not self._drawn:
                self._drawn = [torch.empty_like(each) for each in there]
            for old, new in zip(self._drawn, there, strict=True):
                old.copy_(new)
            self._place.zero_()
            self._total.zero_()

    def __call__(self) -> torch.cuda.Event:
        """Makes the next step; returns what tells when the device has finished it."""
        taken = self._next - self._start
        with torch.cuda.stream(self._stream):
            if taken == _FIRST:
                self._graph = self._recorded()
            if self._graph:
                self._graph.replay()
            elif taken < _FIRST:
                self._watched(taken + 1 == _FIRST)
            else:
                self._handed_over()
            self._next += 1
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._stream)
        return done

    @property
    def total(self) -> float:
        """Sum of the epoch's losses so far; waits for the device."""
        self._stream.synchronize()
        return float(self._total)

    def _watched(self, last: bool) -> None:
        """Makes one of the first steps, and finds out whether it may be recorded."""
        before = _states()
        if last:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    self._handed_over()
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            if any(_WAITING in str(each.message) for each in said):
                self._obstacle = "the network waits for the device while it trains"
        else:
            self._handed_over()
        if _states() != before:
            self._obstacle = "the network draws random numbers on the processor while it trains"

    def _handed_over(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._rates[self._next]
        self._body()

    def _recorded(self) -> torch.cuda.CUDAGraph | None:
        """Records a step, which is not made meanwhile; None where that cannot be done."""
        if not self._obstacle:
            for group in self._optimizer.param_groups:
                group.update(lr=self._rate, fused=True, foreach=False)
            if torch.cuda.memory_reserved() > torch.cuda.get_device_properties(self._table.device).total_memory // 2:
                torch.cuda.empty_cache()  # while a step is recorded, nothing is given back
            graph = torch.cuda.CUDAGraph()
            try:
                graph.capture_begin(capture_error_mode="thread_local")  # other trainings of this process go on
                try:
                    self._rate.copy_(self._table.index_select(0, self._number)[0])
                    self._body()
                finally:
                    graph.capture_end()
                return graph
            except Exception as error:  # whatever a network of one's own raises, or too little memory
                cause = error.__context__ or error
                self._obstacle = (str(cause).splitlines() or [type(cause).__name__])[0]
            for group in self._optimizer.param_groups:
                group.update(fused=None, foreach=None)
        if self._say:
            self._say(f"training steps cannot be recorded, and are handed over kernel by kernel: {self._obstacle}")
        return None

    def _body(self) -> None:
        chosen, down, right, mirrored, *taught = (each.index_select(0, self._place)[0] for each in self._drawn)
        pixels, labels = self._batches.batch(chosen, Moves(down, right, mirrored))
        self._total += self._step(pixels, labels, *taught)
        self._number += 1
        self._place += 1


def _states() -> tuple[object, ...]:
    """Returns where the processor's random streams are."""
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # type: ignore
