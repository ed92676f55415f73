"""Prefix: what a network gives before the first of its layers that was cut, known and not computed again.

Of many networks that are cut in one place each, all give the same before it. Modules that have the full network's
weights and get what they got there give what they gave there.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from profilesearch.networks.groups import GroupTable
from profilesearch.networks.probing import named_tensors
from profilesearch.networks.tracking import tensors

_BYTES = 1_000_000_000
"""Most memory of what is known."""
_FINE = 8
"""Modules that hold more than one in so many groups are looked into, rather than known as a whole."""


@dataclass(frozen=True, eq=False)
class _Known:
    """What a module got and gave, and how often these tensors had been changed in place by then."""

    given: tuple[Tensor, ...]
    made: Tensor
    versions: tuple[int, ...]

    def holds(self) -> bool:
        """Says whether all is what it was."""
        return self.versions == tuple(each._version for each in (*self.given, self.made))

    def fits(self, given: list[Tensor]) -> bool:
        """Says whether a module gets the same again."""
        return len(given) == len(self.given) and all(
            one is other or (one.device == other.device and torch.equal(one, other))
            for one, other in zip(given, self.given, strict=True)
        )


class Prefix:
    """What the modules of a full network gave, for pruned copies of it that are shown the same images in evaluation.

    Args:
        model: The full network.
        table: Its channel groups.
        most: Bytes that may be kept: of the modules that come first, where not of all.
    """

    def __init__(self, model: nn.Module, table: GroupTable, most: int = _BYTES) -> None:
        self._most = most
        self._tensors = named_tensors(model)
        cut = [{part.tensor for part in group.slices} for group in table.groups]
        few = max(2, len(cut) // _FINE)
        self._places = [path for path, _ in _parts(model, "", cut, few)]
        self._known: dict[tuple[str, int], _Known] = {}
        self._held: dict[int, int] = {}  # bytes of each tensor that is known

    @contextmanager
    def noted(self, model: nn.Module) -> Iterator[None]:
        """Notes what the full network gives while this is open."""
        calls: Counter[str] = Counter()
        with _instead(model, self._places, partial(self._note, calls)):
            yield
        self._forget()

    @contextmanager
    def used(self, pruned: nn.Module) -> Iterator[None]:
        """Lets a pruned copy take what is known while this is open, whose forward passes must be those of `noted`."""
        changed = self._changed(pruned)
        same = [path for path in self._places if not any(name.startswith(f"{path}.") for name in changed)]
        calls: Counter[str] = Counter()
        with _instead(pruned, same, partial(self._recall, calls)):
            yield
        self._forget()

    def _changed(self, pruned: nn.Module) -> set[str]:
        """Names of the tensors that are not the full network's.

        Numbers that modules keep need no look: where one follows a cut, what the module gets is cut.
        """
        return {
            name
            for name, each in named_tensors(pruned).items()
            if name not in self._tensors or not torch.equal(each, self._tensors[name])
        }

    def _note(self, calls: Counter[str], path: str, forward: Any, *args: Any, **kwargs: Any) -> Any:
        given, number = tensors((args, kwargs)), calls[path]
        calls[path] += 1
        tracked = not any(each.is_inference() for each in given)
        versions = [each._version for each in given] if tracked else []
        made = forward(*args, **kwargs)
        if tracked and isinstance(made, Tensor) and not made.is_inference():
            held = {id(each): each.nbytes for each in (*given, made)}
            if sum((self._held | held).values()) <= self._most:
                self._held |= held
                self._known[path, number] = _Known(tuple(given), made, (*versions, made._version))
        return made

    def _recall(self, calls: Counter[str], path: str, forward: Any, *args: Any, **kwargs: Any) -> Any:
        known = self._known.get((path, calls[path]))
        calls[path] += 1
        if known is not None and known.fits(tensors((args, kwargs))):
            return known.made
        return forward(*args, **kwargs)

    def _forget(self) -> None:
        """Forgets what was changed in place since it was noted."""
        self._known = {place: each for place, each in self._known.items() if each.holds()}
        self._held = {id(each): each.nbytes for known in self._known.values() for each in (*known.given, known.made)}


def _parts(module: nn.Module, path: str, cut: list[set[str]], few: int) -> Iterator[tuple[str, nn.Module]]:
    """Yields the largest modules within one that hold tensors of few groups, by path."""
    for name, child in module.named_children():
        place = f"{path}{name}"
        inside = sum(any(each.startswith(f"{place}.") for each in names) for names in cut)
        if inside > few:
            yield from _parts(child, f"{place}.", cut, few)
        else:
            yield place, child


@contextmanager
def _instead(network: nn.Module, places: list[str], call: Any) -> Iterator[None]:
    """Lets modules be called through a function, which is given their path and what they would do themselves."""
    modules = [(path, network.get_submodule(path)) for path in places]
    own = [(module, vars(module).get("forward")) for _, module in modules]
    try:
        for path, module in modules:
            vars(module)["forward"] = partial(call, path, module.forward)
        yield
    finally:
        for module, forward in own:
            vars(module).pop("forward", None)
            if forward is not None:
                vars(module)["forward"] = forward
