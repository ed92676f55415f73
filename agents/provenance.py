"""How a profile was found: what its file says of the search behind it."""

from agents.base import Result
from profilesearch.evidence import PoolMember, Provenance, found_today, provenance
from profilesearch.networks.groups import IntArray
from profilesearch.networks.rivals import rivals_of
from profilesearch.scoring.problem import Problem
from profilesearch.tasks.splits import Part

_REPORTED: tuple[Part, ...] = ("search", "fresh")
_PACKAGES = ("profilesearch", "torch", "stable-baselines3", "optuna")


def describe(problem: Problem, result: Result) -> Provenance:
    """Returns how a profile was found, for its file. Scores are relative to the unpruned models."""
    pool: list[PoolMember] = [
        {
            "name": m.name,
            "data": m.data,
            **digests,
            "trained_on": m.trained_on,
            "images": used.images,
            "base_score": round(float(base), 4),
        }
        for m, digests, base, used in zip(
            problem.members, problem.digests(), problem.base("fresh"), problem.used(), strict=True
        )
    ]
    asked: Provenance = {
        "searcher": result.searcher,
        "evaluations": len(result.history),
        "seed": result.seed,
    }
    if result.changed:
        asked["hyperparameters"] = dict(result.changed)
    policy: Provenance = {}
    if result.policy is not None:
        own = result.policy.evaluation
        numbers = {"own_cost": own.own_cost, "search": own.fitness, "fresh": result.policy.fresh}
        policy["policy"] = {name: round(value, 4) for name, value in numbers.items()}
    most = max(problem.used(), key=lambda used: used.images)
    return provenance(
        asked,
        {"chosen": result.winner.origin, "score": _scores(problem, result)},
        policy,
        {"pool": pool, "score_settings": most.identity(), "multiple_of": problem.space.multiple},
        found_today(_PACKAGES),
    )


def _scores(problem: Problem, result: Result) -> dict[str, float]:
    """Returns the winner's scores by part of the images, and those of the profiles that need no search."""
    winner = result.winner
    scores = {"search": winner.evaluation.fitness, "choose": winner.choose, "fresh": winner.fresh}
    for name, widths in rivals_of(problem.space).items():
        scores |= {f"{name}_{part}": _score(problem, widths, part) for part in _REPORTED}
    return {name: round(score, 4) for name, score in scores.items()}


def _score(problem: Problem, widths: IntArray, part: Part) -> float:
    return float(problem.fitness(problem.evaluate(widths[None], part), part)[0])
