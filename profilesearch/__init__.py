"""Out-of-the-box layer-wise channel pruning profiles: found once by reinforcement learning, used anywhere."""

import importlib
from typing import TYPE_CHECKING, Any

from profilesearch.cli import starting

starting.prepare()

if TYPE_CHECKING:
    from profilesearch.errors import UsageError
    from profilesearch.networks.checkpoints import load_network, load_pruned, save_network
    from profilesearch.profiles import Budget, Profile
    from profilesearch.pruning import prune_with_profile, reestimate_statistics
    from profilesearch.refitting import refit_weights
    from profilesearch.searching import search
    from profilesearch.smaller import Smaller, prune
    from profilesearch.tasks.data import load_data

__all__ = [
    "Budget",
    "Profile",
    "Smaller",
    "UsageError",
    "load_data",
    "load_network",
    "load_pruned",
    "prune",
    "prune_with_profile",
    "reestimate_statistics",
    "refit_weights",
    "save_network",
    "search",
]
__version__ = "0.1.0"
_HOMES = {
    "errors": ("UsageError",),
    "networks.checkpoints": ("load_network", "load_pruned", "save_network"),
    "profiles": ("Budget", "Profile"),
    "pruning": ("prune_with_profile", "reestimate_statistics"),
    "refitting": ("refit_weights",),
    "searching": ("search",),
    "smaller": ("Smaller", "prune"),
    "tasks.data": ("load_data",),
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: torch takes seconds, which `--help` has no use for."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
