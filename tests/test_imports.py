"""Imports run one way, so that what lies below can be read, tested and replaced without what lies above."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
PACKAGES = ("profilesearch", "envs", "agents")


def imported(file: Path) -> Iterator[str]:
    """Yields the modules of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in PACKAGES)


def part_of(module: str) -> str:
    """Returns what a module belongs to: a package, or a module directly below `profilesearch`."""
    return ".".join(module.split(".")[: 2 if module.startswith("profilesearch.") else 1])


def parts() -> dict[str, set[str]]:
    """Returns the parts of the library, each with those that it imports."""
    found: dict[str, set[str]] = {}
    for file in (path for package in PACKAGES for path in (HOME / package).rglob("*.py")):
        if file == HOME / "profilesearch" / "__init__.py":
            continue  # the library's face: it imports what is asked of it, later
        part = part_of(".".join(file.relative_to(HOME).with_suffix("").parts))
        found.setdefault(part, set()).update(each for each in map(part_of, imported(file)) if each != part)
    return found


def test_no_part_is_above_and_below_another() -> None:
    try:
        order = list(TopologicalSorter(parts()).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
    place = {part.removeprefix("profilesearch."): number for number, part in enumerate(order)}
    for low, high in (
        ("networks", "tasks"),
        ("tasks", "measure"),
        ("tasks", "scoring"),
        ("measure", "pruning"),
        ("scoring", "envs"),
        ("envs", "agents"),
        ("agents", "searching"),
        ("pruning", "cli"),
        ("cli", "apply"),
    ):
        assert place[low] < place[high]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_tell_type_checkers_that_they_have_types(package: str) -> None:
    assert (resources.files(package) / "py.typed").is_file()
