"""Searchers: everything that proposes profiles under a budget of evaluations."""

from agents.base import Evaluation, Finalist, Result, Searcher
from agents.baselines import ExhaustiveSearcher, RandomSearcher, UniformSearcher
from agents.family import Family, search_family
from agents.optuna_samplers import CmaEsSearcher, TpeSearcher
from agents.ppo import PpoSearcher, PpoSettings

_ALL: tuple[type[Searcher], ...] = (
    PpoSearcher,
    RandomSearcher,
    ExhaustiveSearcher,
    UniformSearcher,
    TpeSearcher,
    CmaEsSearcher,
)
SEARCHERS: dict[str, type[Searcher]] = {searcher.name: searcher for searcher in _ALL}

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
    "TpeSearcher",
    "UniformSearcher",
    "search_family",
]
