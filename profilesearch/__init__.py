"""Out-of-the-box layer-wise channel pruning profiles: found once by reinforcement learning, used anywhere."""

from profilesearch import starting

starting.prepare()

from profilesearch.errors import UsageError  # noqa: E402  the imports that take time
from profilesearch.networks.checkpoints import load_network, load_pruned, save_network  # noqa: E402
from profilesearch.profiles import Budget, Profile  # noqa: E402
from profilesearch.pruning import prune_with_profile, reestimate_statistics, refit_weights  # noqa: E402
from profilesearch.searching import search  # noqa: E402
from profilesearch.smaller import Smaller, prune  # noqa: E402
from profilesearch.tasks.data import load_data  # noqa: E402

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
