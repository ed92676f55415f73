"""How a profile was found: what its file says of the search behind it."""

import datetime
from importlib.metadata import version
from typing import Any

from agents.base import Result
from profilesearch.networks.groups import IntArray
from profilesearch.networks.rivals import rivals_of
from profilesearch.scoring.problem import Problem
from profilesearch.tasks.splits import Part

_REPORTED: tuple[Part, ...] = ("search", "fresh")


def describe(problem: Problem, result: Result) -> dict[str, Any]:
    """Returns how a profile was found, for its file. Scores are relative to the unpruned models."""
    fresh_base = problem.base("fresh")
    pool = [
        {
            "name": m.name,
            "data": m.data,
            "trained_on": m.trained_on,
            "images": used.images,
            "base_score": round(float(base), 4),
        }
        for m, base, used in zip(problem.members, fresh_base, problem.used(), strict=True)
    ]
    policy = result.policy
    found: dict[str, Any] = {
        "searcher": result.searcher,
        "evaluations": len(result.history),
        "seed": result.seed,
        **({"hyperparameters": dict(result.changed)} if result.changed else {}),
        "chosen": result.winner.origin,
        "score": {
            "search": round(result.winner.evaluation.fitness, 4),
            "choose": round(result.winner.choose, 4),
            "fresh": round(result.winner.fresh, 4),
            **{
                f"{name}_{part}": round(_score(problem, widths, part), 4)
                for name, widths in rivals_of(problem.space).items()
                for part in _REPORTED
            },
        },
    }
    if policy is not None:
        found["policy"] = {
            "own_cost": round(policy.evaluation.own_cost, 4),
            "search": round(policy.evaluation.fitness, 4),
            "fresh": round(policy.fresh, 4),
        }
    found["pool"] = pool
    most = max(problem.used(), key=lambda used: used.images)
    found["score_settings"] = most.identity()
    found["multiple_of"] = problem.space.multiple
    found["versions"] = {name: version(name) for name in ("profilesearch", "torch", "stable-baselines3", "optuna")}
    found["date"] = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return found


def _score(problem: Problem, widths: IntArray, part: Part) -> float:
    return float(problem.fitness(problem.evaluate(widths[None], part), part)[0])
