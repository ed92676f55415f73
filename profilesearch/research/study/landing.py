"""Experiment 6, claim C5: does the reward make the policy land on the asked compression by itself?"""

import numpy as np

from profilesearch.research.study.analysis import gap_between, mean_of
from profilesearch.research.study.figures import plot_curves
from profilesearch.research.study.jobs import Found, Search
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section

WEIGHTS = (1.0, 0.0)
EVALUATIONS = 300


def landing(lab: Lab) -> Section:
    """Follows the policy's own, unprojected cost, with and without the target term."""
    sizes = lab.sizes
    jobs = {(keep, weight): landing_searches(lab, keep, weight) for keep in sizes.keeps for weight in WEIGHTS}
    lab.searches([job for several in jobs.values() for job in several])
    found = {key: lab.searches(several) for key, several in jobs.items()}
    lines, misses = [], {weight: [] for weight in WEIGHTS}  # type: ignore[var-annotated]
    for (keep, weight), several in found.items():
        missed = [abs(f.own_cost / keep - 1) for f in several]
        misses[weight] += missed
        cells = (
            f"{keep:g}",
            f"{weight:g}",
            mean_of([f.own_cost for f in several]).text(),
            mean_of(missed).text(2, 100),
            mean_of([f.choose for f in several]).text(),
        )
        lines.append(Line.of(cells, jobs[keep, weight]))
    curves = {f"keep {keep:g}, weight {weight:g}": _own_costs(found[keep, weight]) for keep, weight in found}
    labels = ("updates of the policy", "cost of the policy's own profile")
    levels = {f"{keep:g}": keep for keep in sizes.keeps}
    figure = lab.figure("landing", lambda path: plot_curves(curves, levels, labels, path))
    most = max(misses[WEIGHTS[0]])
    return Section(
        "landing",
        "C5: the reward makes the policy land on the asked compression",
        f"Cost of the policy's deterministic profile, not projected, after the last of "
        f"{min(EVALUATIONS, sizes.evaluations)} evaluations, {sizes.seeds} seeds; with the reward's target term "
        "(weight 1) and without it (weight 0). The miss is the relative distance from the budget, in percent.",
        ("keep", "target weight", "own cost", "miss", "winner on the images that chose it"),
        tuple(lines),
        f"With the target term the policy lands {mean_of(misses[1.0]).text(1, 100)} % off its budget on average "
        f"({most * 100:.1f} % at most); without it, {gap_between(misses[0.0], misses[1.0]).text(1, 100)} points more.",
        (figure,),
    )


def _own_costs(found: list[Found]) -> np.ndarray:
    runs = [[own for _, own, is_policy in f.curve if is_policy] for f in found]
    length = min(map(len, runs))
    return np.array([run[:length] for run in runs])


def landing_searches(lab: Lab, keep: float, weight: float = 1.0) -> list[Search]:
    """Short searches by PPO, with a weight of the reward's target term."""
    evaluations = min(EVALUATIONS, lab.sizes.evaluations)
    images = lab.sizes.search_images
    return [Search("ppo", lab.pool, keep, evaluations, seed, images, weight) for seed in range(lab.sizes.seeds)]


def own_search(lab: Lab, pool: tuple[str, ...], keep: float, seed: int) -> Search:
    """PPO on a part of the pool, with the evaluations of every searcher."""
    return Search("ppo", pool, keep, lab.sizes.evaluations, seed, lab.sizes.search_images)
