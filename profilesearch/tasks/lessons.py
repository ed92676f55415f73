"""What a teacher says of the images of an epoch, found out once."""

import math
from collections import OrderedDict
from collections.abc import Hashable

import torch
from torch import Tensor, nn

from profilesearch.networks.cost import evaluating
from profilesearch.tasks.augment import Moves
from profilesearch.tasks.epoch import Batches
from profilesearch.tasks.hardware import DTYPES
from profilesearch.tasks.memory import fitting
from profilesearch.tasks.step import scores_of

_MOST = 2**29
"""Bytes of scores that are kept."""
_TOGETHER = 2**26
"""Bytes of images that the teacher sees at a time."""


def affordable(batches: Batches) -> bool:
    """Says whether a teacher's scores of all images of an epoch may lie on the device."""
    return 4 * len(batches.images) * batches.data.num_classes <= _MOST


class Lessons:
    """A teacher's class scores, epoch by epoch.

    Trainings of one seed see the same images in the same order, however many epochs they have: those that share a
    teacher ask it once. Its weights must not change meanwhile.

    Args:
        teacher: On the device where the images are.
    """

    def __init__(self, teacher: nn.Module) -> None:
        self._teacher = teacher
        self._kept: OrderedDict[Hashable, tuple[Tensor, Tensor, torch.cuda.Event | None]] = OrderedDict()

    def of(self, batches: Batches, epoch: int, drawn: list[Tensor]) -> Tensor:
        """Returns the scores for an epoch, shape (steps, batch, classes).

        Args:
            batches: Of the training.
            epoch: Its number.
            drawn: What was drawn for it, on the device.
        """
        recipe = batches.recipe
        pixels = batches.images.pixels
        images = id(pixels), str(batches.data.preparation), batches.data.flips, batches.channels
        key = (*images, recipe.seed, recipe.batch, recipe.shift, recipe.precision, epoch)
        if key not in self._kept:
            self._kept[key] = pixels, self._scores(batches, drawn), _so_far(drawn[0].device)  # or an id is used again
        self._kept.move_to_end(key)
        while sum(scores.nbytes for _, scores, _ in self._kept.values()) > _MOST and len(self._kept) > 1:
            self._kept.popitem(last=False)
        _, scores, made = self._kept[key]
        if made:  # by another training's stream, which may be behind
            stream = torch.cuda.current_stream(scores.device)
            stream.wait_event(made)
            scores.record_stream(stream)
        return scores

    def _scores(self, batches: Batches, drawn: list[Tensor]) -> Tensor:
        device, dtype = drawn[0].device, DTYPES[batches.recipe.precision or "fp32"]
        mixed = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

        def work(together: int) -> Tensor:
            found = []
            for start in range(0, batches.steps, together):
                chosen, *moves = (each[start : start + together].flatten() for each in drawn)
                found.append(scores_of(self._teacher(batches.batch(chosen, Moves(*moves))[0]))[0].float())
            return torch.cat(found).view(*drawn[0].shape, -1)

        size = 4 * batches.channels * math.prod(batches.data.image_shape[1:]) * drawn[0].shape[1]
        with evaluating(self._teacher), torch.inference_mode(), mixed:
            return fitting(work, batch=max(1, _TOGETHER // size))


def _so_far(device: torch.device) -> torch.cuda.Event | None:
    """Returns what tells when a CUDA device has done what it was told so far."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
