"""One policy for every budget: is it as good as a policy trained for one budget?"""

import numpy as np

from profilesearch.research.study.analysis import difference, mean_of
from profilesearch.research.study.jobs import FamilySearch, FineTune, Job, Score, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.landing import landing_searches
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import uniform_profile


def families(lab: Lab) -> Section:
    """Sets the profiles of one policy beside those of policies for one budget, at each budget."""
    sizes = lab.sizes
    jobs = [
        FamilySearch(lab.pool, sizes.keeps, sizes.evaluations, seed, sizes.search_images) for seed in range(sizes.seeds)
    ]
    found = lab.families(jobs)
    single = {keep: landing_searches(lab, keep) for keep in sizes.keeps}
    lab.searches([job for several in single.values() for job in several])
    lines, verdicts = [], []
    for place, keep in enumerate(sizes.keeps):
        own = lab.searches(single[keep])
        rivals: dict[str, list[Widths]] = {
            "one policy for every budget": [family.widths[place] for family in found],
            "policies for this budget": [search.policy for search in own],
            "uniform": [uniform_profile(lab.space(keep))] * sizes.seeds,
        }
        costs = {
            "one policy for every budget": mean_of([f.own_costs[place] for f in found]).text(),
            "policies for this budget": mean_of([search.own_cost for search in own]).text(),
        }
        behind: dict[str, list[Job]] = {
            "one policy for every budget": [*jobs],
            "policies for this budget": [*single[keep]],
        }
        tests = {name: [_scored(lab, widths) for widths in several] for name, several in rivals.items()}
        lab.scores([job for runs in tests.values() for run in runs for job in run])
        tunings = {
            name: [
                FineTune(lab.subject, widths, epochs=sizes.epochs, lr=sizes.lr, seed=seed)
                for seed, widths in enumerate(several)
            ]
            for name, several in rivals.items()
        }
        lab.finetunes([job for several in tunings.values() for job in several])
        scores = {name: [float(np.mean(lab.scores(run))) for run in runs] for name, runs in tests.items()}
        tuned = {name: [t.after for t in lab.finetunes(several)] for name, several in tunings.items()}
        for name in rivals:
            texts = mean_of(scores[name]).text(2, 100), mean_of(tuned[name]).text(2, 100)
            measured = [*behind.get(name, []), *(job for run in tests[name] for job in run), *tunings[name]]
            lines.append(Line.of((f"{keep:g}", name, costs.get(name, ""), *texts), measured))
        gaps = [
            difference(values["one policy for every budget"], values["policies for this budget"])
            for values in (scores, tuned)
        ]
        verdicts.append(f"keep {keep:g}: {gaps[0].text(2, 100)} points, fine-tuned {gaps[1].text(2, 100)}")
    return Section(
        "families",
        "One policy, every budget",
        f"A policy trained with {sizes.evaluations} evaluations on budgets drawn from 0.2 to 0.9, beside policies "
        f"trained for one budget (see C5), {sizes.seeds} seeds; the policies' own deterministic profiles, projected. "
        f"Test accuracy in percent, mean over the targets, with batch statistics; and after {sizes.epochs} epoch(s) of "
        f"fine-tuning on {lab.subject}.",
        ("keep", "policy", "own cost", "not fine-tuned", "fine-tuned"),
        tuple(lines),
        f"One policy for every budget against one for each: {'; '.join(verdicts)}.",
    )


def _scored(lab: Lab, widths: Widths) -> list[Score]:
    return [Score(target, "test", widths, lab.sizes.images) for target in lab.targets]
