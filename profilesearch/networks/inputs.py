"""What reaches the layers of a running network: their inputs as rows of a matrix, at some positions of every image."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from profilesearch.networks.tracking import tensors


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a weight by a convolution or a linear layer that reads all of its input channels.

    Attributes:
        weight: Name of the weight, as in the state dict.
        value: Its value, shape (O, I, h, w) or (O, I).
        bias: Shape (O,), or None.
        shift: Name of the bias, as in the state dict; empty where there is none, or one that is computed on the fly.
        given: The input, (N, I, H, W), (N, ..., I) or (I,).
        geometry: Stride, padding and dilation of a convolution; empty for a linear layer.
    """

    weight: str
    value: Tensor
    bias: Tensor | None
    shift: str
    given: Tensor
    geometry: tuple[Any, Any, Any] | tuple[()]

    def rows(self, positions: int) -> Tensor:
        """Returns what the weight is multiplied with, as (n, I * h * w) rows.

        Args:
            positions: Output positions to take of every image, at most; drawn once for each number of positions, so
                that networks of one geometry are seen at the same places.
        """
        if not self.geometry:
            given = self.given if self.given.dim() > 1 else self.given[None]
            flat = given.reshape(len(given), -1, given.shape[-1])
            return flat[:, _drawn(flat.shape[1], positions)].flatten(0, 1)
        stride, padding, dilation = (_pair(each) for each in self.geometry)
        size = tuple(self.value.shape[2:])
        images = functional.pad(self.given, _around(padding, size, dilation))
        high, wide = (
            (images.shape[dim + 2] - dilation[dim] * (size[dim] - 1) - 1) // stride[dim] + 1 for dim in (0, 1)
        )
        place = _drawn(high * wide, positions)
        down, right = (
            ((start * stride[dim])[:, None] + torch.arange(size[dim]) * dilation[dim]).to(images.device)
            for dim, start in ((0, place // wide), (1, place % wide))
        )
        patches = images[:, :, down[:, :, None], right[:, None, :]]  # (N, I, positions, h, w)
        return patches.permute(0, 2, 1, 3, 4).flatten(2).flatten(0, 1)


class Calls(TorchFunctionMode):
    """Tells of every `Call` just before it is carried out; a context manager around the network's forward pass.

    Args:
        network: Whose weights are watched.
        tell: Called with each; may change the weight's and the bias's values in place.
    """

    def __init__(self, network: nn.Module, tell: Callable[[Call], None]) -> None:
        super().__init__()
        self._names = {id(parameter): name for name, parameter in network.named_parameters()}
        self._tell = tell

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READERS:
            call = _READERS[func](self._names, *args, **(kwargs or {}))
            if call is not None:
                # What is made of it is not rounded, where the network's own code lets it run in half precision.
                with torch.autocast(call.given.device.type, enabled=False):
                    self._tell(replace(call, given=call.given.to(call.value.dtype)))
        return func(*args, **(kwargs or {}))


def _convolution(
    names: dict[int, str],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call | None:
    name = names.get(id(weight))
    if name is None or groups > 1 or input.dim() != 4:
        return None
    return Call(name, weight, bias, names.get(id(bias), ""), input, (stride, padding, dilation))


def _linear(names: dict[int, str], input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call | None:
    name = names.get(id(weight))
    return None if name is None else Call(name, weight, bias, names.get(id(bias), ""), input, ())


class _Reads(TorchDispatchMode):
    """Counts the operations that read the values of parameters.

    Args:
        network: Whose parameters are watched.

    Attributes:
        counts: Of operations, by name of the parameter.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()
        self._within: dict[int, list[tuple[range, str]]] = defaultdict(list)
        for name, each in network.named_parameters():
            start = int(each.storage_offset())
            place = range(start, start + each.numel()), name
            self._within[each.untyped_storage().data_ptr()].append(place)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            for tensor in tensors((args, kwargs)):
                places = self._within.get(tensor.untyped_storage().data_ptr(), ())
                self.counts.update(name for place, name in places if tensor.storage_offset() in place)
        return func(*args, **(kwargs or {}))


def read_once(network: nn.Module, images: Tensor) -> set[str]:
    """Returns the names of the parameters that one operation alone reads, transposed or as they are."""
    reads = _Reads(network)
    with torch.no_grad(), reads:
        network(images.clone())  # which some change in place
    return {name for name, count in reads.counts.items() if count == 1}


_READERS: dict[Any, Callable[..., Call | None]] = {functional.conv2d: _convolution, functional.linear: _linear}


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else tuple(value) * 2 if len(value) == 1 else value


def _around(padding: Any, size: tuple[int, ...], dilation: tuple[int, int]) -> list[int]:
    """Padding as `functional.pad` takes it: left, right, above, below."""
    if padding == "valid":
        return [0, 0, 0, 0]
    if padding == "same":
        total = [dilation[dim] * (size[dim] - 1) for dim in (1, 0)]
        return [side for each in total for side in (each // 2, each - each // 2)]
    return [padding[1], padding[1], padding[0], padding[0]]


def _drawn(count: int, positions: int) -> Tensor:
    """Some of `count` positions, the same at every call; all of them where there are no more."""
    if count <= positions:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(count))[:positions].sort().values
