"""A search over one's own trained networks, in one call."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from profilesearch.errors import UsageError, choose
from profilesearch.profiles import METRICS, SCOPES, Budget, Metric, Profile, Scope
from profilesearch.scoring.problem import Problem
from profilesearch.tasks.splits import Part


def search(
    networks: nn.Module | Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    keep: float = 0.5,
    *,
    metric: Metric = "macs",
    scope: Scope = "block",
    searcher: str = "ppo",
    evaluations: int = 300,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> Profile:
    """Searches a profile for one's own trained networks; give it to `prune`, or store it with `Profile.save`.

    Args:
        networks: One, or several of one architecture: a profile serves all of them.
        images: Normalized, floating point, (N, C, H, W), that the networks did not learn from. Half of them score
            profiles, the others choose the winner and score it; keep your test images out of it.
        labels: Classes, (N,).
        keep: Part of the cost to keep, in (0, 1].
        metric: What is counted: `macs`, `params`, or `latency`.
        scope: `block`, or `all` to prune residual streams too.
        searcher: A name of `agents.searcher_names()`.
        evaluations: Profiles that may be scored.
        seed: Of all random choices.
        progress: Called after every evaluation with evaluations done, evaluations in all, and the best fitness.

    Raises:
        UsageError: Something does not fit together, or the budget is out of reach.
    """
    from agents import make_searcher  # noqa: PLC0415  it imports reinforcement learning, for this function alone
    from agents.provenance import describe  # noqa: PLC0415  likewise

    choose("metric", metric, METRICS)
    choose("scope", scope, SCOPES)
    for name, number in (("evaluations", evaluations), ("seed", seed)):
        if not isinstance(number, int) or number < 0:
            raise UsageError(f"{name} must be a whole number, 0 or more, got {number!r}")
    chosen = make_searcher(searcher)
    problem = Problem.of(networks, images, labels, Budget(metric, keep), scope, seed)
    _check_knows(problem)
    result = chosen.search(problem, evaluations, seed, progress)
    return problem.space.profile(result.winner.evaluation.widths, describe(problem, result))


def _check_knows(problem: Problem) -> None:
    """Refuses networks that are right on no image of a part: what profiles reach is relative to what they reach.

    Raises:
        UsageError: One is.
    """
    parts: tuple[Part, ...] = ("search", "choose", "fresh")
    for part in parts:
        for member, base, used in zip(problem.members, problem.base(part), problem.used(part), strict=True):
            if base <= 0:
                raise UsageError(
                    f"{member.name} is right on none of {used.images} of the images; give images with labels that it "
                    "knows, or more of them"
                )
