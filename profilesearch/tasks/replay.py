"""A training step that a CUDA device repeats by itself."""

from collections.abc import Callable

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


def fits(images: Images, device: torch.device) -> bool:
    """Says whether a CUDA device holds images beside all else, which are decoded first if they are files."""
    if device.type != "cuda":
        return False
    most = min(_MOST, torch.cuda.get_device_properties(device).total_memory // 4)
    return len(images) * images[:1].pixels.nbytes <= most


class Replay:
    """One step of a training, recorded as a CUDA graph and then repeated.

    The step of a small network is hundreds of kernels of microseconds each, which the processor hands over more slowly
    than the device works them off. Recorded, a step is one call. Images, learning rates, and what an epoch draws lie on
    the device, and a counter there says which come next, so that nothing is copied between two steps.

    Args:
        step: Makes a step.
        batches: Of images on the same device as the network.
        optimizer: Of the network's parameters; its learning rate becomes a tensor on the device.
        start: Number of the first step.
        lessons: What the teacher says of the images, where there is one.
        say: Called with a line for people where a step cannot be recorded.

    Attributes:
        stream: Where the steps run, one after another.
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
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.stream.wait_stream(torch.cuda.current_stream(device))
        self._step, self._batches, self._lessons, self._say = step, batches, lessons, say
        self._graph: torch.cuda.CUDAGraph | None = None
        self._taken = 0
        with torch.cuda.stream(self.stream):
            self._rates = torch.tensor([recipe.rate(number, total) for number in range(total)], device=device)
            self._rate = torch.tensor(recipe.lr, device=device)
            self._number = torch.tensor([start], device=device)
            self._place = torch.tensor([0], device=device)
            self._total = torch.zeros((), device=device)
            self._drawn: list[Tensor] = []
        for group in optimizer.param_groups:
            group["lr"] = self._rate

    def begin(self, epoch: int) -> None:
        """Draws an epoch."""
        drawn = [each.pin_memory() for each in self._batches.drawn(epoch)]  # or the processor waits for what is ahead
        with torch.cuda.stream(self.stream):
            there = [each.to(self._rates.device, non_blocking=True) for each in drawn]
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
        with torch.cuda.stream(self.stream):
            if self._taken == _FIRST:
                self._graph = self._recorded()
            if self._graph:
                self._graph.replay()
            else:
                self._body()
            self._taken += 1
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self.stream)
        return done

    @property
    def total(self) -> float:
        """Sum of the epoch's losses so far; waits for the device."""
        self.stream.synchronize()
        return float(self._total)

    def _recorded(self) -> torch.cuda.CUDAGraph | None:
        """Records a step, which is not made meanwhile; None where the network cannot be recorded."""
        graph = torch.cuda.CUDAGraph()
        try:
            graph.capture_begin(capture_error_mode="thread_local")  # other trainings of this process go on
            try:
                self._body()
            finally:
                graph.capture_end()
        except RuntimeError as error:  # it waits for the device, or needs too much memory
            if self._say:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                self._say(f"a training step cannot be recorded, so it is handed over kernel by kernel: {reason}")
            return None
        return graph

    def _body(self) -> None:
        self._rate.copy_(self._rates.index_select(0, self._number)[0])
        chosen, down, right, mirrored, *taught = (each.index_select(0, self._place)[0] for each in self._drawn)
        pixels, labels = self._batches.batch(chosen, Moves(down, right, mirrored))
        self._total += self._step(pixels, labels, *taught)
        self._number += 1
        self._place += 1
