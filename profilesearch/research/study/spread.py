"""Experiment 3, claim C2: are some layer-wise profiles better than uniform pruning and global thresholds?"""

import numpy as np

from profilesearch.networks.space import ProfileSpace
from profilesearch.research.study.analysis import difference, mean_of
from profilesearch.research.study.fidelity import tuned_jobs
from profilesearch.research.study.figures import plot_spread
from profilesearch.research.study.jobs import FineTune, Tuned, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import parameters, random_profiles, uniform_profile, widest_profile
from profilesearch.research.study.ranks import random_jobs
from profilesearch.research.study.thresholds import IMPORTANCES


def best_random(lab: Lab, model: str) -> Widths:
    """The winner of the exhaustive random search on a model."""
    scores = lab.scores(random_jobs(lab, model))
    return random_profiles(lab.space(lab.sizes.keep), lab.sizes.random)[int(np.argmax(scores))]


def spread(lab: Lab) -> Section:
    """Sets random profiles beside the uniform one and Torch-Pruning's thresholds, at equal MACs."""
    keep = lab.sizes.keep
    random = lab.finetunes(tuned_jobs(lab, keep, "l1", lab.sizes.profiles))
    jobs = {name: several for name, several in _contestants(lab).items() if name != "widest" or lab.may(several)}
    lab.finetunes([job for several in jobs.values() for job in several])
    tuned = {name: lab.finetunes(several) for name, several in jobs.items()}
    space = lab.space(keep)
    lines = [_line(space, name, jobs[name], tuned[name], tuned["uniform"]) for name in jobs]
    after = np.array([t.after for t in random]) * 100
    quantiles = np.quantile(after, [0, 0.5, 1])
    cells = (
        f"random, {len(random)} profiles",
        f"{np.mean([t.cost for t in random]):.2%}",
        parameters(space, [t.widths for t in random]),
        mean_of([t.before for t in random]).text(2, 100),
        f"median {quantiles[1]:.2f}, {quantiles[0]:.2f} to {quantiles[2]:.2f}",
        "",
    )
    lines.append(Line.of(cells, tuned_jobs(lab, keep, "l1", lab.sizes.profiles)))
    marks = {
        "fine-tuned": {name: float(np.mean([t.after for t in runs])) * 100 for name, runs in tuned.items()},
        "before": {name: float(np.mean([t.before for t in runs])) * 100 for name, runs in tuned.items()},
    }
    strips = {"fine-tuned": after.tolist(), "before": [t.before * 100 for t in random]}
    label = f"test accuracy, %, {keep:.0%} of the MACs"
    figure = lab.figure("spread", lambda path: plot_spread(strips, marks, label, path))
    return Section(
        "spread",
        "C2: some layer-wise profiles are better than the common baselines",
        f"{lab.subject}, {keep:g} of the MACs, {lab.sizes.epochs} epoch(s) of fine-tuning, {lab.sizes.seeds} seeds; "
        f"test accuracy in percent. The best random profile is the one of {lab.sizes.random} that scored best on this "
        "model's search images. The thresholds are Torch-Pruning's own networks, held to the same groups and MACs. "
        "Gains are over uniform, paired by seed.",
        ("profile", "MACs", "parameters", "before", "after", "gain over uniform"),
        tuple(lines),
        _verdict(tuned, float((after > np.mean([t.after for t in tuned["uniform"]]) * 100).mean())),
        (figure,),
    )


def _contestants(lab: Lab) -> dict[str, list[FineTune]]:
    sizes = lab.sizes
    common = {"epochs": sizes.epochs, "lr": sizes.lr}
    space = lab.space(sizes.keep)
    widths = {"uniform": uniform_profile(space), "best random": best_random(lab, lab.subject)}
    widths["widest"] = widest_profile(space)
    jobs = {
        name: [FineTune(lab.subject, profile, seed=seed, **common) for seed in range(sizes.seeds)]  # type: ignore[arg-type]
        for name, profile in widths.items()
    }
    for importance in IMPORTANCES:
        jobs[f"global threshold, {importance}"] = [
            FineTune(lab.subject, (), sizes.keep, importance, seed=seed, **common)  # type: ignore[arg-type]
            for seed in range(sizes.seeds)
        ]
    return jobs


def _line(space: ProfileSpace, name: str, jobs: list[FineTune], tuned: list[Tuned], uniform: list[Tuned]) -> Line:
    after = [t.after for t in tuned]
    gain = "" if name == "uniform" else difference(after, [t.after for t in uniform]).text(2, 100)
    before = mean_of([t.before for t in tuned]).value
    costs = f"{tuned[0].cost:.2%}", parameters(space, [t.widths for t in tuned])
    cells = (name, *costs, f"{before:.2%}".rstrip("%"), mean_of(after).text(2, 100), gain)
    return Line.of(cells, jobs)


def _verdict(tuned: dict[str, list[Tuned]], share: float) -> str:
    ours = [t.after for t in tuned["best random"]]
    rivals = {name: difference(ours, [t.after for t in several]) for name, several in tuned.items()}
    parts = [f"over {name} {gain.text(2, 100)} points" for name, gain in rivals.items() if name != "best random"]
    wins = all(gain.positive for name, gain in rivals.items() if name != "best random")
    start = "The claim holds" if wins else "The claim holds in part or not at all"
    return (
        f"{start}: after fine-tuning, the best random profile gains {', '.join(parts)}; {share:.0%} of the random "
        "profiles beat uniform."
    )
