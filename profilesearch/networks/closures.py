"""Functions that a network keeps and that hold it: a copy of the network has the very same, which run the first one."""

from collections.abc import Iterator, Mapping
from dis import get_instructions
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
"""The hooks that decide what a forward pass gives."""
_COMPILED = "_compiled_call_impl"
"""What `network.compile()` leaves: torch gives it to no copy."""


def holding_functions(network: nn.Module) -> Iterator[str]:
    """Names attributes and forward hooks that are functions, not plain methods, and hold a part of the network.

    Such as a hook within `__init__` that says `self.features = output`, or `net.forward = wrap(net.forward)`: a copy of
    the network is given the same function, which runs the layers of the first one and leaves there what it found.

    Args:
        network: Any.
    """
    held = set(map(id, (*network.modules(), *network.parameters(), *network.buffers())))
    for module in network.modules():
        held |= {id(each) for name, each in vars(module).items() if isinstance(each, dict | list) and name[:1] != "_"}
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            decides = name in _HOOKS or not (name.endswith("_hooks") or name == _COMPILED)
            if decides and any(_holds(each, held) for each in _functions(value)):
                yield f"{path}.{name}".removeprefix(".")


def _functions(value: Any) -> Iterator[FunctionType]:
    """Yields the functions that an attribute is, or that it has, also those that copies of what binds them share."""
    several = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else (value,)
    yield from (found for each in several if isinstance(found := _unbound(each), FunctionType))


def _unbound(value: Any) -> Any:
    while isinstance(value, partial | MethodType):
        value = value.func if isinstance(value, partial) else value.__func__
    return value


def _holds(function: FunctionType, held: set[int], inside: tuple[FunctionType, ...] = ()) -> bool:
    """Says whether a function, or one within it, has something in its closure, among its defaults, or as a global."""
    given = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            given.append(cell.cell_contents)
        except ValueError:  # not set yet
            continue
    steps = list(get_instructions(function))
    named = [function.__globals__.get(step.argval) for step in steps if step.opname == "LOAD_GLOBAL"]
    inner = [each for each in given if isinstance(each, FunctionType) and each not in inside]
    owners = (each.__self__ if isinstance(each, MethodType) else each for each in (*given, *named))
    writes = any(step.opname == "STORE_SUBSCR" for step in steps)
    return any(id(each) in held and (writes or not _is_settings(each)) for each in owners) or any(
        _holds(each, held, (*inside, function)) for each in inner
    )


def _is_settings(value: Any) -> bool:
    """Says whether a list or a dictionary has plain data alone, as settings have that are looked up there."""
    several = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return bool(several) and all(
        each is None or isinstance(each, str | int | float) or _is_settings(each) for each in several
    )
