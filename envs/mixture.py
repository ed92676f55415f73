"""Several problems in one environment: what an episode is drawn from, and rewards that can be compared between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from envs.reward import reward
from profilesearch.errors import UsageError, choose
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray
from profilesearch.profiles import Budget, Metric
from profilesearch.scoring.names import CVAR, MEAN, MIXED_METRICS, WORST
from profilesearch.scoring.problem import Problem

KEEPS = (0.2, 0.9)
"""Budgets that episodes are drawn from, as fractions of the cost."""
LEVELS, DRAWS = 5, 8
"""Budgets on which random profiles are measured, and how many on each."""
_SMALLEST, _LARGEST = 0.02, 4.0
"""A spread below this is that of the images; a gain of more spreads than that is no better."""
_ROOM = 1.02

OBJECTIVES: dict[str, Callable[[FloatArray], FloatArray]] = {
    MEAN: lambda gains: gains.mean(axis=1),
    WORST: lambda gains: gains.min(axis=1),
    CVAR: lambda gains: np.sort(gains, axis=1)[:, : max(1, gains.shape[1] // 2)].mean(axis=1),
}
"""What is made of gains (N, M) over the members of a pool: their mean, the worst, or the mean of the worse half."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What profiles without a search reach on one problem, over its budgets.

    Attributes:
        keeps: Budgets, shape (L,), ascending.
        uniform: Accuracy of the uniform profile, relative to the unpruned members, shape (L, M).
        spread: Standard deviation of that of random profiles, shape (L, M).
    """

    keeps: FloatArray
    uniform: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, problem: Problem, keeps: tuple[float, float] = KEEPS) -> "Yardstick":
        """Measures `LEVELS` budgets from the smallest that can be reached; each score once, through the ledger."""
        budget = problem.space.budget
        low, high = reachable(problem, budget.metric, keeps)
        levels = np.linspace(low, high, LEVELS)
        found = []
        for number, keep in enumerate(levels):
            there = problem.with_budget(replace(budget, keep=float(keep)))
            drawn = there.space.sample(DRAWS, np.random.default_rng([number, DRAWS]))
            relative = there.relative(there.evaluate(np.concatenate([there.space.uniform()[None], drawn])))
            found.append((relative[0], relative[1:].std(axis=0, ddof=1)))
        uniform, spread = (np.array(each) for each in zip(*found, strict=True))
        return cls(levels, uniform, spread)

    def gains(self, relative: FloatArray, keep: float) -> FloatArray:
        """Returns gains over the uniform profile of the same cost in spreads of random ones; both (N, M)."""
        uniform, spread = (self._at(keep, values) for values in (self.uniform, self.spread))
        gains: FloatArray = np.clip((relative - uniform) / np.maximum(spread, _SMALLEST), -_LARGEST, _LARGEST)
        return gains

    def _at(self, keep: float, values: FloatArray) -> FloatArray:
        return np.array([np.interp(keep, self.keeps, column) for column in values.T])


def reachable(problem: Problem, metric: Metric, keeps: tuple[float, float]) -> tuple[float, float]:
    """Returns the part of a range of budgets that profiles of a problem can reach.

    Raises:
        UsageError: There is none.
    """
    space = problem.space
    low = max(keeps[0], _ROOM * float(space.cost.relative(space.ends[0], metric)))
    if low > keeps[1]:
        raise UsageError(
            f"{space.architecture} in scope '{space.scope}' cannot keep {keeps[1]:g} of the {metric} or less; its "
            f"smallest profile keeps {low:.3f}: leave it out, or take a larger range"
        )
    return low, keeps[1]


@dataclass(frozen=True, eq=False)
class Case:
    """What one episode is about.

    Attributes:
        problem: An architecture with its pool, under a budget.
        yardstick: What profiles without a search reach there.
        objective: A name in `OBJECTIVES`.
    """

    problem: Problem
    yardstick: Yardstick
    objective: str = "mean"

    def gains(self, accuracies: FloatArray) -> FloatArray:
        """Returns what profiles with these accuracies, (N, M), are worth, in spreads of random ones, shape (N,)."""
        gains = self.yardstick.gains(self.problem.relative(accuracies), self.problem.space.budget.keep)
        return OBJECTIVES[self.objective](gains)

    def rewards(self, accuracies: FloatArray, own_cost: FloatArray, weight: float) -> FloatArray:
        """Returns the rewards of finished episodes, shape (N,)."""
        return reward(self.gains(accuracies), own_cost, self.problem.space.budget.keep, weight)


class Mixture:
    """Draws what episodes are about: an architecture, a metric and a budget, each evenly.

    Args:
        problems: One for each architecture; of their budgets, only the metric `latency` is refused.
        keeps: Range of the budgets, as fractions of the cost; what an architecture cannot reach is left out.
        metrics: Of the budgets: `macs` and `params`.
        objective: What is made of the gains over the members of a pool, a name in `OBJECTIVES`.

    Raises:
        UsageError: There is no problem, two have one name, a choice is unknown, or a range out of reach.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        keeps: tuple[float, float] = KEEPS,
        metrics: Sequence[Metric] = ("macs",),
        objective: str = "mean",
    ) -> None:
        names = [problem.space.architecture for problem in problems]
        if not names or len(set(names)) < len(names):
            raise UsageError("give one problem or more, each of another architecture")
        if not metrics or not 0 < keeps[0] <= keeps[1] <= 1:
            raise UsageError("give one metric or more, and a range of budgets in (0, 1], the smallest first")
        for metric in metrics:
            choose("metric for several architectures", metric, MIXED_METRICS)
            for problem in problems:
                reachable(problem, metric, keeps)  # what is out of reach is refused before any work
        choose("objective", objective, OBJECTIVES)
        self.problems = dict(zip(names, problems, strict=True))
        self.keeps, self.metrics, self.objective = keeps, tuple(metrics), objective
        self._yardsticks: dict[tuple[str, Metric], Yardstick] = {}

    def draw(self, random: np.random.Generator) -> Case:
        """Draws a case."""
        name, metric, share = self._draws(random)
        return self.case(name, self._keep(name, metric, share), metric)

    def _draws(self, random: np.random.Generator) -> tuple[str, Metric, float]:
        """Draws an architecture, a metric, and a share of the budgets that are in reach."""
        name = str(random.choice(list(self.problems)))
        return name, self.metrics[int(random.integers(len(self.metrics)))], float(random.random())

    def _keep(self, name: str, metric: Metric, share: float) -> float:
        """Returns the budget at a share of the range that an architecture can reach."""
        low, high = reachable(self.problems[name], metric, self.keeps)
        return low + (high - low) * share

    def case(self, name: str, keep: float, metric: Metric = "macs") -> Case:
        """Returns the case of a given architecture and budget; what it needs to know is measured once.

        Raises:
            UsageError: The architecture is unknown, or the budget out of reach or range: rewards have no scale there.
        """
        problem = self.problems[choose("architecture of the environment", name, self.problems)]
        budget = Budget(metric, keep)
        low, high = reachable(problem, metric, self.keeps)
        if not low <= budget.keep <= high:
            raise UsageError(
                f"keep {budget.keep:g} is outside of the budgets of this environment for {name}, {low:.3f} to "
                f"{high:g} of the {metric}; give Mixture(problems, keeps=(LOW, HIGH)) a wider range"
            )
        if (name, metric) not in self._yardsticks:
            there = problem.with_budget(Budget(metric, high))
            self._yardsticks[name, metric] = Yardstick.of(there, self.keeps)
        return Case(problem.with_budget(budget), self._yardsticks[name, metric], self.objective)

    def chosen(self, random: np.random.Generator, options: dict[str, Any]) -> Case:
        """Draws a case of which some is given: `architecture`, `keep` or `metric`.

        Raises:
            UsageError: An option is unknown, or its value.
        """
        for option in options:
            choose("reset option", option, ("architecture", "keep", "metric"))
        drawn_name, drawn_metric, share = self._draws(random)
        name = choose("architecture of the environment", options.get("architecture") or drawn_name, self.problems)
        metric: Metric = choose("metric", options.get("metric") or drawn_metric, self.metrics)  # type: ignore[assignment]
        keep = options.get("keep")
        return self.case(name, self._keep(name, metric, share) if keep is None else keep, metric)


def finished_info(case: Case, widths: IntArray, own_cost: float, accuracies: FloatArray) -> dict[str, Any]:
    """Returns what the environment says of one finished episode of a case."""
    return {
        "widths": widths,
        "own_cost": own_cost,
        "accuracies": accuracies,
        "architecture": case.problem.space.architecture,
        "keep": case.problem.space.budget.keep,
        "gain": float(case.gains(accuracies[None])[0]),
    }
