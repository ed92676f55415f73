"""What can be asked for of networks, by name: read without torch, which takes seconds."""

from pathlib import Path
from typing import Literal

from profilesearch.errors import UsageError
from profilesearch.profiles import Budget

Criterion = Literal["random", "l1", "l2", "fpgm", "bn", "taylor", "reconstruction"]
CRITERIA: tuple[Criterion, ...] = ("random", "l1", "l2", "fpgm", "bn", "taylor", "reconstruction")
"""Which channels of a group stay."""
SEEING: tuple[Criterion, ...] = ("taylor", "reconstruction")
"""Criteria that look at images."""
DRAWN: tuple[Criterion, ...] = ("random",)
"""Those that the seed matters to."""
AUTO = "auto"
"""Stands for what is found out by measurement: the best refit, the fastest multiple of channels."""
Inputs = Literal["sequential", "full"]
INPUTS: tuple[Inputs, ...] = ("sequential", "full")
"""On what layers are refitted."""
AS_CUT = "as cut"
"""What a refit is called that leaves all weights alone, since any other would take the outputs further away."""
REFITS = (AUTO, *INPUTS, "none")
"""What may be asked for: `auto` finds out what is best, `none` fits no weight, BatchNorm takes new statistics."""
UNIFORM, WIDEST, TAPER, RANDOM = UNSEARCHED = ("uniform", "widest", "taper", "random")
"""Profiles that need no search."""
CONTENDERS = (UNIFORM, WIDEST)
"""What every search must beat."""
TIMM = "timm:"
"""What names of timm's architectures start with."""
POLICY, SENSITIVITY, BLEND = "policy", "sensitivity", "blend"
NAMED = (*UNSEARCHED, POLICY, SENSITIVITY, BLEND)
"""Profiles by name, none of which needs a search on the network at hand."""


def folder_name(name: str) -> str:
    """Returns an architecture's name as that of a folder."""
    return name.replace(":", "--")


def architecture_of(folder: str) -> str:
    """Returns the architecture that a folder is named after."""
    return folder.replace("--", ":")


def entry_of(path: Path) -> tuple[Path, str]:
    """Splits `FILE#ENTRY`, one of several networks in a file; the entry is empty where a file has that very name."""
    name, _, entry = path.name.rpartition("#")
    return (path, "") if not name or path.exists() else (path.with_name(name), entry)


def other_rival(name: str) -> str:
    """Returns another profile that needs no search."""
    return next(each for each in UNSEARCHED if each != name)


def check_rival(name: str, budget: Budget) -> None:
    """Refuses a rival that a budget leaves no room for.

    Raises:
        UsageError: The widest profile is asked for under a budget that fixes the parameters as well.
    """
    if name == WIDEST and budget.keep_params is not None:
        raise UsageError(
            f"'widest' is the profile with most parameters, and a budget of {budget.text} fixes these; take uniform, "
            "taper or random, or leave `keep_params` out"
        )
