"""The methods that can be set side by side, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from profilesearch.transfers import acdc, fisher, magnitude, rigl, soft_threshold, structured, tickets
from profilesearch.transfers.upstream import Upstream

Compress = Callable[[Upstream, float], nn.Module]


@dataclass(frozen=True)
class Method:
    """A way to a smaller network.

    Attributes:
        compress: Makes it, from the upstream and the fraction of weights to remove.
        structured: Whether tensors get smaller; else weights are zero.
        start: What it starts from.
    """

    compress: Compress
    structured: bool
    start: str

    @property
    def summary(self) -> str:
        """The method in a sentence."""
        return (self.compress.__doc__ or "").splitlines()[0]


def _dense(upstream: Upstream, _: float) -> nn.Module:
    """The source as it is."""
    return upstream.trained()


_SOURCE, _RANDOM = "the source, trained on", "random weights"


def from_random() -> tuple[str, ...]:
    """Returns the methods that train from random weights upstream."""
    return tuple(name for name, method in METHODS.items() if method.start == _RANDOM)


METHODS: Mapping[str, Method] = {
    "dense": Method(_dense, True, "the source"),
    "width": Method(structured.width, True, _RANDOM),
    "uniform": Method(structured.uniform, True, _SOURCE),
    "profile": Method(structured.profile, True, _SOURCE),
    "profile-late": Method(structured.late, True, "the source"),
    "profile-original": Method(structured.original, True, "the source's first weights"),
    "profile-random": Method(structured.random, True, "random weights, not trained upstream"),
    "magnitude": Method(magnitude.one_shot, False, _SOURCE),
    "gradual": Method(magnitude.gradual, False, _SOURCE),
    "fisher": Method(fisher.fisher, False, _SOURCE),
    "rigl": Method(rigl.rigl, False, _RANDOM),
    "str": Method(soft_threshold.soft_threshold, False, _RANDOM),
    "acdc": Method(acdc.acdc, False, _RANDOM),
    "ticket-late": Method(tickets.late, False, "the source"),
    "ticket-original": Method(tickets.original, False, "the source's first weights"),
    "ticket-random": Method(tickets.random, False, "random weights, not trained upstream"),
    "ticket-one-shot": Method(tickets.one_shot, False, "the source"),
}
