"""Prefix: what a network gives before the first of its layers that was cut, known and not computed again.

Of many networks that are cut in one place each, all give the same before it. Convolutions, linear layers, BatchNorm and
pooling of torch's own kinds depend on nothing but their tensors and what they are given: where both are the same, so is
what they give. All else, a network's own code above all, is run.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from profilesearch.system.streams import streams_kept

_PURE = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
_BYTES = 1_000_000_000
"""Most memory of what is known."""


@dataclass(frozen=True, eq=False)
class _Known:
    """What a layer got and gave, and how often these tensors had been changed in place by then."""

    given: Tensor
    made: Tensor
    versions: tuple[int, int]

    def holds(self) -> bool:
        """Says whether both are what they were."""
        return self.versions == (self.given._version, self.made._version)

    def fits(self, given: Tensor) -> bool:
        """Says whether a layer gets the same again."""
        return given is self.given or (given.device == self.given.device and torch.equal(given, self.given))


class Prefix:
    """What the layers of a full network gave, for pruned copies of it that are shown the same images in evaluation.

    Args:
        model: The full network; never changed.
        outputs: Returns what a network gives for these images. A copy of the model is run once more, to see that what
            is known leads to the same; where it does not, as where a network's code changes tensors behind torch's
            back, or counts its images, nothing is known.
        most: Bytes that may be kept: of the layers that come first, where not of all.
    """

    def __init__(self, model: nn.Module, outputs: Callable[[nn.Module], list[Tensor]], most: int = _BYTES) -> None:
        self._most = most
        self._layers = dict(_layers(model))
        self._known: dict[tuple[str, int], _Known] = {}
        self._held: dict[int, int] = {}  # bytes of each memory that is known
        other = copy.deepcopy(model)
        with self._open(model, self._layers, self._note):
            self.outputs = outputs(model)
        if not self._leads_to_the_same(other, outputs):
            self._known = {}

    @contextmanager
    def used(self, pruned: nn.Module) -> Iterator[None]:
        """Lets a pruned copy take what is known in the one pass over the images that is made while this is open."""
        same = {path: layer for path, layer in _layers(pruned) if _alike(layer, self._layers.get(path))}
        with self._open(pruned, same, self._recall):
            yield

    def _leads_to_the_same(self, other: nn.Module, outputs: Callable[[nn.Module], list[Tensor]]) -> bool:
        try:
            with streams_kept(), self.used(other):
                given = outputs(other)
        except Exception:  # whatever the network's own code raises, which it did not without
            return False
        return len(given) == len(self.outputs) and all(map(torch.equal, given, self.outputs))

    @contextmanager
    def _open(self, network: nn.Module, layers: Mapping[str, nn.Module], call: Callable[..., Any]) -> Iterator[None]:
        """Lets layers be called through a function while this is open."""
        calls: Counter[str] = Counter()
        try:
            for path, layer in layers.items():
                vars(layer)["forward"] = partial(call, calls, path, layer.forward)
            yield
        finally:
            for layer in layers.values():
                vars(layer).pop("forward", None)
            self._known = {place: each for place, each in self._known.items() if each.holds()}

    def _note(
        self, calls: Counter[str], path: str, forward: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        number = calls[path]
        calls[path] += 1
        if kwargs or len(args) != 1 or type(args[0]) is not Tensor or args[0].is_inference():
            return forward(*args, **kwargs)
        version, made = args[0]._version, forward(*args)
        if type(made) is Tensor and not made.is_inference():
            held = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in (args[0], made)}
            if sum((self._held | held).values()) <= self._most:
                self._held |= held
                self._known[path, number] = _Known(args[0], made, (version, made._version))
        return made

    def _recall(
        self, calls: Counter[str], path: str, forward: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        known = self._known.get((path, calls[path]))
        calls[path] += 1
        if known is not None and not kwargs and len(args) == 1 and type(args[0]) is Tensor and known.fits(args[0]):
            return known.made
        return forward(*args, **kwargs)


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields the layers whose outputs hang on nothing but tensors, each once, with its path."""
    for path, layer in network.named_modules():
        if type(layer) in _PURE and "forward" not in vars(layer):
            yield path, layer


def _alike(layer: nn.Module, other: nn.Module | None) -> bool:
    """Says whether two layers, one of them a copy whose tensors may have been cut, have the same tensors."""
    if other is None:
        return False
    own, others = ({**dict(each.named_parameters()), **dict(each.named_buffers())} for each in (layer, other))
    return own.keys() == others.keys() and all(torch.equal(each, others[name]) for name, each in own.items())
