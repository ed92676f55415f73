"""Experiment 4, claim C3: are the best profiles of one data set among the best of others?"""

from itertools import combinations

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.research.study.analysis import correlation, rank_correlation, top_overlap
from profilesearch.research.study.figures import plot_matrix
from profilesearch.research.study.jobs import Score
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import random_profiles

TOP = 10
WITHIN = (10, 25, 50)


def random_jobs(lab: Lab, model: str) -> list[Score]:
    """The exhaustive random search on one model: many random profiles, scored on its search images."""
    profiles = random_profiles(lab.space(lab.sizes.keep), lab.sizes.random)
    return [Score(model, "search", widths, lab.sizes.images) for widths in profiles]


def ranks(lab: Lab) -> Section:
    """Scores the same random profiles on every model, and compares their order."""
    names = [*lab.pool, *lab.targets]
    lab.scores([job for name in names for job in random_jobs(lab, name)])
    scores = {name: lab.scores(random_jobs(lab, name)) for name in names}
    data = {name: lab.member(name).data for name in names}
    kinds: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one, other in combinations(names, 2):
        first, second = sorted((data[one], data[other]))
        kinds.setdefault((first, second), []).append((one, other))
    lines = []
    for (first, second), pairs in sorted(kinds.items()):
        values = [rank_correlation(scores[a], scores[b]) for a, b in pairs]
        example = correlation(scores[pairs[0][0]], scores[pairs[0][1]])
        overlaps = [
            np.mean([top_overlap(scores[a], scores[b], TOP, within) for pair in pairs for a, b in (pair, pair[::-1])])
            for within in WITHIN
        ]
        mean = f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        cells = (first, second, str(len(pairs)), mean, example.text(), *(f"{overlap:.1f}" for overlap in overlaps))
        used = [job for name in {name for pair in pairs for name in pair} for job in random_jobs(lab, name)]
        lines.append(Line.of(cells, used))
    matrix = np.array([[rank_correlation(scores[a], scores[b]) for b in names] for a in names])
    figure = lab.figure("ranks", lambda path: plot_matrix(matrix, names, "Spearman's rank correlation", path))
    expected = [TOP * within / lab.sizes.random for within in WITHIN]
    return Section(
        "ranks",
        "C3: the top profiles of one data set are among the top of others",
        f"The same {lab.sizes.random} random profiles that keep {lab.sizes.keep:g} of the MACs, scored on "
        f"at most {lab.sizes.images} held-out images of every model. For every pair of models: rank correlation (mean, "
        f"and smallest to largest; then the first pair with its bootstrap interval), and how many of the top {TOP} "
        f"of one are in the top {', '.join(map(str, WITHIN))} of the other, where chance gives "
        f"{', '.join(f'{value:.1f}' for value in expected)}.",
        ("data", "data", "pairs", "rank correlation", "first pair", *(f"in top {within}" for within in WITHIN)),
        tuple(lines),
        _verdict(matrix, names, data),
        (figure,),
    )


def _verdict(matrix: FloatArray, names: list[str], data: dict[str, str]) -> str:
    same = [matrix[a, b] for a, b in combinations(range(len(names)), 2) if data[names[a]] == data[names[b]]]
    across = [matrix[a, b] for a, b in combinations(range(len(names)), 2) if data[names[a]] != data[names[b]]]
    parts = [
        f"{kind} data set: {np.mean(values):.2f} on average ({min(values):.2f} to {max(values):.2f})"
        for kind, values in (("the same", same), ("another", across))
        if values
    ]
    return "Rank correlation between models of " + "; of ".join(parts) + "."
