"""The applier: a trained network and a profile in, a smaller network out. Also the library's three-line use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.networks.cost import CostModel, evaluated
from profilesearch.networks.criteria import Batch, keep_channels, rank_channels
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.numbers import settle
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import round_widths
from profilesearch.networks.surgery import Pruner, check_widths
from profilesearch.profiles import Profile
from profilesearch.scoring.score import reestimate
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import device_of
from profilesearch.tasks.inputs import input_channels
from profilesearch.tasks.memory import BATCH, batches, fitting


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned network and what it was cut by.

    Attributes:
        network: With smaller tensors, independent of the full network.
        table: The channel groups that the profile covers, G of them.
        widths: Number of kept channels, shape (G,).
        cost: The cost model of the full network.
        keep: The kept channels of every group, sorted ascending, by group name.
    """

    network: nn.Module
    table: GroupTable
    widths: IntArray
    cost: CostModel
    keep: Mapping[str, Tensor]


def prune_with_profile(
    model: nn.Module,
    profile: Profile,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    criterion: str = "l1",
    seed: int = 0,
    batch: Batch | None = None,
) -> Pruned:
    """Prunes a trained network with a profile.

    Args:
        model: The full network; never changed.
        profile: Of this network's architecture; class count, resolution and input channels may differ.
        image_shape: Of one input image, (C, H, W).
        criterion: Which channels stay.
        seed: Of the `random` criterion.
        batch: Normalized training images and labels, for criteria that look at images.

    Raises:
        UsageError: The profile is of another architecture; the message has the first name that does not fit. Or the
            network cannot be pruned to the profile's widths.
    """
    plan = Plan(profile.architecture, model, image_shape)
    order = rank_channels(plan.network, plan.table.within(profile.scope), criterion, seed, batch)
    return prune_ordered(plan, profile, order)


def prune_ordered(plan: Plan, profile: Profile, order: Mapping[str, Tensor]) -> Pruned:
    """Does what `prune_with_profile` does to the network of a plan, on the processor.

    Args:
        plan: Of the network, which is not changed.
        profile: Of its groups.
        order: Of each group's channels, the most important first.

    Raises:
        UsageError: At these widths alone, the pruned network would not be the full one whose layers ignore the others.
    """
    model, table = plan.network, plan.table.within(profile.scope)
    widths = round_widths(table.ratios(profile), table.channels)
    keep = keep_channels(order, table, widths)
    check_widths(model, table, keep, plan.example)
    network = evaluated(Pruner(model, table).prune(keep))
    settle(network, plan.example)
    return Pruned(network, table, widths, CostModel(model, table, plan.example), keep)


def reestimate_statistics(
    model: nn.Module, data: DataSet, images: Images, batch: int = BATCH, say: Callable[[str], None] | None = None
) -> None:
    """Re-estimates the BatchNorm statistics of a network on training images, in place.

    Args:
        model: On the device where it shall run.
        data: Gives the normalization.
        images: To average over.
        batch: Images at a time, at most.
        say: Called with a line for people when memory runs out and batches are halved.

    Raises:
        UsageError: There are fewer than two images.
    """
    if len(images) < 2:
        raise UsageError(f"re-estimating BatchNorm needs two training images or more, got {len(images)}")
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    channels, device = input_channels(model, data.image_shape), device_of(model)

    def pass_over(size: int) -> None:
        parts = (images[part] for part in batches(len(images), size))
        reestimate(evaluated(model), norms, (data.normalize(part.pixels, channels).to(device) for part in parts))

    with torch.no_grad():
        fitting(pass_over, say, batch, least=2)
