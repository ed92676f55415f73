"""Prefix: what a network gives before the first of its layers that was cut, known and not computed again.

Of many networks that are cut in one place each, all give the same before it. Convolutions, linear layers, BatchNorm and
pooling of torch's own kinds depend on nothing but their tensors and what they are given: where both are the same, so is
what they give. All else, a network's own code above all, is run.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from profilesearch.system.streams import streams_kept

_PURE = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
_TENSORS = ("weight", "bias", "running_mean", "running_var")
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
        return given.device == self.given.device and torch.equal(given, self.given)


class Prefix:
    """What the layers of a full network gave, for pruned copies of it that are shown the same images in evaluation.

    Copies of the model are run twice more: to note what layers give, and to see that what is known leads to the same.
    Where it does not, as where a network's code counts its images, or changes tensors behind torch's back, nothing is.

    Args:
        model: The full network; never changed.
        outputs: Returns what a network gives for these images.
        most: Bytes that may be kept: of the layers that come first, where not of all.

    Attributes:
        outputs: What the model gives.
    """

    def __init__(self, model: nn.Module, outputs: Callable[[nn.Module], list[Tensor]], most: int = _BYTES) -> None:
        self._most = most
        self._layers = dict(_layers(model))
        self._known: dict[tuple[str, int], _Known] = {}
        self._held: dict[int, int] = {}  # bytes of each memory that is known
        noted, other = copy.deepcopy(model), copy.deepcopy(model)
        self.outputs = outputs(model)
        try:
            with streams_kept(), self._open(noted, self._note):
                same = self._same(outputs(noted))
            with streams_kept(), self._open(other, self._recall):
                same = same and self._same(outputs(other))
        except Exception:  # whatever the network's own code raises, which it did not without
            same = False
        if not same:
            self._known = {}

    @contextmanager
    def used(self, pruned: nn.Module) -> Iterator[None]:
        """Lets a pruned copy take what is known in the one pass over the images that is made while this is open."""
        if not self._known:
            yield
            return
        with self._open(pruned, self._recall):
            yield

    def _same(self, given: list[Tensor]) -> bool:
        return len(given) == len(self.outputs) and all(map(torch.equal, given, self.outputs))

    @contextmanager
    def _open(self, network: nn.Module, call: Callable[..., Any]) -> Iterator[None]:
        """Lets the layers of a network be called through a function while this is open."""
        calls: Counter[str] = Counter()
        layers = {path: layer for path, layer in _layers(network) if path in self._layers}
        try:
            for path, layer in layers.items():
                vars(layer)["forward"] = partial(call, calls, path, layer, layer.forward)
            yield
        finally:
            for layer in layers.values():
                vars(layer).pop("forward", None)
            self._known = {place: each for place, each in self._known.items() if each.holds()}

    def _note(
        self,
        calls: Counter[str],
        path: str,
        layer: nn.Module,
        forward: Callable[..., Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        number = calls[path]
        calls[path] += 1
        version = args[0]._version if _usual(layer, args, kwargs) else None
        made = forward(*args, **kwargs)
        if version is not None and _plain(made):
            memory = [each.untyped_storage() for each in (args[0], made)]
            held = {each.data_ptr(): each.nbytes() for each in memory}
            if sum((self._held | held).values()) <= self._most:
                self._held |= held
                self._known[path, number] = _Known(args[0], made, (version, made._version))
        return made

    def _recall(
        self,
        calls: Counter[str],
        path: str,
        layer: nn.Module,
        forward: Callable[..., Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        known = self._known.get((path, calls[path]))
        calls[path] += 1
        if known is None or not _usual(layer, args, kwargs) or not known.fits(args[0]):
            return forward(*args, **kwargs)
        if not _alike(layer, self._layers[path]):
            return forward(*args, **kwargs)
        return known.made.clone()  # which the network's code may change


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields the layers whose outputs hang on nothing but tensors, each once, with its path."""
    for path, layer in network.named_modules():
        if type(layer) in _PURE and "forward" not in vars(layer):
            yield path, layer


def _usual(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Says whether a layer is called in evaluation, with one plain tensor."""
    return not layer.training and not kwargs and len(args) == 1 and _plain(args[0])


def _plain(given: Any) -> bool:
    """Says whether this is a dense tensor with memory of its own and no gradient."""
    if type(given) is not Tensor or given.layout != torch.strided or given.is_inference() or given.requires_grad:
        return False
    try:
        given.untyped_storage()
    except (NotImplementedError, RuntimeError):  # of a transformation such as `torch.vmap`
        return False
    return True


def _alike(layer: nn.Module, other: nn.Module) -> bool:
    """Says whether two layers have the same tensors now, which some networks make while they run."""
    for one, two in ((getattr(layer, name, None), getattr(other, name, None)) for name in _TENSORS):
        if one is None or two is None:
            if one is not two:
                return False
        elif one.device != two.device or not torch.equal(one, two):
            return False
    return True
