"""Leave one family out: what a policy that never saw a family decides for it, beside rivals and a search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from agents.ppo import PpoSearcher
from agents.sensitivity import pool_losses
from envs.policy import Policy
from profilesearch.measure.intervals import mean_interval
from profilesearch.networks.groups import IntArray
from profilesearch.networks.rivals import RIVALS
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget
from profilesearch.research.policy.applied import Applied
from profilesearch.research.policy.sizes import Sizes
from profilesearch.scoring.problem import Problem
from profilesearch.sensitivity import sensitive

RIVAL_NAMES = ("uniform", "widest", "taper", "sensitivity", "blend", "random, median", "random, best", "search")
_OVER_UNIFORM = ("widest", "taper", "sensitivity", "blend", "search")


@dataclass(frozen=True)
class Row:
    """What profiles of equal cost are worth for one architecture, on images that chose none of them.

    Attributes:
        family: That the policy did not learn from.
        architecture: Of that family.
        keep: Budget.
        scores: Accuracy relative to the unpruned members, by name: `policy`, and those of `RIVAL_NAMES`.
        params: Part of the parameters that is left, by name.
        reached: Part of the budget's metric that is left, by name.
        keep_params: Part of the parameters that all should have; None where that is left open.
    """

    family: str
    architecture: str
    keep: float
    scores: Mapping[str, float]
    params: Mapping[str, float]
    reached: Mapping[str, float] = field(default_factory=dict)
    keep_params: float | None = None

    @property
    def at(self) -> str:
        """The budget, for people."""
        return f"{self.keep:g}" if self.keep_params is None else f"{self.keep:g} and {self.keep_params:.1%} of params"

    def to_json(self) -> dict[str, Any]:
        """Returns the row as plain data; the second part is there only where it is used."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def measure(problem: Problem, policy: Policy, family: str, sizes: Sizes, seed: int = 0) -> list[Row]:
    """Measures what a policy decides for one architecture, beside rivals; every score once, through the ledger.

    Whatever a search scores by, what comes of it is judged by accuracy: of the network as the score makes it, or as
    `apply` does.

    At equal parameters the second metric of every budget is what uniform has there, met as exactly as the first. One
    fraction for all networks would not do: of the same multiply-adds uniform leaves other parts of the parameters in
    each, so that it would be moved away from what it is, and some networks cannot reach it. Less than uniform has is no
    substitute either: a profile may be ahead since it keeps its parameters elsewhere, which only equal ones tell. Every
    policy is the one that learned under the first metric alone, and the widest profile is left out, of which there is
    none.
    """
    rows, losses, applied = [], pool_losses(problem), Applied(problem) if sizes.as_applied else None
    for keep in sizes.keeps:
        low, _ = problem.space.reach()
        if keep < low:
            continue
        there = with_costs(problem, keep, sizes.equal_params)
        widths = _profiles(there, policy, sizes, seed) | {"sensitivity": sensitive(there.space, losses)}
        if applied:
            widths["blend"] = applied.blend(there.space, losses)
            worth = np.array([applied.worth(there.space, each) for each in widths.values()])
        else:
            judge = there.with_settings(replace(there.settings, measure="accuracy"))
            worth = judge.fitness(judge.evaluate(np.array(list(widths.values())), "fresh"), "fresh")
        params = {name: there.space.relative_params(each) for name, each in widths.items()}
        scores = dict(zip(widths, map(float, worth), strict=True))
        reached = {name: float(there.space.relative(each)) for name, each in widths.items()}
        second = there.space.budget.keep_params
        rows.append(Row(family, problem.space.architecture, keep, scores, params, reached, second))
    return rows


def with_costs(problem: Problem, keep: float, equal_params: bool) -> Problem:
    """Returns the problem under a budget, where asked with uniform's parameters as its second metric.

    In networks of a few channels, uniform may miss the budget by so much that only the nearest parameters are in reach.
    """
    alone = problem.with_budget(Budget(problem.space.budget.metric, keep))
    if not equal_params:
        return alone
    space = alone.space
    second = np.clip(space.relative_params(space.uniform()), *space.reach_params())
    return alone.with_budget(replace(space.budget, keep_params=float(second)))


def _profiles(problem: Problem, policy: Policy, sizes: Sizes, seed: int) -> dict[str, IntArray]:
    space: ProfileSpace = problem.space
    widths = {"policy": policy.finished(space).widths[0]}
    alone = replace(space, budget=replace(space.budget, keep_params=None))
    widths["uniform"] = alone.uniform()  # has both costs, where they are equal, and would be moved by a channel or two
    names = ("widest", "taper") if space.budget.keep_params is None else ("taper",)
    widths |= {name: RIVALS[name](space, seed) for name in names}
    drawn = space.sample(sizes.draws, np.random.default_rng([seed, 7]))
    order = np.argsort(problem.fitness(problem.evaluate(drawn)), kind="stable")
    widths |= {"random, median": drawn[order[len(order) // 2]], "random, best": drawn[order[-1]]}
    if sizes.search:
        widths["search"] = PpoSearcher().search(problem, sizes.search, seed).winner.evaluation.widths
    return widths


def evidence_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Sums rows up: gains over rivals, with 95 % intervals over families, each of which counts once."""
    gains = {name: _gain(rows, "policy", name) for name in RIVAL_NAMES}
    gains |= {f"{name} over uniform": _gain(rows, name, "uniform") for name in _OVER_UNIFORM}
    ahead = [np.mean(each) > 0 for each in _by_family(rows, "policy", "uniform").values()]
    return {
        "rows": [row.to_json() for row in rows],
        "families": len(ahead),
        "ahead_of_uniform": int(sum(ahead)),
        "gains": {name: gain for name, gain in gains.items() if gain},
    }


def _by_family(rows: Sequence[Row], name: str, rival: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if name in row.scores and rival in row.scores:
            found.setdefault(row.family, []).append(row.scores[name] - row.scores[rival])
    return found


def _gain(rows: Sequence[Row], name: str, rival: str) -> dict[str, float]:
    values = [float(np.mean(each)) for each in _by_family(rows, name, rival).values()]
    if len(values) < 2:
        return {}
    mean, reach = mean_interval(values)
    return {"mean": mean, "low": mean - reach, "high": mean + reach}


def leave_one_out(
    problems: Sequence[Problem],
    families: Mapping[str, str],
    train: Callable[[Sequence[Problem], str], Policy],
    sizes: Sizes,
    seed: int = 0,
    told: Callable[[Row], None] | None = None,
    only: Sequence[str] = (),
) -> list[Row]:
    """Trains a policy without each family in turn, and measures it there.

    Args:
        problems: One for each architecture.
        families: By architecture.
        train: Trains a policy on some problems; it is told which family is left out.
        sizes: How much is measured.
        seed: Of random profiles and searches.
        told: Called with every row.
        only: Families that are left out; each in turn where empty.
    """
    rows = []
    for family in only or dict.fromkeys(families[problem.space.architecture] for problem in problems):
        inside = [problem for problem in problems if families[problem.space.architecture] == family]
        policy = train([problem for problem in problems if problem not in inside], family)
        for problem in inside:
            for row in measure(problem, policy, family, sizes, seed):
                rows.append(row)
                if told:
                    told(row)
    return rows
