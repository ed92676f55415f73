"""A searcher by name, ours or another package's, with what it is told."""

from importlib.metadata import entry_points
from pkgutil import resolve_name

from agents.base import Searcher
from agents.optuna_samplers import OptunaSearcher
from agents.ppo import PpoSearcher
from agents.ppo_settings import PpoSettings
from agents.registry import ENTRY_POINTS, OWN, check_told, searcher_names
from envs.policy import Policy
from profilesearch.errors import UsageError, choose

SEARCHERS: dict[str, type[Searcher]] = {name: resolve_name(place) for name, place in OWN.items()}
"""Our classes by name."""


def searcher_kind(name: str) -> type[Searcher]:
    """Returns the class of a searcher by name; ours are found first.

    Raises:
        UsageError: The name is unknown, or another package's searcher cannot be used.
    """
    if choose("searcher", name, searcher_names()) in SEARCHERS:
        return SEARCHERS[name]
    (point, *_) = entry_points(group=ENTRY_POINTS, name=name)
    try:
        kind = point.load()
    except Exception as error:  # whatever another package raises
        raise UsageError(f"the searcher '{name}' of {point.value} cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Searcher) and getattr(kind, "name", None) == name):
        raise UsageError(f"{point.value} is no searcher of the name '{name}'; derive it from agents.Searcher")
    return kind


def make_searcher(
    name: str, storage: str | None = None, ppo: PpoSettings | None = None, start: Policy | None = None
) -> Searcher:
    """Returns a searcher by name.

    Args:
        name: One of `searcher_names()`.
        storage: Of Optuna, for its samplers: several processes share one search.
        ppo: Hyperparameters of PPO.
        start: A policy for any network that PPO starts from.

    Raises:
        UsageError: The name is unknown, or the searcher has no use for a storage or for what is told of PPO.
    """
    kind = searcher_kind(name)
    check_told(name, ppo, start, storage, issubclass(kind, PpoSearcher), issubclass(kind, OptunaSearcher))
    if issubclass(kind, PpoSearcher):
        return kind(ppo, start)
    return kind(storage) if storage is not None and issubclass(kind, OptunaSearcher) else kind()
