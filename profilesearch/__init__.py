"""Out-of-the-box layer-wise channel pruning profiles: found once by reinforcement learning, used anywhere."""

from typing import TYPE_CHECKING

from profilesearch.cli import starting
from profilesearch.system.lazily import lazily

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
__getattr__, __dir__ = lazily(
    __name__,
    {
        "errors": ("UsageError",),
        "networks.checkpoints": ("load_network", "load_pruned", "save_network"),
        "profiles": ("Budget", "Profile"),
        "pruning": ("prune_with_profile", "reestimate_statistics"),
        "refitting": ("refit_weights",),
        "searching": ("search",),
        "smaller": ("Smaller", "prune"),
        "tasks.data": ("load_data",),
    },
)
