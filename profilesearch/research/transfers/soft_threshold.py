"""Sparsity that is learned: each layer has a threshold among its parameters."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from profilesearch.research.transfers.masks import Layer, best, original, prunable_layers
from profilesearch.research.transfers.schedules import cubic
from profilesearch.research.transfers.upstream import Upstream

_EVERY = 20
_START = -8.0
_RANGE = 40.0


class SoftThreshold(nn.Module):
    """Shrinks a weight by a learned threshold, and cuts off at zero.

    Attributes:
        depth: The threshold is its sigmoid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Parameter(torch.tensor(_START))

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight as the layer sees it."""
        return weight.sign() * functional.relu(weight.abs() - self.depth.sigmoid())

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Starts from the weight as it is."""
        return weight


def soft_threshold(upstream: Upstream, level: float) -> nn.Module:
    """Trains with learned thresholds (STR, Kusupati et al. 2020, arXiv 2002.03231).

    In the paper weight decay raises all thresholds, and its strength decides, after some trials, where sparsity ends.
    Here a common offset takes that part: every 20 steps it is chosen so that sparsity follows the cubic schedule. How
    thresholds differ between layers is learned.
    """
    model = upstream.first()
    layers = prunable_layers(model)
    thresholds = {name: SoftThreshold() for name in layers}
    for name, layer in layers.items():
        parametrize.register_parametrization(layer, "weight", thresholds[name], unsafe=True)

    def hook(step: int, steps: int) -> None:
        if step % _EVERY == 0:
            _shift(layers, thresholds, cubic(level, step, steps))

    upstream.go_on(model, f"str-{level:g}", hook)
    _shift(layers, thresholds, level)
    kept = best({name: _margin(layers[name], thresholds[name].depth) for name in layers}, level)
    for name, layer in layers.items():
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        with torch.no_grad():
            tiny = torch.finfo(layer.weight.dtype).tiny
            layer.weight[kept[name] & (layer.weight == 0)] = tiny  # at the threshold, to within its rounding
            layer.weight.mul_(kept[name])
    upstream.settle(model)
    return model


def _margin(layer: Layer, depth: Tensor) -> Tensor:
    """How far weights are above the threshold."""
    return original(layer).detach().abs() - depth.detach().sigmoid()


def _shift(layers: Mapping[str, Layer], thresholds: Mapping[str, SoftThreshold], level: float) -> None:
    """Adds to all thresholds' depths what brings the network's sparsity to the level, by bisection."""
    total = sum(layer.weight.numel() for layer in layers.values())

    def removed(offset: float) -> float:
        margins = (_margin(layers[name], thresholds[name].depth + offset) for name in layers)
        return sum(int((margin <= 0).sum()) for margin in margins) / total

    low, high = -_RANGE, _RANGE
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if removed(middle) > level else (middle, high)
    with torch.no_grad():
        for threshold in thresholds.values():
            threshold.depth.add_(low)
