"""Random shifts and reflections of training images."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moves(NamedTuple):
    """How images are moved: each of shape (..., N), for N images."""

    down: Tensor
    right: Tensor
    mirrored: Tensor


def drawn(count: int, generator: torch.Generator, shift: int, flips: bool) -> Moves:
    """Draws how images are moved.

    Args:
        count: How many images.
        generator: Source of the random numbers.
        shift: Largest shift in pixels, either way.
        flips: Mirrors images left to right with probability one half.
    """
    down, right = torch.randint(2 * shift + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5 if flips else torch.zeros(count, dtype=torch.bool)
    return Moves(down, right, mirrored)


def moved(images: Tensor, moves: Moves, shift: int) -> Tensor:
    """Shifts and mirrors images on their device.

    Args:
        images: Normalized images, shape (N, C, H, W).
        moves: Of these images, on the same device.
        shift: The largest that was drawn from; what is shifted in is zero.

    Returns:
        New images of the same shape.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (shift,) * 4)
    rows = moves.down[:, None] + torch.arange(height, device=images.device)
    columns = moves.right[:, None] + torch.arange(width, device=images.device)
    columns = torch.where(moves.mirrored[:, None], columns.flip(1), columns)
    every = torch.arange(count, device=images.device)[:, None, None]
    # Advanced indices around a slice move the channels last; restore (N, C, H, W), which is then channels_last.
    return padded[every, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
