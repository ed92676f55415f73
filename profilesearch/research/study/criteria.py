"""Experiment 2, claim C1: are channels drawn at random as good as channels chosen by a criterion?"""

from collections.abc import Mapping, Sequence

from profilesearch.networks.names import CRITERIA
from profilesearch.research.study.analysis import MARGIN, Estimate, difference, mean_of
from profilesearch.research.study.jobs import FineTune
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import random_profiles, uniform_profile

LATER = ("reconstruction",)
"""Criteria that records of earlier versions lack."""


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
    jobs = {criterion: several for criterion, several in jobs.items() if criterion not in LATER or lab.may(several)}
    lab.finetunes([job for several in jobs.values() for job in several])
    tuned = {criterion: lab.finetunes(several) for criterion, several in jobs.items()}
    random = tuned["random"]
    shares = [job.widths for job in jobs["random"]]
    lines, after_all = [], dict[str, Estimate]()
    for criterion in jobs:
        before, after = [t.before for t in tuned[criterion]], [t.after for t in tuned[criterion]]
        cells = [criterion, *(mean_of(values, shares).text(2, 100) for values in (before, after))]
        if criterion == "random":
            cells += ["", ""]
        else:
            gain = difference(before, [t.before for t in random], shares)
            after_all[criterion] = difference(after, [t.after for t in random], shares)
            cells += [gain.text(2, 100), after_all[criterion].text(2, 100)]
        lines.append(Line.of(cells, jobs[criterion]))
    return Section(
        "criteria",
        "C1: channels drawn at random are as good as channels chosen by a criterion",
        f"{len(profiles)} profiles that keep {lab.sizes.keep:g} of the MACs (uniform and random ones), "
        f"{lab.sizes.seeds} seeds each, on {lab.subject}; test accuracy in percent before and after "
        f"{lab.sizes.epochs} epoch(s) of fine-tuning. Gains are over random channels, paired by profile and seed; "
        "seeds of one profile are not independent, so that intervals are over the profiles.",
        ("criterion", "before", "after", "gain before", "gain after"),
        tuple(lines),
        _verdict(after_all, lab.sizes.epochs, len(profiles)),
    )


def _verdict(gains: Mapping[str, Estimate], epochs: int, profiles: int) -> str:
    """Says whether the claim holds: no criterion may be better by more than the margin, and that must be shown."""

    def those(names: Sequence[str]) -> str:
        return ", ".join(f"{name} by {gains[name].text(2, 100)}" for name in names)

    better = [name for name, gain in gains.items() if gain.positive]
    open_ = [name for name, gain in gains.items() if not gain.positive and not gain.high < MARGIN]
    margin = f"{MARGIN * 100:g} points"
    if better:
        rest = f"; not decided of {those(open_)}" if open_ else ""
        return f"The claim does not hold here: after {epochs} epoch(s), better than random are {those(better)}{rest}."
    if open_:
        return (
            f"Not decided: after {epochs} epoch(s), these may be better than random by more than {margin}, over "
            f"{profiles} profiles: {those(open_)}."
        )
    return f"The claim holds here: after {epochs} epoch(s), no criterion is better than random by as much as {margin}."
