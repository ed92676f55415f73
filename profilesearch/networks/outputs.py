"""What networks return: one tensor, or several in tuples, lists, dictionaries and dataclasses."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from profilesearch.errors import UsageError


def outputs(made: Any) -> list[Tensor]:
    """Returns all tensors that a network gives, in their order.

    Args:
        made: What its forward pass returned; text, numbers and None among it are left out.

    Raises:
        UsageError: There is none, or one is sparse, or something in it is of a kind whose tensors are not known.
    """
    found = list(_walk(made))
    if not found:
        raise UsageError(f"the network returns a {type(made).__name__} without any tensor; return what it computes")
    return found


def real_outputs(made: Any) -> list[Tensor]:
    """Returns the same in real numbers: complex ones in a last dimension of two, real and imaginary parts."""
    return [torch.view_as_real(each.resolve_conj()) if each.is_complex() else each for each in outputs(made)]


def _walk(made: Any) -> Iterator[Tensor]:
    if isinstance(made, Tensor):
        if made.layout != torch.strided:  # of which no entry can be followed, nor compared with another
            raise UsageError("the network returns a sparse tensor; return it dense")
        yield made
    elif isinstance(made, Mapping):
        yield from _walk(list(made.values()))
    elif is_dataclass(made):
        yield from _walk([getattr(made, field.name) for field in fields(made)])
    elif isinstance(made, list | tuple | set):
        for each in made:
            yield from _walk(each)
    elif made is not None and not isinstance(made, str | int | float):
        raise UsageError(
            f"the network returns a {type(made).__name__}, whose tensors cannot be told; return them in a tuple, a "
            "list or a dictionary"
        )
