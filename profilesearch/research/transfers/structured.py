"""Structured compression: fewer channels, by a stored profile or by the same part everywhere."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from torch import Tensor, nn

from profilesearch.evidence import Provenance, provenance
from profilesearch.networks import rivals
from profilesearch.networks.cost import CostModel
from profilesearch.networks.criteria import MOST_SEEN, Batch, keep_channels, rank_channels
from profilesearch.networks.groups import IntArray
from profilesearch.networks.mapping import carry
from profilesearch.networks.names import SEEING
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import ProfileSpace
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import Budget, Profile, Scope
from profilesearch.pruning import Pruned
from profilesearch.refitting import refit_weights
from profilesearch.research.transfers.carriable import carriable
from profilesearch.research.transfers.masks import prunable_layers
from profilesearch.research.transfers.upstream import Upstream
from profilesearch.sensitivity import group_losses, sensitive
from profilesearch.store import Stored
from profilesearch.tasks.inputs import arranged, input_channels
from profilesearch.tasks.pools import Member, example_shape

RIVALS: Mapping[str, Scope] = {"width": "all", "uniform": "block", "widest": "block", "sensitivity": "block"}
"""Methods without a profile, and which groups they make thinner."""


def dense(upstream: Upstream, level: float) -> nn.Module:
    """The source as it is, at whatever level."""
    return upstream.trained()


def width(upstream: Upstream, level: float) -> nn.Module:
    """A network that is thinner everywhere, residual streams too, trained from random weights: the plain rival."""
    space = _space(upstream, level, RIVALS["width"])
    model = _cut(upstream, upstream.fresh(upstream.seed), space, space.uniform())
    upstream.learn(model, f"width-{level:g}")
    return model


def uniform(upstream: Upstream, level: float) -> nn.Module:
    """The same part of every layer within blocks, with the source's weights, trained on."""
    return _by_rule(upstream, level, "uniform")


def widest(upstream: Upstream, level: float) -> nn.Module:
    """The most of what the level is not of, weights or multiply-adds, with the source's weights, trained on."""
    return _by_rule(upstream, level, "widest")


def sensitivity(upstream: Upstream, level: float) -> nn.Module:
    """What loses least if what single layers lose adds up, with the source's weights, trained on."""
    space, source = _space(upstream, level, RIVALS["sensitivity"]), upstream.trained()
    order = _order(upstream, source, space)
    losses = group_losses(source, space.table, order, _seen(upstream, source)[0])
    model = _cut(upstream, source, space, sensitive(space, losses), upstream.ways.refit, order)
    upstream.tune(model, f"sensitivity-{level:g}")
    return model


def profile(upstream: Upstream, level: float) -> nn.Module:
    """The stored profile with the source's weights, trained on."""
    model = _ticket(upstream, level, upstream.trained(), upstream.ways.refit)
    upstream.tune(model, f"profile-{level:g}")
    return model


def refitted(upstream: Upstream, level: float) -> nn.Module:
    """A structured ticket: the same channels with the source's trained weights, fitted anew in closed form."""
    return _ticket(upstream, level, upstream.trained(), "sequential")


def late(upstream: Upstream, level: float) -> nn.Module:
    """A structured ticket: the stored profile's channels with the source's trained weights, and no training."""
    return _settled(upstream, _ticket(upstream, level, upstream.trained()))


def original(upstream: Upstream, level: float) -> nn.Module:
    """A structured ticket: the same channels with the weights that the source's training started from."""
    return _settled(upstream, _ticket(upstream, level, upstream.original()))


def random(upstream: Upstream, level: float) -> nn.Module:
    """The stored profile with new random weights: what the profile alone is worth."""
    return _settled(upstream, _ticket(upstream, level, upstream.fresh(upstream.seed + 1_000_003)))


def stored_profile(upstream: Upstream, level: float) -> Stored:
    """Returns the stored profile, of the network or its relative, whose budget is nearest to what the level leaves.

    Of those that are as near, one that was searched for what the level is of comes before one for multiply-adds.

    Raises:
        UsageError: None is stored for the architecture.
    """
    architecture, metrics = upstream.map_from or upstream.source.architecture, (upstream.metric, "macs")
    budgets = (each.profile.budget for each in carriable(upstream.store, architecture, upstream.metric))
    near = min(budgets, key=lambda one: (round(abs(one.keep - (1 - level)), 6), metrics.index(one.metric)))
    return upstream.store.best(architecture, near.keep, near.metric, upstream.data.name)


def carried_profile(upstream: Upstream, level: float) -> Profile:
    """Returns that profile, projected onto what the level leaves, and where it is from."""
    space, widths = _projected(upstream, level)
    stored = stored_profile(upstream, level)
    origin = {"architecture": stored.profile.architecture, "profile": stored.name}
    pool = stored.profile.found.get("pool", [])
    made: Provenance = {"mapped_from": origin} if upstream.map_from else {"projected_from": origin}
    found = provenance(made, {"pool": pool})
    if upstream.metric == "params":  # files of profiles count all of them
        plan = _plan(upstream)
        everything = CostModel(plan.network, space.table, plan.example)
        budget = Budget("params", float(everything.relative(widths, "params")))
        space = replace(space, cost=everything, budget=budget)
    return space.profile(widths, found)


def check_rival(upstream: Upstream, level: float, rival: str) -> None:
    """Checks before any work that one of `RIVALS` can be so thin.

    Raises:
        UsageError: It cannot.
    """
    _space(upstream, level, RIVALS[rival])


def _by_rule(upstream: Upstream, level: float, rival: str) -> nn.Module:
    """Cuts the source by a rule that needs no search, and trains it on."""
    space = _space(upstream, level, RIVALS[rival])
    model = _cut(upstream, upstream.trained(), space, rivals.RIVALS[rival](space, upstream.seed), upstream.ways.refit)
    upstream.tune(model, f"{rival}-{level:g}")
    return model


def _ticket(upstream: Upstream, level: float, weights: nn.Module, refit: str = "none") -> nn.Module:
    """Cuts weights to the channels that the profile and the source choose."""
    space, widths = _projected(upstream, level)
    return _cut(upstream, weights, space, widths, refit)


def _projected(upstream: Upstream, level: float) -> tuple[ProfileSpace, IntArray]:
    chosen = stored_profile(upstream, level).profile
    if upstream.map_from:
        chosen = carry(chosen, _plan(upstream))
    space = _space(upstream, level, chosen.scope)
    return space, space.project(np.asarray(space.table.ratios(chosen))[None])[0]


def _space(upstream: Upstream, level: float, scope: Scope) -> ProfileSpace:
    """Profiles that remove the level from the weights that masks may cover, or from the multiply-adds."""
    plan = _plan(upstream)
    table = plan.table.within(scope)
    counted = {f"{name}.weight" for name in prunable_layers(plan.network)}
    cost = CostModel(plan.network, table, plan.example, counted)
    return ProfileSpace(plan.architecture, scope, table, cost, Budget(upstream.metric, 1 - level))


def _plan(upstream: Upstream) -> Plan:
    return _planned(upstream.source, example_shape(upstream.trained(), upstream.data))


@cache
def _planned(source: Member, shape: tuple[int, int, int]) -> Plan:
    """Returns the plan of a source, made once a process."""
    return Plan(source.architecture, source.load(), shape)


def _cut(
    upstream: Upstream,
    weights: nn.Module,
    space: ProfileSpace,
    widths: IntArray,
    refit: str = "none",
    order: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    source = upstream.trained()
    keep = keep_channels(order or _order(upstream, source, space), space.table, widths)
    pruned = Pruned(Pruner(weights, space.table).prune(keep), space.table, widths, space.cost, keep)
    if refit != "none":
        refit_weights(pruned, source, upstream.data, upstream.sample(MOST_SEEN), refit)
    return pruned.network


def _order(upstream: Upstream, source: nn.Module, space: ProfileSpace) -> dict[str, Tensor]:
    """Returns the channels of each group, the most important first."""
    criterion = upstream.ways.criterion
    seen = _seen(upstream, source) if criterion in SEEING else None
    return rank_channels(source, space.table, criterion, upstream.seed, seen)


def _seen(upstream: Upstream, source: nn.Module) -> Batch:
    """Returns normalized training images, and their labels."""
    images = upstream.sample(MOST_SEEN)
    pixels = upstream.data.normalize(images.pixels, input_channels(source, upstream.data.image_shape))
    return arranged(source, pixels), images.labels


def _settled(upstream: Upstream, model: nn.Module) -> nn.Module:
    upstream.settle(model)
    return model
