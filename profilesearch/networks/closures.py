"""Functions that a network keeps and that hold it: a copy of the network has the very same, which run the first one."""

from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
"""The hooks that decide what a forward pass gives."""


def holding_functions(network: nn.Module) -> Iterator[str]:
    """Names attributes and forward hooks that are functions, not methods, and hold a part of the network.

    Such as a hook within `__init__` that says `self.features = output`, or `net.forward = wrap(net.forward)`: a copy of
    the network is given the same function, which runs the layers of the first one and leaves there what it found.

    Args:
        network: Any.
    """
    held = set(map(id, network.modules()))
    for module in network.modules():
        held |= {id(each) for name, each in vars(module).items() if isinstance(each, dict | list) and name[:1] != "_"}
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            decides = name in _HOOKS or not name.endswith("_hooks")
            if decides and any(_holds(each, held) for each in _functions(value)):
                yield f"{path}.{name}".removeprefix(".")


def _functions(value: Any) -> Iterator[FunctionType]:
    """Yields the functions that an attribute is, or that it has."""
    several = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else (value,)
    yield from (each for each in several if isinstance(each, FunctionType))


def _holds(function: FunctionType, held: set[int], inside: tuple[FunctionType, ...] = ()) -> bool:
    """Says whether a function, or one within it, has something in its closure or among its defaults."""
    given = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            given.append(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    inner = [each for each in given if isinstance(each, FunctionType) and each not in inside]
    owners = (each.__self__ if isinstance(each, MethodType) else each for each in given)
    return any(id(each) in held for each in owners) or any(_holds(each, held, (*inside, function)) for each in inner)
