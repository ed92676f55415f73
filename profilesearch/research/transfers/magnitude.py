"""Magnitude pruning, at once and gradually."""

from torch import nn

from profilesearch.research.transfers.masks import Masks
from profilesearch.research.transfers.schedules import cubic, growing
from profilesearch.research.transfers.upstream import Upstream

_EVERY, _TIMES = 50, 7
"""Steps between two cuts, at most; and how many such spans a training has, at least."""


def one_shot(upstream: Upstream, level: float) -> nn.Module:
    """Removes the weights with the smallest magnitudes of the whole network, then trains what is left."""
    model = upstream.trained()
    masks = Masks(model)
    masks.keep_best(masks.magnitudes(), level)
    upstream.tune(model, f"magnitude-{level:g}")
    masks.bake()
    return model


def gradual(upstream: Upstream, level: float) -> nn.Module:
    """Removes weights while it trains, on the cubic schedule (Zhu and Gupta 2017, arXiv 1710.01878).

    The level is reached after 70 % of the steps, by masks that are drawn anew until then, every 50 steps or seven times
    a training; weights that were removed keep their values and may return as long. In a training that is too short for
    50 steps, BatchNorm's statistics are still those of other masks at the end, and are re-estimated.
    """
    model = upstream.trained()
    masks = Masks(model)
    every = max(1, min(_EVERY, upstream.steps // _TIMES))

    def hook(step: int, steps: int) -> None:
        if step % every == 0 and growing(step - every, steps):
            masks.keep_best(masks.magnitudes(), cubic(level, step, steps))

    upstream.tune(model, f"gradual-{level:g}", hook)
    if masks.finish(level) or every < _EVERY:
        upstream.settle(model)
    return model
