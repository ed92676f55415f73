"""Networks and images that are in memory, as members and data sets: for searches over one's own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.networks.given import answer, plain_copy
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.pools import Member

_DATA = "own images"
_HELD_OUT = 0.9
"""Part of the images that searches may score on; criteria that look at images have the others."""


@dataclass(frozen=True)
class OwnMember(Member):
    """A trained network of somebody's program.

    Attributes:
        network: In memory; never changed.
    """

    network: nn.Module = field(default_factory=nn.Identity, compare=False)

    def load(self) -> nn.Module:
        """Returns a copy of the network, in evaluation mode, on the processor."""
        return plain_copy(self.network)


@dataclass(frozen=True, eq=False)
class OwnImages(DataSet):
    """Images that are normalized already: `pixels` are floating point."""

    def normalize(self, pixels: Tensor, in_channels: int | None = None) -> Tensor:
        """Returns the images as they are.

        Raises:
            UsageError: The network takes another number of channels.
        """
        if in_channels not in (None, pixels.shape[1]):
            raise UsageError(f"the network takes {in_channels} channels, but the images have {pixels.shape[1]}")
        return pixels.float()


def own_pool(
    networks: nn.Module | Sequence[nn.Module], images: Tensor, labels: Tensor
) -> tuple[list[OwnMember], OwnImages]:
    """Makes members and their data set of what is in memory.

    Args:
        networks: Trained, of one architecture.
        images: Normalized, floating point, (N, C, H, W), that the networks did not learn from.
        labels: Classes, whole numbers, (N,).

    Raises:
        UsageError: Something does not fit together.
    """
    every = [networks] if isinstance(networks, nn.Module) else list(networks)
    if not every or not all(isinstance(each, nn.Module) for each in every):
        raise UsageError("give one trained torch.nn.Module or a list of several")
    for name, each in (("images", images), ("labels", labels)):
        if not isinstance(each, Tensor):
            raise UsageError(f"{name} must be a torch.Tensor, got a {type(each).__name__}; torch.as_tensor makes one")
    if images.dim() != 4 or not images.is_floating_point() or not bool(images.float().isfinite().all()):
        raise UsageError(
            f"images must be finite and floating point, (N, C, H, W), normalized as for training, got {images.dtype} "
            f"{tuple(images.shape)}"
        )
    if (
        labels.shape != images.shape[:1]
        or labels.is_floating_point()
        or labels.is_complex()
        or (len(labels) and int(labels.min()) < 0)
    ):
        raise UsageError(f"labels must be one class from 0 for each image, got {labels.dtype} {tuple(labels.shape)}")
    classes = {_classes(each, images[:2]) for each in every}
    if len(classes) != 1 or (len(labels) and int(labels.max()) >= min(classes)):
        raise UsageError(
            f"the networks tell {' and '.join(map(str, sorted(classes)))} classes apart, but labels go up to "
            f"{int(labels.max())}; give networks of these classes"
        )
    own = Images(images.detach().cpu().float(), labels.cpu().long())
    channels = images.shape[1]
    zero, one = (0.0,) * channels, (1.0,) * channels
    data = OwnImages(_DATA, own, own[:0], classes.pop(), zero, one, flips=False, held_out=_HELD_OUT)
    kinds = [f"{type(each).__module__}:{type(each).__qualname__}" for each in every]
    members = [
        OwnMember(f"network{number}", kind, _DATA, Path(f"network{number}"), "train", network=each)
        for number, (each, kind) in enumerate(zip(every, kinds, strict=True))
    ]
    return members, data


def _classes(network: nn.Module, images: Tensor) -> int:
    """Returns how many class scores a network gives."""
    made = answer(plain_copy(network), images)
    if not isinstance(made, Tensor) or made.dim() != 2:
        raise UsageError(f"{type(network).__name__} must return its class scores, as one tensor (N, C), to be searched")
    return made.shape[1]
