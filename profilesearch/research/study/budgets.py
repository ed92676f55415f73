"""Profiles for the budgets between those that have searches of their own, from one policy, with evidence."""

import numpy as np

from profilesearch.evidence import Provenance, provenance
from profilesearch.research.study.jobs import FamilySearch, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Section
from profilesearch.research.study.shipping import COLUMNS, fresh_scores, origin_of, score_of, ship, when


def budgets(lab: Lab) -> Section:
    """Stores the profiles of one policy that was trained for every budget, at budgets without a search of their own."""
    sizes = lab.sizes
    keeps = sizes.family_keeps
    jobs = [FamilySearch(lab.pool, keeps, sizes.evaluations, seed, sizes.search_images) for seed in range(sizes.seeds)]
    families = lab.families(jobs)
    others = [[score_of(lab, widths, "choose") for widths in family.widths] for family in families]
    chosen = int(np.argmax(np.mean(others, axis=1)))
    lines, verdicts = [], []
    for place, keep in enumerate(keeps):
        widths = families[chosen].widths[place]

        def origin(keep: float = keep, widths: Widths = widths) -> Provenance:
            scored: Provenance = {"family": list(keeps), "score": fresh_scores(lab, widths, keep)}
            return provenance(origin_of(lab, jobs[chosen]), scored, when())

        rows, verdict = ship(lab, keep, "family", widths, origin)
        lines += rows
        verdicts.append(verdict)
    return Section(
        "budgets",
        "Shipped profiles of one policy, for every budget",
        f"Of {sizes.seeds} policies, trained with {sizes.evaluations} evaluations on budgets drawn from 0.2 to 0.9, "
        "the one whose profiles are best on other images of the pool, at budgets without a search of their own: test "
        f"accuracy, percent, before and after {sizes.epochs} epoch(s) of fine-tuning, {sizes.seeds} seeds, beside "
        "uniform. Intervals of gains are over the test images before, over the seeds after.",
        COLUMNS,
        tuple(lines),
        "; ".join(verdicts) + ".",
    )
