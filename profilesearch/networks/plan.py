"""What is known of an architecture before any weight is."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.networks.closures import holding_functions
from profilesearch.networks.cost import CostModel
from profilesearch.networks.graph import trace
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.latency import LatencyModel
from profilesearch.networks.space import ProfileSpace, left_out
from profilesearch.networks.surgery import check_plan
from profilesearch.profiles import Budget, Scope


@dataclass(frozen=True, eq=False)
class Plan:
    """Groups of an architecture, checked once, and its cost.

    Args:
        architecture: Its name.
        network: Any network of this architecture, trained or not; never changed.
        image_shape: Shape of one image, (C, H, W); the multiply-adds depend on it.
    """

    architecture: str
    network: nn.Module
    image_shape: tuple[int, int, int]

    @cached_property
    def table(self) -> GroupTable:
        """Channel groups of every scope, each checked: the pruned network equals the masked one."""
        _check_own_weights(self.network)
        network = copied(self.network).float()
        return check_plan(network, trace(network, self.example), self.example)

    @property
    def example(self) -> Tensor:
        """One random image as a batch, (1, C, H, W)."""
        return torch.rand(1, *self.image_shape, generator=torch.Generator().manual_seed(0))

    def space(self, budget: Budget, scope: Scope = "block", multiple: int = 1) -> ProfileSpace:
        """Returns all profiles of this architecture under a budget.

        Raises:
            UsageError: The budget is out of reach, or nothing is prunable in this scope.
        """
        try:
            return self._space(budget, scope, multiple)
        except UsageError as error:
            if scope != "all" and self._reaches(budget, multiple):
                raise UsageError(f"{error}; try `scope='all'`, which prunes residual streams too") from error
            raise

    def _reaches(self, budget: Budget, multiple: int) -> bool:
        with suppress(UsageError):
            return bool(self._space(budget, "all", multiple))
        return False

    def _space(self, budget: Budget, scope: Scope, multiple: int) -> ProfileSpace:
        table = self.table.within(scope)
        if not table.groups:
            why = left_out(table, CostModel(self.network, table, self.example))
            raise UsageError(
                f"{self.architecture} has no prunable channel group in scope '{scope}'{why}; `profilesearch groups` "
                "says why"
            )
        model = LatencyModel if budget.metric == "latency" else CostModel
        return ProfileSpace(self.architecture, scope, table, model(self.network, table, self.example), budget, multiple)


def copied(network: nn.Module) -> nn.Module:
    """Returns a copy of a network, its tensors laid out channels first: layouts change what operations are seen.

    Raises:
        UsageError: It cannot be copied, as with hooks of old-style weight normalization, or with a lock or a function
            that it holds.
    """
    if function := next(holding_functions(network), ""):
        raise UsageError(
            f"{type(network).__name__} cannot be copied: a function kept as '{function}' holds the network itself, so "
            "that a copy would run the first one; make it a method, or take it off first, and put it on the result"
        )
    try:
        return copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    except RuntimeError as error:
        raise UsageError(
            f"{type(network).__name__} cannot be copied ({str(error).splitlines()[0]}); take hooks such as "
            "weight_norm off first (torch.nn.utils.remove_weight_norm, torch.nn.utils.prune.remove)"
        ) from error
    except TypeError as error:  # locks, generators, open files
        held = next(_uncopied(network), "something that it holds")
        raise UsageError(
            f"{type(network).__name__} cannot be copied ({error}): set {held} to None first, and again on the result"
        ) from error


def _uncopied(network: nn.Module) -> Iterator[str]:
    """Names attributes of modules that cannot be copied."""
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            if name not in ("_modules", "_parameters", "_buffers"):
                try:
                    copy.deepcopy(value)
                except TypeError:
                    yield f"'{path}.{name}'".replace("'.", "'")


def _check_own_weights(network: nn.Module) -> None:
    """Refuses networks in which two layers have one weight: cutting it for one would change the other.

    One layer may have several names.
    """
    names: dict[int, str] = {}
    for path, module in network.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False, remove_duplicate=False):
            first = names.setdefault(id(parameter), name)
            if first != name:
                raise UsageError(
                    f"{type(network).__name__} shares one weight under two names, '{first}' and '{name}'; give each "
                    "layer its own, or call one module twice"
                )
