"""Images as networks take them: held where they are few, made anew at every pass where they are many."""

from collections.abc import Iterator

import torch
from torch import Tensor

from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.inputs import arrange
from profilesearch.tasks.memory import batches

HELD = 2**29
"""Bytes of normalized images that are held, at most."""


class Prepared:
    """Batches of normalized images, to be passed over again and again.

    Args:
        images: N of them.
        data: Gives the normalization.
        channels: What the network takes.
        most: Images a batch, see `batches`.
        order: Layout in memory.
        dtype: Of the pixels.
        device: Where they go.
    """

    def __init__(
        self,
        images: Images,
        data: DataSet,
        channels: int,
        most: int,
        order: torch.memory_format,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._images, self._data, self._channels = images, data, channels
        self._order, self._dtype, self._device = order, dtype, device
        self._parts = list(batches(len(images), most))
        _, height, width = data.image_shape
        size = len(images) * channels * height * width * dtype.itemsize
        self._held = [self._made(part) for part in self._parts] if size <= HELD else None

    def __iter__(self) -> Iterator[Tensor]:
        """Yields tensors of shape (n, C, H, W)."""
        return iter(self._held) if self._held is not None else map(self._made, self._parts)

    def _made(self, part: slice) -> Tensor:
        pixels = self._data.normalize(self._images[part].pixels, self._channels)
        return arrange(pixels.to(self._device, self._dtype), self._order)
