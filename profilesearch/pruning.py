"""The applier: a trained network and a profile in, a smaller network out. Also the library's three-line use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.measure.speed import peak_memory
from profilesearch.networks.cost import CostModel
from profilesearch.networks.criteria import Batch, keep_channels, rank_channels
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.plan import Plan
from profilesearch.networks.refit import refit
from profilesearch.networks.space import round_widths
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import Profile
from profilesearch.scoring.score import reestimate
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import device_of
from profilesearch.tasks.inputs import input_channels
from profilesearch.tasks.memory import BATCH, batches, fitting

_REFIT_IMAGES = 500
_REFIT_BYTES = 4_000_000_000
_FEWEST = 16


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
        UsageError: The profile is of another architecture; the message has the first name that does not fit.
    """
    return prune_planned(Plan(profile.architecture, model, image_shape), profile, criterion, seed, batch)


def prune_planned(
    plan: Plan, profile: Profile, criterion: str = "l1", seed: int = 0, batch: Batch | None = None
) -> Pruned:
    """Does what `prune_with_profile` does to the network of a plan, on the processor, whose groups are known."""
    order = rank_channels(plan.network, plan.table.within(profile.scope), criterion, seed, batch)
    return prune_ordered(plan, profile, order)


def prune_ordered(plan: Plan, profile: Profile, order: Mapping[str, Tensor]) -> Pruned:
    """Does it where the order of each group's channels is known, the most important first."""
    model, table = plan.network, plan.table.within(profile.scope)
    widths = round_widths(table.ratios(profile), table.channels)
    keep = keep_channels(order, table, widths)
    network = Pruner(model, table).prune(keep).eval()
    return Pruned(network, table, widths, CostModel(model, table, plan.example), keep)


def refit_weights(
    pruned: Pruned,
    model: nn.Module,
    data: DataSet,
    images: Images,
    inputs: str = "sequential",
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[str, ...]:
    """Refits a pruned network in closed form, in place, so that its layers give again what the full network's gave.

    Args:
        pruned: What `prune_with_profile` made, on the device of `model`.
        model: The full network; never changed.
        data: Gives the normalization.
        images: Training images; the first of them are used, as many as memory is set aside for, 500 at most.
        inputs: On what layers are fitted: `sequential`, what the refitted layers before give; `full`, what is left of
            the full network's.
        say: Called with a line for people when memory runs out and images are halved.
        progress: Called before every layer with layers done, layers in all, and its weight's name.

    Returns:
        Names of the refitted weights.

    Raises:
        UsageError: There are fewer than two images, or `inputs` is unknown.
    """
    channels = input_channels(model, data.image_shape)
    return refit_on(pruned, model, data.normalize(images[:_REFIT_IMAGES].pixels, channels), inputs, say, progress)


def refit_on(
    pruned: Pruned,
    model: nn.Module,
    images: Tensor,
    inputs: str = "sequential",
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[str, ...]:
    """Does what `refit_weights` does, on normalized images of float32, (N, C, H, W), whatever they are from."""
    device = device_of(model)
    most = min(len(images), _refit_images(model, tuple(images.shape[1:])))  # type: ignore[arg-type]
    start = {name: tensor.clone() for name, tensor in pruned.network.state_dict().items()}

    def work(size: int) -> tuple[str, ...]:
        pruned.network.load_state_dict(start)
        return refit(
            pruned.network, model, pruned.table, pruned.keep, images[:size].to(device), inputs, progress=progress
        )

    return fitting(work, say, most)


def _refit_images(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Returns how many images may be refitted on at once, by what a forward pass needs for each."""
    one, two = (peak_memory(model, image_shape, batch) for batch in (1, 2))
    return max(_FEWEST, min(_REFIT_IMAGES, _REFIT_BYTES // (2 * max(1, two - one))))


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
        reestimate(model.eval(), norms, (data.normalize(part.pixels, channels).to(device) for part in parts))

    with torch.no_grad():
        fitting(pass_over, say, batch, least=2)
