"""The operations that torch's counter of floating-point operations counts, and what kernels they use."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from profilesearch.errors import UsageError

_OPERANDS = {"convolution": (1, 1), "mm": (1, 0), "bmm": (1, 0), "addmm": (2, 1), "baddbmm": (2, 1)}
"""By operation: which arguments may be a parameter."""


_UNNAMED = "(kernel of operation "
"""How the names of kernels begin that are no parameters."""
BATCHED = {"bmm", "baddbmm"}
"""Operations on a batch of matrices."""


class Kernel(NamedTuple):
    """A parameter or buffer that an operation uses whole, and as it is but for the order of its dimensions.

    Attributes:
        name: Of the parameter or buffer.
        dims: Which of its dimensions each dimension of the operand is; None for one that only repeats it.
    """

    name: str
    dims: tuple[int | None, ...]


class Kernels:
    """Finds the parameters and buffers of a network among the operands of operations, by where their values lie.

    Args:
        model: The network.
    """

    def __init__(self, model: nn.Module) -> None:
        named = (*model.named_parameters(), *model.named_buffers())
        self._named = {_place(tensor): (name, tensor) for name, tensor in named if tensor.numel()}

    def cast(self, operand: Tensor, made: Tensor) -> None:
        """Notes that a tensor is a parameter or buffer in another precision, as `autocast` makes one."""
        name, tensor = self._named.get(_place(operand), ("", operand))
        same = (operand.shape, operand.stride(), made.stride()) == (tensor.shape, tensor.stride(), tensor.stride())
        if name and same:
            self._named[_place(made)] = name, made

    def find(self, operand: Tensor, batched: bool = False) -> Kernel | None:
        """Returns what an operand is a view of; None for a part of a parameter, and for what is computed on the fly.

        Args:
            operand: Of any operation.
            batched: Whether it may repeat the parameter along its first dimension, for each image of a batch.
        """
        name, tensor = self._named.get(_place(operand), ("", operand))
        if not name:
            return None
        if (operand.shape, operand.stride()) == (tensor.shape, tensor.stride()):
            return Kernel(name, tuple(range(tensor.dim())))
        whole = {stride: dim for dim, (size, stride) in enumerate(_lines(tensor)) if size > 1}
        dims = tuple(whole.get(stride) if size > 1 else None for size, stride in _lines(operand))
        found = [(dim, size) for dim, size in zip(dims, operand.shape, strict=True) if dim is not None]
        fits = all(tensor.shape[dim] == size for dim, size in found)
        fits &= (
            operand[0].numel() == tensor.numel() if batched and dims[0] is None else operand.numel() == tensor.numel()
        )
        return Kernel(name, dims) if fits and sorted(dim for dim, _ in found) == sorted(whole.values()) else None


def _place(tensor: Tensor) -> tuple[int, int]:
    return tensor.untyped_storage().data_ptr(), int(tensor.storage_offset())


def _lines(tensor: Tensor) -> list[tuple[int, int]]:
    return list(zip(tensor.shape, tensor.stride(), strict=True))


@dataclass(frozen=True)
class Use:
    """One operation that is counted.

    Attributes:
        operation: Name in torch's own set, such as `convolution`.
        kernel: Name of the parameter or buffer that is its kernel, whole; a name of its own where that is computed on
            the fly, or where there is none.
        shape: Of the kernel; of no dimension where there is none.
        turned: Whether a matrix product takes its inputs along the kernel's first dimension.
        macs: Its multiply-adds.
        given: Shape of its input.
        settings: What else it was called with.
    """

    operation: str
    kernel: str
    shape: tuple[int, ...]
    turned: bool
    macs: int
    given: tuple[int, ...]
    settings: tuple[Any, ...]


def is_counted(func: Any) -> bool:
    """Says whether torch's counter counts an operation."""
    return getattr(func, "overloadpacket", None) in flop_registry


def counted_name(number: int) -> str:
    """Names the kernel of a counted operation, by their order, where it is no parameter."""
    return f"{_UNNAMED}{number})"


def is_unnamed(kernel: str) -> bool:
    """Says whether a kernel's name is one of those that stand for no parameter."""
    return kernel.startswith(_UNNAMED)


def uses(model: nn.Module, example: Tensor) -> list[Use]:
    """Runs a network once, and returns all operations that are counted, in order.

    Args:
        model: In evaluation mode.
        example: A batch of images.

    Raises:
        UsageError: Torch's counter counts otherwise.
    """
    watching = _Watching(model)
    with _counter(model) as counter, watching:
        model(example.clone())  # which some change in place
    ours, theirs = sum(use.macs for use in watching.seen), counter.get_total_flops() // 2
    if ours != theirs:
        raise UsageError(
            f"{type(model).__name__} has {ours} multiply-adds by our count and {theirs} by torch's; no budget can be "
            "kept on such a network"
        )
    return watching.seen


def counted_macs(model: nn.Module, example: Tensor) -> int:
    """Returns the multiply-adds of a batch of images by torch's counter; the network is in evaluation mode."""
    with _counter(model) as counter:
        model(example.clone())  # which some change in place
    return int(counter.get_total_flops() // 2)


@contextmanager
def _counter(model: nn.Module) -> Iterator[FlopCounterMode]:
    """Counts what a network runs, without gradients, which torch's counter expects of any view of a parameter."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        with torch.no_grad(), slow_attention(), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        for parameter in learned:
            parameter.requires_grad_()


@contextmanager
def slow_attention() -> Iterator[None]:
    """Lets torch's attention layers take the path whose operations can be seen and counted.

    What stays uncounted on a CPU are the two products inside of the fused kernel, queries by keys and their scores by
    values, which torch's counter leaves out there: 46 of the 4,409 million multiply-adds of torchvision's vit_b_32. No
    profile changes them.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Watching(TorchDispatchMode):
    """Notes the operations that are counted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kernels = Kernels(model)
        self._shapes = {
            name: tuple(tensor.shape) for name, tensor in (*model.named_parameters(), *model.named_buffers())
        }
        self.seen: list[Use] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self._kernels.cast(args[0], out)
        if is_counted(func):
            macs = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out) // 2
            self.seen.append(self._use(func.overloadpacket.__name__, args, macs))
        return out

    def _use(self, operation: str, args: tuple[Any, ...], macs: int) -> Use:
        settings = tuple(each for each in args if not isinstance(each, Tensor) and each is not None)
        for place in _OPERANDS.get(operation, ()):
            kernel = self._kernels.find(args[place], operation in BATCHED)
            if kernel is None:
                continue
            right = place == _OPERANDS[operation][0]
            given = args[0 if operation == "convolution" else sum(_OPERANDS[operation]) - place]
            takes, makes = kernel.dims[-2:] if right else kernel.dims[:-3:-1]
            turned = takes is not None and makes is not None and takes < makes
            return Use(operation, kernel.name, self._shapes[kernel.name], turned, macs, tuple(given.shape), settings)
        weight = tuple(args[1].shape) if operation == "convolution" else ()
        return Use(operation, counted_name(len(self.seen)), weight, False, macs, tuple(args[0].shape), settings)
