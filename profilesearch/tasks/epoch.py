"""What an epoch of training sees: which images, moved how, as the network takes them."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from profilesearch.tasks.augment import Moves, drawn, moved
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.inputs import arrange
from profilesearch.tasks.recipe import Recipe


@dataclass(frozen=True)
class Batches:
    """The batches of a training.

    Attributes:
        data: Gives the normalization and says whether images may be mirrored.
        images: What is learned from, N of them; batches are made on the device where they lie.
        recipe: How.
        channels: That the network takes.
        order: Of an image's values in memory.
    """

    data: DataSet
    images: Images
    recipe: Recipe
    channels: int
    order: torch.memory_format

    @property
    def steps(self) -> int:
        """Steps of an epoch: the last, smaller batch is dropped, since BatchNorm would suffer."""
        return max(1, len(self.images) // self.recipe.batch)

    def drawn(self, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draws an epoch from its own random stream: which images, and their `Moves`; each (steps, batch)."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
        order = torch.randperm(len(self.images), generator=generator)
        size = min(recipe.batch, len(order))
        moves = [drawn(size, generator, recipe.shift, self.data.flips) for _ in range(self.steps)]
        down, right, mirrored = map(torch.stack, zip(*moves, strict=True))
        return order[: self.steps * size].view(self.steps, size), down, right, mirrored

    def batch(self, chosen: Tensor, moves: Moves, small: bool = False) -> tuple[Tensor, Tensor]:
        """Returns images as the network takes them, (batch, C, H, W), and their labels.

        Args:
            chosen: Which images, shape (batch,), where they lie.
            moves: Of each of them.
            small: Whether at three quarters of their size.
        """
        images = self.images[chosen]
        grey = 1 if self.channels == 1 else None  # of coloured images; grey ones are repeated last
        pixels = moved(self.data.normalize(images.pixels, grey), moves, self.recipe.shift)
        if small:
            pixels = smaller(pixels)
        return arrange(pixels.expand(-1, self.channels, -1, -1), self.order), images.labels


def smaller(pixels: Tensor) -> Tensor:
    """Returns images (N, C, H, W) at three quarters of their size; as they are where a side is a single pixel."""
    if min(pixels.shape[2:]) == 1:
        return pixels
    return functional.interpolate(pixels, scale_factor=0.75, mode="bilinear", antialias=True)
