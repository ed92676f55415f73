"""How much is measured of a policy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How much is measured on each architecture and budget.

    Attributes:
        keeps: Budgets.
        draws: Random profiles.
        search: Evaluations of a PPO search on the very architecture; 0 for none.
        equal_params: Whether all profiles have the parameters of uniform, too.
        as_applied: Whether they are judged by what `apply` makes of them, with the blend beside.
    """

    keeps: tuple[float, ...] = (0.3, 0.5, 0.7)
    draws: int = 100
    search: int = 300
    equal_params: bool = False
    as_applied: bool = False
