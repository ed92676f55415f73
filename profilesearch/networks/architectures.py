"""Architectures by name, with their channel groups and costs."""

import copy
import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
import torchvision
from torch import Tensor, nn

from profilesearch.errors import UsageError, choose
from profilesearch.networks.cifar_resnet import CIFAR_RESNETS
from profilesearch.networks.cost import CostModel
from profilesearch.networks.graph import trace
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.space import ProfileSpace
from profilesearch.networks.surgery import check_plan
from profilesearch.profile import Budget, Scope


def architecture_names() -> list[str]:
    """Returns the names that `build` accepts: the small-image ResNets, then torchvision's classification networks."""
    return [*CIFAR_RESNETS, *torchvision.models.list_models(module=torchvision.models)]


def build(name: str, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Builds an untrained network.

    Args:
        name: One of `architecture_names()`.
        num_classes: Outputs of the last layer.
        in_channels: Channels of the input images; torchvision's networks take 3.

    Raises:
        UsageError: The name is unknown, or the network takes other images.
    """
    choose("architecture", name, architecture_names())
    if name in CIFAR_RESNETS:
        return CIFAR_RESNETS[name](num_classes=num_classes, in_channels=in_channels)
    if in_channels != 3:
        raise UsageError(f"{name} takes images with 3 channels, not {in_channels}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    return network


def stem_channels(name: str, image_channels: int) -> int:
    """Returns how many input channels a new network gets; torchvision's take 3, with grey images repeated."""
    return image_channels if name in CIFAR_RESNETS else 3


@dataclass(frozen=True, eq=False)
class Plan:
    """What is known of an architecture before any weight is: groups, checked once, and cost.

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
        network = copy.deepcopy(self.network).float()
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
        table = self.table.within(scope)
        return ProfileSpace(
            self.architecture, scope, table, CostModel(self.network, table, self.example), budget, multiple
        )
