"""Profiles for the budgets between those that have searches of their own, from one policy, with evidence."""

import numpy as np

from profilesearch.experiments.jobs import FamilySearch
from profilesearch.experiments.lab import Lab
from profilesearch.experiments.page import Section
from profilesearch.experiments.profiles import uniform_profile
from profilesearch.experiments.shipping import COLUMNS, fresh_score, origin_of, ship, when


def budgets(lab: Lab) -> Section:
    """Stores the profiles of one policy that was trained for every budget, at budgets without a search of their own."""
    sizes = lab.sizes
    keeps = sizes.family_keeps
    jobs = [FamilySearch(lab.pool, keeps, sizes.evaluations, seed, sizes.search_images) for seed in range(sizes.seeds)]
    families = lab.families(jobs)
    fresh = [[fresh_score(lab, widths) for widths in family.widths] for family in families]
    chosen = int(np.argmax(np.mean(fresh, axis=1)))
    lines, verdicts = [], []
    for place, keep in enumerate(keeps):
        uniform = fresh_score(lab, uniform_profile(lab.space(keep)))
        score = {"fresh": round(fresh[chosen][place], 4), "uniform_fresh": round(uniform, 4)}
        found = {**origin_of(lab, jobs[chosen]), "family": list(keeps), "score": score, **when()}
        rows, verdict = ship(lab, keep, "family", families[chosen].widths[place], found)
        lines += rows
        verdicts.append(verdict)
    return Section(
        "budgets",
        "Shipped profiles of one policy, for every budget",
        f"Of {sizes.seeds} policies, trained with {sizes.evaluations} evaluations on budgets drawn from 0.2 to 0.9, "
        "the one whose profiles are best on fresh images of the pool, at budgets without a search of their own: test "
        f"accuracy, percent, before and after {sizes.epochs} epoch(s) of fine-tuning, {sizes.seeds} seeds, beside "
        "uniform. Intervals of gains are over the test images before, over the seeds after.",
        COLUMNS,
        tuple(lines),
        "; ".join(verdicts) + ".",
    )
