"""The three-way split: weights learn, searches score, reports test; each on its own images."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from profilesearch.errors import UsageError
from profilesearch.tasks.data import DataSet, Images

Part = Literal["train", "search", "choose", "fresh"]
_FEWEST = 4
"""Images to search on, and as many to choose and score a winner: BatchNorm averages over two of each part at least."""
_FAIR = 32
"""Images to search on, where a fifth of them can be spared: on fewer, luck alone decides."""
_ENOUGH = 20
"""Training images of which so few can be spared."""


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a data set's training images; the test images are not reachable from here.

    Attributes:
        seed: Of the shuffle.
        train: Images that weights learn on.
        search: Held-out images that searches score on.
        choose: Held-out images on which the best of a search are scored again, and that choose its winner.
        fresh: Held-out images on which the winner is scored once more; nothing was chosen on them.
    """

    seed: int
    train: Tensor
    search: Tensor
    choose: Tensor
    fresh: Tensor

    def images(self, data: DataSet, part: Part) -> Images:
        """Returns the images of one part."""
        return data.train[getattr(self, part)]

    @cached_property
    def digest(self) -> str:
        """Hash of the held-out indices."""
        held_out = torch.cat([self.search, self.unsearched]).numpy()
        return hashlib.sha256(held_out.tobytes()).hexdigest()[:16]

    @cached_property
    def unsearched(self) -> Tensor:
        """The held-out images that searches do not score on: those that choose, then the fresh ones."""
        return torch.cat([self.choose, self.fresh])


def split(data: DataSet, seed: int = 0) -> Split:
    """Splits the training images at random: most to learn on; half of the rest to search, a quarter each to choose and
    to score the winner. Of few images a larger part is held out, two fifths at most.

    Raises:
        UsageError: There are too few images to hold any out, two in each part.
    """
    count = len(data.train)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    if count < _ENOUGH:
        raise UsageError(
            f"{data.name} has {count} training images; holding some out for a search needs {_ENOUGH} or more"
        )
    half = max(_FEWEST, min(_FAIR, count // 5), int(count * data.held_out) // 2)
    search, choose, fresh, train = order.tensor_split((half, half + half // 2, 2 * half))
    return Split(seed, train, search, choose, fresh)
