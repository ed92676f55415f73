"""Out-of-the-box layer-wise channel pruning profiles: found once by reinforcement learning, used anywhere."""

from profilesearch.errors import UsageError
from profilesearch.networks.checkpoints import load_network, load_pruned, save_network
from profilesearch.profiles import Budget, Profile
from profilesearch.pruning import prune_with_profile, reestimate_statistics, refit_weights
from profilesearch.tasks.data import load_data

__all__ = [
    "Budget",
    "Profile",
    "UsageError",
    "load_data",
    "load_network",
    "load_pruned",
    "prune_with_profile",
    "reestimate_statistics",
    "refit_weights",
    "save_network",
]
__version__ = "0.1.0"
