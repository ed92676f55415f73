"""Taps of kernels that see nothing but padding: half-precision kernels of processors leave their gradients unwritten.

Seen with torch 2.14 (oneDNN 3.12, AVX-512): where a map of one pixel goes into a convolution of 3 by 3 with stride 2,
in bfloat16, all but the middle of each kernel's gradient is whatever was in memory, now and then not finite.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Size = tuple[int, ...]


@contextmanager
def unseen_taps_zeroed(model: nn.Module) -> Iterator[None]:
    """Makes gradients of taps that no pixel reaches what they are, zero, in trainings on a processor meanwhile."""
    layers = {each: _behind(each) for each in model.modules() if isinstance(each, nn.Conv2d)}
    uses = Counter(id(tensor) for behind in layers.values() for tensor in behind)
    alone = [each for each, behind in layers.items() if all(uses[id(tensor)] == 1 for tensor in behind)]
    handles = [
        handle
        for each in alone
        if max(each.stride) > 1 and _is_plain(each, layers[each])
        for handle in _Guard(each).handles()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _behind(conv: nn.Conv2d) -> list[Tensor]:
    """Returns what a convolution's weight is made of: itself, or what lies behind its parametrization, as masks are."""
    if parametrize.is_parametrized(conv, "weight"):
        return list(_parametrization(conv).parameters(recurse=False))
    return [conv.weight]


def _parametrization(conv: nn.Conv2d) -> nn.Module:
    made: nn.Module = conv.parametrizations.weight  # type: ignore[union-attr, assignment]
    return made


def _is_plain(conv: nn.Conv2d, behind: Sequence[Tensor]) -> bool:
    """Says whether a convolution learns on a processor and pads with zeros as torch does: other kinds may pad more."""
    itself = type(conv).forward is nn.Conv2d.forward and conv.padding_mode == "zeros"
    learns = any(each.is_leaf and each.requires_grad and each.device.type == "cpu" for each in behind)
    return itself and learns and not isinstance(conv.padding, str)


class _Guard:
    """Remembers the sizes of the maps that a convolution was given, and mends its gradient behind them.

    Copies of the convolution, which elastic training runs in its place, are given theirs in its name.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        self._conv = conv
        self._sizes: set[Size] = set()
        self._mended = False

    def __deepcopy__(self, _: object) -> Self:
        return self

    def handles(self) -> Iterator[torch.utils.hooks.RemovableHandle]:
        conv = self._conv
        yield conv.register_forward_pre_hook(self._look, with_kwargs=True)
        if parametrize.is_parametrized(conv, "weight"):
            yield _parametrization(conv).register_forward_hook(self._watch)
        else:
            yield conv.weight.register_hook(self.mend)  # type: ignore[no-untyped-call]

    def _look(self, _: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        if self._mended:  # another pass
            self._sizes.clear()
            self._mended = False
        images = given[0] if given else named["input"]
        self._sizes.add(tuple(images.shape[-2:]))

    def _watch(self, _: nn.Module, __: object, weight: Tensor) -> Tensor:
        """Mends the gradient of a weight that was just made, before it reaches what the weight is made of."""
        seen = weight.view_as(weight)
        if seen.requires_grad:
            seen.register_hook(self.mend)  # type: ignore[no-untyped-call]
        return seen

    def mend(self, gradient: Tensor) -> Tensor | None:
        """Returns the gradient with zeros where no pixel is seen; nothing where all taps see one."""
        conv = self._conv
        settings = conv.kernel_size, conv.stride, conv.padding, conv.dilation
        seen = [_seen(size, *settings) for size in self._sizes]
        self._mended = True
        reached = torch.stack(seen).any(dim=0) if seen else torch.ones(conv.kernel_size, dtype=torch.bool)
        return None if bool(reached.all()) else torch.where(reached, gradient, 0.0)


@lru_cache(maxsize=256)
def _seen(size: Size, kernel: Size, stride: Size, padding: Size, dilation: Size) -> Tensor:
    """Returns which taps of a kernel meet a pixel anywhere, shape of the kernel."""
    rows, columns = (_met(*each) for each in zip(size, kernel, stride, padding, dilation, strict=True))
    return rows[:, None] & columns


def _met(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    places = torch.arange(outputs)[:, None] * stride - padding + torch.arange(kernel) * dilation
    return ((places >= 0) & (places < size)).any(dim=0)
