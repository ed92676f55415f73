"""Winning tickets: a mask found on the source, and the weights that are put behind it."""

import copy
import math
from functools import partial

from torch import nn

from profilesearch.research.transfers.masks import Masks, prunable_layers
from profilesearch.research.transfers.upstream import Upstream
from profilesearch.system.parts import within

ROUND = 0.2
"""Part of the remaining weights that a round removes."""


def late(upstream: Upstream, level: float) -> nn.Module:
    """The iterative ticket with the source's trained weights behind it; the paper calls that late resetting."""
    return _behind(upstream, iterative(upstream, level), upstream.trained())


def original(upstream: Upstream, level: float) -> nn.Module:
    """The iterative ticket with the weights that the source's training started from."""
    return _behind(upstream, iterative(upstream, level), upstream.original())


def random(upstream: Upstream, level: float) -> nn.Module:
    """The iterative ticket with new random weights: what the mask alone is worth."""
    return _behind(upstream, iterative(upstream, level), upstream.fresh(upstream.seed + 1_000_003))


def one_shot(upstream: Upstream, level: float) -> nn.Module:
    """The ticket that one round finds, with the source's trained weights."""
    model = _smaller(upstream.trained(), level)
    upstream.settle(model)
    return model


def iterative(upstream: Upstream, level: float) -> nn.Module:
    """Finds a mask by iterative magnitude pruning (Mehta 2019, arXiv 1905.07785; Frankle and Carbin 2019).

    A round removes a fifth of what is left, the smallest magnitudes of the whole network, puts the source's weights
    back behind the mask, and trains upstream; the last round removes less, so that the level is met. The classifier is
    never pruned. The mask is the same for all initializations, so that they differ in nothing else.

    Returns:
        The source's weights behind the mask.
    """
    trained, reached = upstream.trained(), 0.0
    while True:
        following = 1 - (1 - reached) * (1 - ROUND)
        ticket = _behind(upstream, _smaller(trained, min(level, following)), upstream.trained(), settle=False)
        if following >= level:
            return ticket
        before, reached = reached, following
        name = f"round-{upstream.epochs}-{reached:.4f}"
        with within(*(math.log(1 - each) / math.log(1 - level) for each in (before, reached))):
            trained = upstream.cached(name, partial(_round, upstream, ticket, reached))


def _round(upstream: Upstream, ticket: nn.Module, reached: float) -> nn.Module:
    masks = Masks(ticket)
    upstream.tune(ticket, f"round-{upstream.epochs}-{reached:.4f}")
    masks.bake()
    return ticket


def _smaller(trained: nn.Module, level: float) -> nn.Module:
    """Removes the smallest magnitudes."""
    model = copy.deepcopy(trained)
    masks = Masks(model)
    masks.keep_best(masks.magnitudes(), level)
    masks.bake()
    return model


def _behind(upstream: Upstream, ticket: nn.Module, weights: nn.Module, settle: bool = True) -> nn.Module:
    """Puts other weights behind a ticket's mask."""
    there = {name: layer.weight != 0 for name, layer in prunable_layers(ticket).items()}
    masks = Masks(weights)
    for name, kept in there.items():
        masks[name].kept.copy_(kept)
    masks.bake()
    if settle:
        upstream.settle(weights)
    return weights
