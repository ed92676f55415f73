"""The methods that can be set side by side, by name: read without torch, which a method imports when it is used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, cast

from profilesearch.research.transfers.ways import Ways

if TYPE_CHECKING:
    from torch import nn

    from profilesearch.research.transfers.upstream import Upstream


@dataclass(frozen=True)
class Method:
    """A way to a smaller network.

    Attributes:
        place: Of the function that makes it, `module:function` of this package.
        structured: Whether tensors get smaller; else weights are zero.
        start: What it starts from.
        summary: The method in a sentence.
        either: Whether it may start from the source as well.
        version: Raise it when the method changes, so that older networks and rows are not taken for its own.
    """

    place: str
    structured: bool
    start: str
    summary: str
    either: bool = False
    version: int = 1

    @property
    def compress(self) -> "Callable[[Upstream, float], nn.Module]":
        """Makes it, from the upstream and the fraction of weights to remove."""
        return cast("Callable[[Upstream, float], nn.Module]", resolve_name(f"{__package__}.{self.place}"))


_SOURCE, _RANDOM = "the source, trained on", "random weights"


def start_of(name: str, ways: Ways) -> str:
    """Says what a method starts from."""
    method = METHODS[name]
    return _SOURCE if method.either and ways.start == "source" else method.start


def from_random(ways: Ways) -> tuple[str, ...]:
    """Returns the methods that train from random weights upstream."""
    return tuple(name for name in METHODS if start_of(name, ways) == _RANDOM)


METHODS: Mapping[str, Method] = {
    "dense": Method("structured:dense", True, "the source", "The source as it is."),
    "width": Method(
        "structured:width",
        True,
        _RANDOM,
        "A network that is thinner everywhere, residual streams too, trained from random weights: the plain rival.",
    ),
    "uniform": Method(
        "structured:uniform",
        True,
        _SOURCE,
        "The same part of every layer within blocks, with the source's weights, trained on.",
    ),
    "widest": Method(
        "structured:widest",
        True,
        _SOURCE,
        "The most weights at equal multiply-adds, or the other way round, with the source's weights, trained on.",
    ),
    "sensitivity": Method(
        "structured:sensitivity",
        True,
        _SOURCE,
        "What loses least if what single layers lose adds up, with the source's weights, trained on.",
    ),
    "profile": Method(
        "structured:profile",
        True,
        _SOURCE,
        "The stored profile with the source's weights, trained on.",
    ),
    "profile-late": Method(
        "structured:late",
        True,
        "the source",
        "A structured ticket: the stored profile's channels with the source's trained weights, and no training.",
    ),
    "profile-refit": Method(
        "structured:refitted",
        True,
        "the source",
        "A structured ticket: the same channels with the source's weights fitted anew in closed form, and no training.",
    ),
    "profile-original": Method(
        "structured:original",
        True,
        "the source's first weights",
        "A structured ticket: the same channels with the weights that the source's training started from.",
        version=2,  # before, other random weights were taken for the first ones
    ),
    "profile-random": Method(
        "structured:random",
        True,
        "random weights, not trained upstream",
        "The stored profile with new random weights: what the profile alone is worth.",
    ),
    "magnitude": Method(
        "magnitude:one_shot",
        False,
        _SOURCE,
        "Removes the weights with the smallest magnitudes of the whole network, then trains what is left.",
    ),
    "gradual": Method(
        "magnitude:gradual",
        False,
        _SOURCE,
        "Removes weights while it trains, on the cubic schedule (Zhu and Gupta 2017, arXiv 1710.01878).",
    ),
    "fisher": Method(
        "fisher:fisher",
        False,
        _SOURCE,
        "Removes the weights whose loss costs least by Optimal Brain Damage "
        "(LeCun et al. 1989), then trains what is left.",
    ),
    "rigl": Method(
        "rigl:rigl",
        False,
        _RANDOM,
        "Trains a sparse network whose weights come and go (RigL, Evci et al. 2020, arXiv 1911.11134).",
        True,
    ),
    "str": Method(
        "soft_threshold:soft_threshold",
        False,
        _RANDOM,
        "Trains with learned thresholds (STR, Kusupati et al. 2020, arXiv 2002.03231).",
        True,
    ),
    "acdc": Method(
        "acdc:acdc",
        False,
        _RANDOM,
        "Trains in dense and sparse phases (AC/DC, Peste et al. 2021, arXiv 2106.12379).",
        True,
    ),
    "ticket-late": Method(
        "tickets:late",
        False,
        "the source",
        "The iterative ticket with the source's trained weights behind it; the paper calls that late resetting.",
    ),
    "ticket-original": Method(
        "tickets:original",
        False,
        "the source's first weights",
        "The iterative ticket with the weights that the source's training started from.",
        version=2,
    ),
    "ticket-random": Method(
        "tickets:random",
        False,
        "random weights, not trained upstream",
        "The iterative ticket with new random weights: what the mask alone is worth.",
    ),
    "ticket-one-shot": Method(
        "tickets:one_shot", False, "the source", "The ticket that one round finds, with the source's trained weights."
    ),
}
