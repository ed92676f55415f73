"""Re-growth: sparse from the first step to the last, but not always the same weights."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from profilesearch.research.transfers.masks import Layer, Masks, best
from profilesearch.research.transfers.upstream import Upstream

_EVERY, _TIMES = 100, 20
"""Steps between two moves, at most; and how many such spans a training has, at least."""
_UNTIL = 0.75
_DROP = 0.3


def rigl(upstream: Upstream, level: float) -> nn.Module:
    """Trains a sparse network whose weights come and go (RigL, Evci et al. 2020, arXiv 1911.11134).

    Layers have the densities of Erdős-Rényi-Kernel. Every 100 steps, or twenty times a training, for three
    quarters of it, each layer drops a part of its weights, the smallest, and grows as many where the gradient is
    largest, from zero; the part falls from 0.3 to 0 as a cosine.
    """
    model = upstream.first()
    masks = Masks(model)
    densities = erk(masks.layers, level)
    generator = torch.Generator().manual_seed(upstream.seed)
    for name, weight in masks.weights.items():
        scores = {name: torch.rand(weight.shape, generator=generator)}
        masks[name].kept.copy_(best(scores, 1 - densities[name] / weight.numel())[name])
        masks[name].gradient = torch.zeros_like(weight)  # part of the state: the move may lie in the next epoch
    masks.clear_removed()

    def hook(step: int, steps: int) -> None:
        looked, looks = (_looks(at, steps) for at in (step - 1, step))
        for name in masks.layers:
            if looked:
                _move(masks, name, _DROP / 2 * (1 + math.cos(math.pi * step / (_UNTIL * steps))))
            masks[name].watched = looks

    upstream.go_on(model, f"rigl-{level:g}", hook)
    masks.bake()
    return model


def _looks(step: int, steps: int) -> bool:
    """Says whether the gradients of a step decide which weights the next one has."""
    return 0 <= step < _UNTIL * steps and step % max(1, min(_EVERY, steps // _TIMES)) == 0


def erk(layers: Mapping[str, Layer], level: float) -> dict[str, int]:
    """Returns how many weights each layer keeps: a part proportional to the sum of its sizes over their product.

    Layers whose part would be more than all are dense. The counts add up to the level exactly.
    """
    total = {name: layer.weight.numel() for name, layer in layers.items()}
    raw = {name: sum(layer.weight.shape) / total[name] for name, layer in layers.items()}
    left = sum(total.values()) - round(level * sum(total.values()))
    dense: set[str] = set()
    while True:
        budget = left - sum(total[name] for name in dense)
        scale = budget / sum(raw[name] * total[name] for name in total if name not in dense)
        full = {name for name in total if name not in dense and scale * raw[name] > 1}
        if not full:
            break
        dense |= full
    counts = {name: total[name] if name in dense else max(1, int(scale * raw[name] * total[name])) for name in total}
    roomiest = max(total, key=lambda name: total[name] - counts[name])
    counts[roomiest] += left - sum(counts.values())
    return counts


def _move(masks: Masks, name: str, part: float) -> None:
    """Drops a part of a layer's weights and grows as many, by the gradient of the step before.

    A weight that is dropped and grown again at once keeps its value; a dense layer has nothing to grow, and stays.
    """
    mask, weight = masks[name], masks.weights[name]
    there = mask.kept.clone()
    moved = int(part * int(there.sum()))
    if mask.gradient is None or not moved or bool(there.all()) or not mask.gradient.any():
        return
    staying = _top(weight.detach().abs().masked_fill(~there, -1), int(there.sum()) - moved)
    grown = _top(mask.gradient.abs().masked_fill(staying, -1), moved)
    mask.kept.copy_(staying | grown)
    with torch.no_grad():
        weight.mul_(there & mask.kept)


def _top(scores: Tensor, count: int) -> Tensor:
    chosen = torch.zeros(scores.numel(), dtype=torch.bool)
    chosen[torch.topk(scores.flatten(), count, sorted=False).indices] = True
    return chosen.view(scores.shape)
