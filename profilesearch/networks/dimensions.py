"""How many classes a checkpoint's network knows, and how many channels its images have."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build, filled_later
from profilesearch.networks.numbers import state_tensors

Shapes = Mapping[str, torch.Size]


def dimensions(architecture: str, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Returns the classes and input channels of a classifier: those with which its architecture has these tensors.

    Both are read from what changes with them in the architecture. Where no tensor changes with the classes, they are
    the rows of the last matrix, in the network's order, since files keep none; where none changes with the channels,
    the architecture has its own, and takes no number of them.

    Raises:
        UsageError: The tensors are of no network that can be pruned.
    """
    base = skeleton(architecture, 2, 3)
    classes = _solve(base, skeleton(architecture, 3, 3), 2, tensors)
    channels = _solve(base, skeleton(architecture, 2, 4), 3, tensors)
    if classes is None:
        ordered = [tensors[name] for name in (*base, *tensors) if name in tensors]
        weights = [tensor for tensor in ordered if tensor.dim() > 1]
        if not weights:
            raise UsageError("the checkpoint has no weights; it is of no network that can be pruned here")
        classes = len(next((tensor for tensor in reversed(weights) if tensor.dim() == 2), weights[-1]))
    return classes, channels or 3


def _solve(one: Shapes, other: Shapes, value: int, tensors: Mapping[str, Tensor]) -> int | None:
    """Returns the setting of which a checkpoint's sizes are affine functions.

    Args:
        one: Shapes of an architecture's tensors where the setting is `value`.
        other: Where it is one more.
        value: See above.
        tensors: The checkpoint.
    """
    for name, shape in one.items():
        if name not in tensors or name not in other:
            continue
        for before, after, size in zip(shape, other[name], tensors[name].shape, strict=False):
            if before != after:
                return max(1, value + round((size - before) / (after - before)))
    return None


@cache
def skeleton(architecture: str, classes: int = 2, channels: int = 3) -> dict[str, torch.Size]:
    """Returns names and shapes of a network's tensors, without their values where it can be built without them.

    A network that takes no other number of channels is that with 3.
    """
    try:
        try:
            with torch.device("meta"):
                network = build(architecture, classes, channels)
        except UsageError:
            raise
        except Exception:  # builders may look at values
            network = filled_later(architecture, classes, channels)
    except Exception:
        if channels == 3:
            raise
        return skeleton(architecture, classes, 3)
    return {name: tensor.shape for name, tensor in state_tensors(network).items()}
