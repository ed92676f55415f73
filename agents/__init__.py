"""Searchers: everything that proposes profiles under a budget of evaluations."""

from typing import TYPE_CHECKING

from profilesearch.system.lazily import lazily

if TYPE_CHECKING:
    from agents.base import Evaluation, Finalist, Result, Searcher, Trial
    from agents.baselines import ExhaustiveSearcher, RandomSearcher, TaperSearcher, UniformSearcher, WidestSearcher
    from agents.family import Family, search_family
    from agents.making import SEARCHERS, make_searcher, searcher_kind
    from agents.optuna_samplers import CmaEsSearcher, TpeSearcher
    from agents.ppo import PpoSearcher
    from agents.ppo_settings import PpoSettings
    from agents.registry import searcher_names
    from agents.sensitivity import PpoSensitivitySearcher, SensitivitySearcher, pool_losses

__all__ = [
    "SEARCHERS",
    "CmaEsSearcher",
    "Evaluation",
    "ExhaustiveSearcher",
    "Family",
    "Finalist",
    "PpoSearcher",
    "PpoSensitivitySearcher",
    "PpoSettings",
    "RandomSearcher",
    "Result",
    "Searcher",
    "SensitivitySearcher",
    "TaperSearcher",
    "TpeSearcher",
    "Trial",
    "UniformSearcher",
    "WidestSearcher",
    "make_searcher",
    "pool_losses",
    "search_family",
    "searcher_kind",
    "searcher_names",
]
__getattr__, __dir__ = lazily(
    __name__,
    {
        "base": ("Evaluation", "Finalist", "Result", "Searcher", "Trial"),
        "baselines": (
            "ExhaustiveSearcher", "RandomSearcher", "TaperSearcher", "UniformSearcher", "WidestSearcher",
        ),
        "family": ("Family", "search_family"),
        "making": ("SEARCHERS", "make_searcher", "searcher_kind"),
        "optuna_samplers": ("CmaEsSearcher", "TpeSearcher"),
        "ppo": ("PpoSearcher",),
        "ppo_settings": ("PpoSettings",),
        "registry": ("searcher_names",),
        "sensitivity": ("PpoSensitivitySearcher", "SensitivitySearcher", "pool_losses"),
    },
)  # fmt: skip
