"""A search over one's own trained networks, in one call."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from profilesearch.errors import choose
from profilesearch.profiles import METRICS, SCOPES, Budget, Metric, Profile, Scope
from profilesearch.scoring.problem import Problem
from profilesearch.system.amounts import LARGEST_SEED, whole_number
from profilesearch.system.modes import own_modes
from profilesearch.tasks.splits import Part

_SCORED: tuple[Part, ...] = ("search", "choose", "fresh")


@own_modes()
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
    evaluations = whole_number("evaluations", evaluations, 1)
    seed = whole_number("seed", seed, 0, LARGEST_SEED)
    chosen = make_searcher(searcher)
    problem = Problem.of(networks, images, labels, Budget(metric, keep), scope, seed)
    for part in _SCORED:
        problem.fitness(problem.base(part), part)  # a network that knows nothing is refused before the search
    result = chosen.search(problem, evaluations, seed, progress)
    return problem.space.profile(result.winner.evaluation.widths, describe(problem, result))
