"""Weights that a checkpoint stores in parts, as torch's weight normalization and pruning masks leave them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Factored:
    """A weight in two parts.

    Attributes:
        parts: As stored; the second has the weight's shape.
        multiply: Makes the weight of them.
    """

    parts: tuple[Tensor, Tensor]
    multiply: Callable[[Tensor, Tensor], Tensor]

    @property
    def shape(self) -> torch.Size:
        """Shape of the weight."""
        return self.parts[1].shape


Stored = Tensor | Factored


def _normalized(length: Tensor, direction: Tensor) -> Tensor:
    """Weight normalization (Salimans and Kingma 2016, arXiv 1602.07868); lengths have size 1 where they are shared."""
    shared = [dim for dim in range(direction.dim()) if length.dim() == 0 or length.shape[dim] == 1]
    norm: Tensor = torch.linalg.vector_norm(direction, dim=shared, keepdim=True)
    return direction * (length / norm)


def _masked(mask: Tensor, weight: Tensor) -> Tensor:
    return weight * mask


_RULES = (
    (re.compile(r"(.*?)parametrizations\.(\w+)\.original0$"), r"\1parametrizations.\2.original1", r"\1\2", _normalized),
    (re.compile(r"(.*)_g$"), r"\1_v", r"\1", _normalized),
    (re.compile(r"(.*)_mask$"), r"\1_orig", r"\1", _masked),
)
"""The first part's name, the second's, the weight's."""


def put_together(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """Returns a checkpoint's tensors with those weights in one that lie there in two parts."""
    whole = dict(stored)
    for name, first in stored.items():
        for pattern, second_name, whole_name, multiply in _RULES:
            if not pattern.match(name):
                continue
            second = stored.get(pattern.sub(second_name, name))
            if isinstance(first, Tensor) and isinstance(second, Tensor) and _spreads(first, second):
                del whole[name], whole[pattern.sub(second_name, name)]
                whole[pattern.sub(whole_name, name)] = Factored((first, second), multiply)
    return whole


def _spreads(first: Tensor, second: Tensor) -> bool:
    pairs = zip(first.shape, second.shape, strict=False)
    return first.dim() in (0, second.dim()) and all(one in (1, other) for one, other in pairs)
