"""Experiment 5, claim C4: are profiles searched on a pool as good as those searched on the target itself?"""

from collections.abc import Mapping, Sequence

import numpy as np

from agents import searcher_kind
from profilesearch.networks.cost import FloatArray
from profilesearch.research.study.analysis import gap_between, mean_of
from profilesearch.research.study.figures import plot_curves
from profilesearch.research.study.jobs import FineTune, Found, Job, Score, Search, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import parameters, uniform_profile, widest_profile
from profilesearch.research.study.ranks import random_jobs
from profilesearch.research.study.spread import best_random

SEARCHERS = ("ppo", "random", "tpe", "cmaes", "exhaustive")
EARLY = 250
"""After how many evaluations PPO is held against the whole random search."""
Choice = Mapping[str, Widths]
"""A profile for every target."""
Measured = dict[str, dict[str, tuple[list[float], list[float]]]]
"""By rival and target: test accuracies with batch statistics, and fine-tuned, one for each seed."""


def searches(lab: Lab, keep: float, names: Sequence[str] = SEARCHERS) -> dict[str, list[Search]]:
    """The searches on the pool, every searcher with the same evaluations and seeds."""
    sizes = lab.sizes
    return {
        name: [
            Search(name, lab.pool, keep, sizes.evaluations, seed, sizes.search_images)
            for seed in range(sizes.seeds if searcher_kind(name).seeded else 1)
        ]
        for name in names
    }


def searchers(lab: Lab) -> Section:
    """Searches the pool with every searcher; the winners are tested on models that no search saw."""
    keep, sizes = lab.sizes.keep, lab.sizes
    jobs = searches(lab, keep)
    lab.searches([job for several in jobs.values() for job in several])
    found = {name: lab.searches(several) for name, several in jobs.items()}
    rivals = _rivals(lab, found)
    measured = _measure(lab, rivals)
    lines = []
    for name, choices in rivals.items():
        origin = found.get(name)
        chose = mean_of([f.choose for f in origin]).text() if origin else ""
        values = [mean_of(each).text(2, 100) for target in lab.targets for each in measured[name][target]]
        behind: list[Job] = [*jobs.get(name, ())]
        for choice in choices:
            behind += [job for target in lab.targets for job in _jobs(lab, target, choice[target])]
        params = parameters(lab.space(keep), [choice[target] for choice in choices for target in lab.targets])
        lines.append(Line.of((name, params, _early(origin), chose, *values), behind))
    curves = {name: _curves(several) for name, several in found.items() if searcher_kind(name).seeded}
    labels = ("evaluations", "best accuracy so far, relative to the unpruned pool")
    figure = lab.figure("searchers", lambda path: plot_curves(curves, {}, labels, path))
    short = [name.removeprefix(f"{lab.sources.architecture}-") for name in lab.targets]
    heads = [text for name in short for text in (name, "fine-tuned")]
    return Section(
        "searchers",
        "C4: profiles searched over many models serve models that no search saw",
        f"Every searcher has {sizes.evaluations} evaluations on the pool at {keep:g} of the MACs, "
        f"{sizes.search_images} images of each member, {sizes.seeds} seeds; winners are chosen on other "
        "images, where the largest of several scores is too high on average. "
        f"Test accuracy in percent on each target ({', '.join(lab.targets)}), with batch statistics and then after "
        f"{sizes.epochs} epoch(s) of fine-tuning; intervals over the seeds of the search.",
        ("searcher", "parameters", f"search after {_early_of(lab)} / all", "images that chose it", *heads),
        tuple(lines),
        _verdict(lab, found, measured),
        (figure,),
    )


def _rivals(lab: Lab, found: Mapping[str, Sequence[Found]]) -> dict[str, list[Choice]]:
    """Profiles to test: by name, one choice for each seed."""

    def everywhere(widths: Widths) -> Choice:
        return dict.fromkeys(lab.targets, widths)

    rivals = {name: [everywhere(f.widths) for f in several] for name, several in found.items()}
    rivals["ppo, the policy's own"] = [everywhere(f.policy) for f in found["ppo"]]
    rivals["uniform"] = [everywhere(uniform_profile(lab.space(lab.sizes.keep)))]
    widest = everywhere(widest_profile(lab.space(lab.sizes.keep)))
    if lab.may([job for target in lab.targets for job in _jobs(lab, target, widest[target])]):
        rivals["widest"] = [widest]
    lab.scores([job for target in lab.targets for job in random_jobs(lab, target)])
    rivals["random, on the target"] = [{target: best_random(lab, target) for target in lab.targets}]
    return rivals


def _measure(lab: Lab, rivals: Mapping[str, Sequence[Choice]]) -> Measured:
    """Test accuracies of every rival: by target, with batch statistics and fine-tuned, one for each seed."""
    every = [choice for choices in rivals.values() for choice in choices]
    pairs = [_jobs(lab, target, choice[target]) for choice in every for target in lab.targets]
    lab.scores([score for score, _ in pairs])
    lab.finetunes([tuning for _, tuning in pairs])
    measured: Measured = {}
    for name, choices in rivals.items():
        measured[name] = {}
        for target in lab.targets:
            scores, tunings = zip(*(_jobs(lab, target, choice[target]) for choice in choices), strict=True)
            measured[name][target] = lab.scores(scores), [t.after for t in lab.finetunes(tunings)]
    return measured


def _jobs(lab: Lab, target: str, widths: Widths) -> tuple[Score, FineTune]:
    sizes = lab.sizes
    return Score(target, "test", widths, sizes.images), FineTune(target, widths, epochs=sizes.epochs, lr=sizes.lr)


def _curves(found: Sequence[Found]) -> FloatArray:
    """Best fitness so far, shape (seeds, evaluations)."""
    length = min(len(f.curve) for f in found)
    return np.array([np.maximum.accumulate([point[0] for point in f.curve[:length]]) for f in found])


def _early_of(lab: Lab) -> int:
    """Returns after how many evaluations PPO is looked at: all of a search that has fewer."""
    return min(EARLY, lab.sizes.evaluations)


def _early(found: Sequence[Found] | None) -> str:
    if not found:
        return ""
    curves = _curves(found)
    return f"{curves[:, :EARLY][:, -1].mean():.3f} / {curves[:, -1].mean():.3f}"


def _verdict(lab: Lab, found: Mapping[str, Sequence[Found]], measured: Measured) -> str:
    early, whole = _curves(found["ppo"])[:, :EARLY][:, -1], _curves(found["random"])[:, -1]
    ahead = gap_between(early.tolist(), whole.tolist())
    reaches = "reaches" if ahead.low >= 0 else "does not reach" if ahead.negative else "is not told apart from"
    parts = [
        f"After {_early_of(lab)} evaluations PPO {reaches} what random search has after all of its own ("
        f"{early.mean():.3f} and {whole.mean():.3f} on search images, {ahead.text()} more)."
    ]
    for target in lab.targets:
        scores = {name: by_target[target] for name, by_target in measured.items()}
        best = max(("random", "tpe", "cmaes"), key=lambda name: float(np.mean(scores[name][1])))
        gaps = [
            gap_between(ours, theirs).text(2, 100) for ours, theirs in zip(scores["ppo"], scores[best], strict=True)
        ]
        mean = {name: [float(np.mean(values)) * 100 for values in pair] for name, pair in scores.items()}
        ours, uniform, there = (mean[name] for name in ("ppo", "uniform", "random, on the target"))
        parts.append(
            f"{target} ({lab.member(target).data}): PPO's profile has {ours[0]:.2f} %, and {ours[1]:.2f} % fine-tuned; "
            f"{gaps[0]} and {gaps[1]} points more than that of {best}, the best of random, TPE and CMA-ES there. "
            f"Uniform has {uniform[0]:.2f} and {uniform[1]:.2f} %; the random search on the target itself "
            f"{there[0]:.2f} and {there[1]:.2f} %."
        )
    return " ".join(parts)
