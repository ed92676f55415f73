"""The images that `prune` is given: their shape, and those of them that are looked at."""

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from profilesearch.errors import UsageError
from profilesearch.networks.criteria import MOST_SEEN, Batch
from profilesearch.networks.names import SEEING
from profilesearch.refitting import most_used

DEFAULT_SHAPE = (3, 224, 224)


def shape_of(images: Tensor | None, image_shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """Returns the shape of one input, after a look at what was given."""
    if images is not None:
        if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
            kind = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise UsageError(
                f"images must be one tensor (N, C, H, W) of floating point, normalized as for training, got {kind}"
            )
        if not len(images) or not bool(images.isfinite().all()):
            raise UsageError("images must hold at least one image and finite values alone; leave the others out")
    shape = (DEFAULT_SHAPE if images is None else tuple(images.shape[1:])) if image_shape is None else image_shape
    sizes = list(shape) if isinstance(shape, Sequence) else []
    if len(sizes) != 3 or not all(isinstance(size, Integral) and size > 0 for size in sizes):
        raise UsageError(f"image_shape must be (channels, height, width), whole numbers above 0, got {shape}")
    if images is not None and tuple(images.shape[1:]) != tuple(shape):
        raise UsageError(f"images have the shape {tuple(images.shape[1:])}, but image_shape is {tuple(shape)}")
    return int(shape[0]), int(shape[1]), int(shape[2])


def mixed(images: Tensor, refit: str) -> Tensor:
    """Returns as many images as are looked at, from all over those given, which may come class after class."""
    most = max(MOST_SEEN, most_used(refit))
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:most]
    return images[drawn.to(images.device)]


def batch_of(images: Tensor | None, criterion: str) -> Batch | None:
    """Returns what criteria that look at images are given, without labels."""
    if criterion in SEEING and (images is None or criterion == "taylor"):
        needs = "labels" if criterion == "taylor" else "images"
        raise UsageError(f"criterion '{criterion}' needs {needs}; use 'l1', or 'reconstruction' with images=...")
    if images is None:
        return None
    some = images[:MOST_SEEN].float().cpu()
    return some, torch.zeros(len(some), dtype=torch.int64)
