"""The measured speed and memory of networks."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from profilesearch.networks.clock import ROUNDS, pass_times
from profilesearch.networks.cost import evaluating
from profilesearch.tasks.hardware import device_of

_BLOCK_S = 0.1
"""How long one network is timed at a stretch."""
_ROUNDS = ROUNDS


@dataclass(frozen=True)
class Speed:
    """Median time of a forward pass in full precision, in milliseconds, for 1 and for 64 images."""

    batch1: float
    batch64: float

    def to_json(self) -> dict[str, float]:
        """Returns rounded milliseconds."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def measure_speed(
    models: Sequence[nn.Module],
    image_shape: tuple[int, int, int],
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Speed]:
    """Times networks in alternation, so that a change of the machine's pace hits all of them.

    Args:
        models: Networks to compare, on one device.
        image_shape: (C, H, W).
        progress: Called after every round with rounds done and rounds in all.
    """
    device, times = device_of(models[0]), []
    for place, batch in enumerate((1, 64)):

        def tell(number: int, place: int = place) -> None:
            if progress:
                progress(place * _ROUNDS + number, 2 * _ROUNDS, "")

        times.append(pass_times(models, torch.rand(batch, *image_shape, device=device), _BLOCK_S, _ROUNDS, tell))
    return [Speed(one / 1e6, many / 1e6) for one, many in zip(*times, strict=True)]


def peak_memory(model: nn.Module, image_shape: tuple[int, int, int], batch: int = 64) -> int:
    """Returns the most bytes that a forward pass holds at once: weights, images and whatever lies between.

    Memory that single operations use for themselves is not counted.

    Args:
        model: Any network.
        image_shape: (C, H, W).
        batch: Images.
    """
    images = torch.rand(batch, *image_shape, device=device_of(model))
    with evaluating(model), torch.no_grad(), _Memory() as memory:
        model(images)
    state = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    return int(state + images.numel() * images.element_size() + memory.peak)


class _Memory(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, while they are alive.

    Attributes:
        peak: The most bytes at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for tensor in (leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata not in given | self._alive:
                self._alive.add(storage._cdata)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self._now)
        return out

    def _free(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._now -= size
