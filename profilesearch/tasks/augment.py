"""Augmentation of small images in memory, a batch at a time."""

import torch
from torch import Tensor


def augment(images: Tensor, generator: torch.Generator, shift: int, flips: bool) -> Tensor:
    """Shifts every image at random and mirrors every other one.

    Args:
        images: Normalized images, shape (N, C, H, W).
        generator: Source of the random numbers.
        shift: Largest shift in pixels, either way; what is shifted in is zero.
        flips: Mirrors images left to right with probability one half.

    Returns:
        New images of the same shape.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (shift,) * 4)
    down, right = torch.randint(2 * shift + 1, (2, count), generator=generator)
    rows = down[:, None] + torch.arange(height)
    columns = right[:, None] + torch.arange(width)
    if flips:
        mirrored = torch.rand(count, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    every = torch.arange(count)[:, None, None]
    # Advanced indices around a slice move the channels last; restore (N, C, H, W), which is then channels_last.
    return padded[every, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
