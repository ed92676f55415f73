"""Elastic training: one set of weights that serves every profile, by drawing the widths anew at each step."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from profilesearch.networks.cost import in_training
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.space import round_widths
from profilesearch.networks.surgery import Pruner
from profilesearch.tasks.data import Images
from profilesearch.tasks.recipe import Recipe

_LEAST = 0.1
"""Smallest keep ratio that is drawn."""
_PARTS = 4
"""Into how many parts a batch is cut that sees several widths."""


class Elastic(nn.Module):
    """A network that runs at other widths each time while it trains, and at its own otherwise.

    The weights of a narrow network are those of the wide one's channels with the largest l1 norm, as in slimmable
    networks (Yu et al. 2018, arXiv 1812.08928), with widths drawn for every group by itself. By the sandwich rule (Yu
    and Huang 2019, arXiv 1903.05134) a part of each batch sees the whole network, another the narrowest one, and two
    see random widths; else all of it sees the same random widths.

    Args:
        network: Whose weights are trained, in place.
        table: The channel groups whose widths are drawn.
        sandwich: Whether to follow that rule.
        seed: Of the widths.

    Attributes:
        step: Number of the next step; the widths depend on nothing else but the seed.
    """

    def __init__(self, network: nn.Module, table: GroupTable, sandwich: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.network = network
        self.step = 0
        self._table = table
        self._sandwich = sandwich
        self._seed = seed

    def forward(self, images: Tensor) -> Tensor:
        """Returns the class scores (N, C) of images (N, C, H, W)."""
        if not self.training:
            scores: Tensor = self.network(images)
            return scores
        random = np.random.default_rng((self._seed, self.step))
        parts = _PARTS if self._sandwich and len(images) >= 2 * _PARTS else 1
        ratios = random.uniform(_LEAST, 1.0, size=(parts, len(self._table.groups)))
        if parts > 1:
            ratios[0], ratios[1] = 1.0, _LEAST
        widths = round_widths(ratios, self._table.channels)
        pruner, order = Pruner(self.network, self._table), rank_channels(self.network, self._table, "l1")
        pieces = zip(images.tensor_split(parts), widths, strict=True)
        return torch.cat([_run(pruner, keep_channels(order, self._table, each), piece) for piece, each in pieces])

    def count(self, step: int, _: int) -> None:
        """A hook of `train`: the step that comes next."""
        self.step = step


def in_steps(recipe: Recipe, images: Images, steps: int) -> tuple[Recipe, Images]:
    """Returns a recipe and images that give exactly so many steps: in epochs of equal length, few enough to be whole.

    Args:
        recipe: Its epochs are replaced.
        images: More than a batch.
        steps: At least 1.
    """
    most = max(1, len(images) // recipe.batch)
    epochs = next(count for count in range(math.ceil(steps / most), steps + 1) if steps % count == 0)
    return replace(recipe, epochs=epochs), images[: steps // epochs * recipe.batch]


def _run(pruner: Pruner, keep: dict[str, Tensor], images: Tensor) -> Tensor:
    """Runs a network pruned to these channels, so that the full one's weights receive the gradients."""
    pruned = in_training(pruner.prune(keep, share=True))
    cut = pruner.cut(keep)
    weights = {name: cut[name] for name, _ in pruner.model.named_parameters()}
    scores: Tensor = functional_call(pruned, weights, (images,))
    return scores
