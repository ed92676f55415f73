"""The searchers by name: read without torch, which a searcher imports when it is used."""

from collections.abc import Mapping
from importlib.metadata import entry_points

from profilesearch.errors import UsageError

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
LEARNING, SHARING = ("ppo", "ppo-sensitivity"), ("tpe", "cmaes")
"""Those of ours that take hyperparameters of PPO, and those that take a storage of Optuna."""
ENTRY_POINTS = "profilesearch.searchers"
"""Group of entry points under which other packages name their searchers."""


def check_told(
    name: str, ppo: object, start: object, storage: object, learns: bool | None = None, shares: bool | None = None
) -> None:
    """Checks that a searcher has a use for what it is told; what it is told counts where it is not None.

    Args:
        name: Of the searcher.
        ppo: Hyperparameters of PPO.
        start: A policy that PPO starts from.
        storage: Of Optuna.
        learns: Whether it takes the first two; as its name says where None.
        shares: Whether it takes the last one, likewise.

    Raises:
        UsageError: It has none.
    """
    learns, shares = (name in LEARNING) if learns is None else learns, (name in SHARING) if shares is None else shares
    if ppo is not None and not learns:
        raise UsageError(f"hyperparameters of PPO are for the searcher ppo, not for {name}; leave out `ppo`")
    if start is not None and not learns:
        raise UsageError(f"a policy to start from is for the searcher ppo, not for {name}; leave out `start`")
    if storage is not None and not shares:
        raise UsageError(f"`storage` is for Optuna's searchers, tpe and cmaes, not for {name}")


def searcher_names() -> tuple[str, ...]:
    """Returns the names of all searchers: ours, then those of other installed packages, which are not imported yet."""
    return tuple(dict.fromkeys([*OWN, *(point.name for point in entry_points(group=ENTRY_POINTS))]))
