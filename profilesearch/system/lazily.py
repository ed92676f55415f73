"""Public names of a package that are imported when they are first used (PEP 562): torch takes seconds."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pkgutil import resolve_name
from typing import Any


def lazily(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], Sequence[str]]]:
    """Returns the `__getattr__` and the `__dir__` of a package.

    Args:
        package: Its name.
        homes: The public names of its modules, by module, relative to the package.
    """
    places = {name: f"{package}.{module}:{name}" for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value = resolve_name(places[name])
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return get, names
