"""Experiment 2, claim C1: are channels drawn at random as good as channels chosen by a criterion?"""

from profilesearch.experiments.analysis import difference, mean_of
from profilesearch.experiments.jobs import FineTune
from profilesearch.experiments.lab import Lab
from profilesearch.experiments.page import Line, Section
from profilesearch.experiments.profiles import random_profiles, uniform_profile
from profilesearch.networks.criteria import CRITERIA


def criteria(lab: Lab) -> Section:
    """Fine-tunes the same profiles with channels chosen by every criterion."""
    space = lab.space(lab.sizes.keep)
    profiles = [uniform_profile(space), *random_profiles(space, lab.sizes.few)]
    jobs = {
        criterion: [
            FineTune(lab.subject, widths, 0.0, criterion, lab.sizes.epochs, lab.sizes.lr, seed=seed)
            for widths in profiles
            for seed in range(lab.sizes.seeds)
        ]
        for criterion in CRITERIA
    }
    lab.finetunes([job for several in jobs.values() for job in several])
    tuned = {criterion: lab.finetunes(several) for criterion, several in jobs.items()}
    random = tuned["random"]
    lines, better = [], []
    for criterion in CRITERIA:
        before, after = [t.before for t in tuned[criterion]], [t.after for t in tuned[criterion]]
        cells = [criterion, mean_of(before).text(2, 100), mean_of(after).text(2, 100)]
        if criterion == "random":
            cells += ["", ""]
        else:
            gains = difference(before, [t.before for t in random]), difference(after, [t.after for t in random])
            cells += [gain.text(2, 100) for gain in gains]
            if gains[1].positive:
                better.append(f"{criterion} by {gains[1].text(2, 100)} points")
        lines.append(Line.of(cells, jobs[criterion]))
    verdict = (
        f"The claim does not hold here: after {lab.sizes.epochs} epoch(s), better than random are {', '.join(better)}."
        if better
        else f"The claim holds here: after {lab.sizes.epochs} epoch(s), no criterion beats random channels beyond its "
        "interval."
    )
    return Section(
        "criteria",
        "C1: channels drawn at random are as good as channels chosen by a criterion",
        f"{len(profiles)} profiles that keep {lab.sizes.keep:g} of the MACs (uniform and random ones), "
        f"{lab.sizes.seeds} seeds each, on {lab.subject}; test accuracy in percent before and after "
        f"{lab.sizes.epochs} epoch(s) of fine-tuning. Gains are over random channels, paired by profile and seed.",
        ("criterion", "before", "after", "gain before", "gain after"),
        tuple(lines),
        verdict,
    )
