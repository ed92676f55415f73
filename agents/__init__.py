"""Searchers: everything that proposes profiles under a budget of evaluations."""

from agents.base import Evaluation, Finalist, Result, Searcher
from agents.baselines import ExhaustiveSearcher, RandomSearcher, TaperSearcher, UniformSearcher, WidestSearcher
from agents.family import Family, search_family
from agents.optuna_samplers import CmaEsSearcher, OptunaSearcher, TpeSearcher
from agents.ppo import PpoSearcher, PpoSettings
from profilesearch.errors import UsageError, choose

_ALL: tuple[type[Searcher], ...] = (
    PpoSearcher,
    RandomSearcher,
    ExhaustiveSearcher,
    UniformSearcher,
    WidestSearcher,
    TaperSearcher,
    TpeSearcher,
    CmaEsSearcher,
)
SEARCHERS: dict[str, type[Searcher]] = {searcher.name: searcher for searcher in _ALL}


def make_searcher(name: str, storage: str | None = None) -> Searcher:
    """Returns a searcher by name.

    Args:
        name: One of `SEARCHERS`.
        storage: Of Optuna, for its samplers: several processes share one search.

    Raises:
        UsageError: The name is unknown, or the searcher has no use for a storage.
    """
    kind = SEARCHERS[choose("searcher", name, SEARCHERS)]
    if storage is None:
        return kind()
    if not issubclass(kind, OptunaSearcher):
        raise UsageError(f"--storage is for Optuna's searchers, tpe and cmaes, not for {name}")
    return kind(storage)


__all__ = [
    "SEARCHERS",
    "CmaEsSearcher",
    "Evaluation",
    "ExhaustiveSearcher",
    "Family",
    "Finalist",
    "PpoSearcher",
    "PpoSettings",
    "RandomSearcher",
    "Result",
    "Searcher",
    "TaperSearcher",
    "TpeSearcher",
    "UniformSearcher",
    "WidestSearcher",
    "make_searcher",
    "search_family",
]
