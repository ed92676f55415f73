"""The searchers by name: read without torch, which a searcher imports when it is used."""

from collections.abc import Mapping
from importlib.metadata import entry_points

OWN: Mapping[str, str] = {
    "ppo": "agents.ppo:PpoSearcher",
    "ppo-sensitivity": "agents.sensitivity:PpoSensitivitySearcher",
    "random": "agents.baselines:RandomSearcher",
    "exhaustive": "agents.baselines:ExhaustiveSearcher",
    "uniform": "agents.baselines:UniformSearcher",
    "widest": "agents.baselines:WidestSearcher",
    "taper": "agents.baselines:TaperSearcher",
    "sensitivity": "agents.sensitivity:SensitivitySearcher",
    "tpe": "agents.optuna_samplers:TpeSearcher",
    "cmaes": "agents.optuna_samplers:CmaEsSearcher",
}
"""Ours, each with the place of its class, as entry points have it."""
ENTRY_POINTS = "profilesearch.searchers"
"""Group of entry points under which other packages name their searchers."""


def searcher_names() -> tuple[str, ...]:
    """Returns the names of all searchers: ours, then those of other installed packages, which are not imported yet."""
    return tuple(dict.fromkeys([*OWN, *(point.name for point in entry_points(group=ENTRY_POINTS))]))
