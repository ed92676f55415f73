"""The three-way split: weights learn, searches score, reports test; each on its own images."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from profilesearch.errors import UsageError
from profilesearch.tasks.data import DataSet, Images

Part = Literal["train", "search", "fresh"]
HELD_OUT = {"digits": 0.4}
"""Held-out fraction of the training images, where it is not a tenth: digits has few of them."""


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a data set's training images; the test images are not reachable from here.

    Attributes:
        seed: Of the shuffle.
        train: Images that weights learn on.
        search: Held-out images that searches score on.
        fresh: Held-out images on which winners are scored again.
    """

    seed: int
    train: Tensor
    search: Tensor
    fresh: Tensor

    def images(self, data: DataSet, part: Part) -> Images:
        """Returns the images of one part."""
        return data.train[getattr(self, part)]

    @cached_property
    def digest(self) -> str:
        """Hash of the held-out indices."""
        held_out = torch.cat([self.search, self.fresh]).numpy()
        return hashlib.sha256(held_out.tobytes()).hexdigest()[:16]


def split(data: DataSet, seed: int = 0) -> Split:
    """Splits the training images at random: nine tenths to learn on, the rest halved into `search` and `fresh`.

    Raises:
        UsageError: There are too few images to hold any out.
    """
    count = len(data.train)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    half = int(count * HELD_OUT.get(data.name, 0.1)) // 2
    if not half:
        raise UsageError(f"{data.name} has {count} training images; holding some out for a search needs 20 or more")
    return Split(seed, train=order[2 * half :], search=order[:half], fresh=order[half : 2 * half])
