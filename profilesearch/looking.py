"""What a trained network shows of itself where it is asked: what cuts of it lose, on the images that are given."""

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from profilesearch.deciding import Measures
from profilesearch.errors import UsageError, no_memory
from profilesearch.judging import Judge, judged_by
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.criteria import Batch
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Profile, Scope
from profilesearch.pruning import Pruned, prune_ordered
from profilesearch.sensitivity import FEWEST, group_losses
from profilesearch.system.progress import Progress

Order = Callable[[Scope], Mapping[str, Tensor]]
"""Returns the channels of each group of a scope, the most important first."""
Shown = Callable[[str], AbstractContextManager[Progress | None]]
"""Shows how far a part of the work is, by its name; yields what moves that."""
Found = TypeVar("Found")
CPU = torch.device("cpu")
_NOTHING = (
    "no cut changes what the network gives for these images, as where it is not trained yet: layers are cut alike"
)
_ALIKE = "outputs cannot be compared with those of the network, such as lists of other objects: layers are cut alike"


def looked_at(
    plan: Plan,
    order: Order,
    seen: Callable[[], Batch | None],
    refit: str,
    shown: Shown,
    say: Callable[[str], None],
    device: torch.device = CPU,
) -> Measures:
    """Returns what can be found out about a network.

    Args:
        plan: Of the network.
        order: Of its channels.
        seen: Gives images, and labels that are not looked at; with too few of them, what is asked for raises
            `UsageError`.
        refit: How it will be refitted, by which profiles are judged.
        shown: Shows how far it is.
        say: Called with a line for people where nothing can be told, or memory runs out.
        device: Where to measure; the network is on the processor before and afterwards.
    """
    workplace = _Workplace(plan.network, device, say)
    judging = cache(lambda: Judge(plan.network, _enough(seen()), judged_by(refit)))  # one for all profiles

    def losses(scope: Scope) -> FloatArray:
        images, ordered, table = _enough(seen()), order(scope), plan.table.within(scope)
        with shown("measuring what each layer can lose") as move:
            found = workplace.do(lambda place: group_losses(plan.network, table, ordered, images.to(place), move))
        if bool((found == found.flat[0]).all()):
            say(_ALIKE if found.any() else _NOTHING)
        return found

    def judge(profile: Profile) -> float:
        pruned = prune_ordered(plan, profile, order(profile.scope))  # on the processor, like all that plans do
        with shown("refitting weights, to see what comes of it") as move:
            return workplace.do(lambda _: judging()(_copied(pruned), move))

    return Measures(losses, judge)


class _Workplace:
    """Where a network is measured: on a device, and from when memory runs out there on the processor.

    Args:
        network: On the processor, where it is again after each work, whatever comes of it.
        device: Where to.
        say: Called with a line for people when memory runs out.
    """

    def __init__(self, network: nn.Module, device: torch.device, say: Callable[[str], None]) -> None:
        self._network, self._device, self._say = network, device, say

    def do(self, work: Callable[[torch.device], Found]) -> Found:
        """Does work, which may be done twice, and is told where the network is."""
        try:
            self._network.to(self._device)
            return work(self._device)
        except RuntimeError as error:
            if self._device == CPU or not no_memory(error):
                raise
            self._say(f"out of memory on {self._device}; going on on the processor")
            self._device = CPU
        finally:
            self._network.to(CPU)
        return work(CPU)


def _copied(pruned: Pruned) -> Pruned:
    return replace(pruned, network=copy.deepcopy(pruned.network))


def _enough(seen: Batch | None) -> Tensor:
    """Returns the images.

    Raises:
        UsageError: There are too few.
    """
    if seen is None or len(seen[0]) < FEWEST:
        raise UsageError(
            f"profiles 'sensitivity' and 'blend' cut layers and measure what images={FEWEST} or more lose by it; give "
            "some, or take a profile that needs none, such as 'uniform'"
        )
    return seen[0]
