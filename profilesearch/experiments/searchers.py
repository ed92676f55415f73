"""Experiment 5, claim C4: are profiles searched on a pool as good as those searched on the target itself?"""

from collections.abc import Mapping, Sequence

import numpy as np

from profilesearch.experiments.analysis import difference, mean_of
from profilesearch.experiments.figures import plot_curves
from profilesearch.experiments.jobs import FineTune, Found, Job, Score, Search, Widths
from profilesearch.experiments.lab import Lab
from profilesearch.experiments.page import Line, Section
from profilesearch.experiments.profiles import uniform_profile
from profilesearch.experiments.ranks import random_jobs
from profilesearch.experiments.spread import best_random
from profilesearch.networks.cost import FloatArray

SEARCHERS = ("ppo", "random", "tpe", "cmaes", "exhaustive")
UNSEEDED = ("exhaustive",)
EARLY = 250
"""After how many evaluations PPO is held against the whole random search."""
Choice = Mapping[str, Widths]
"""A profile for every target."""


def searches(lab: Lab, keep: float, names: Sequence[str] = SEARCHERS) -> dict[str, list[Search]]:
    """The searches on the pool, every searcher with the same evaluations and seeds."""
    sizes = lab.sizes
    return {
        name: [
            Search(name, lab.pool, keep, sizes.evaluations, seed, sizes.search_images)
            for seed in range(1 if name in UNSEEDED else sizes.seeds)
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
    tests, tuned = _test_accuracies(lab, rivals)
    lines = []
    for name, choices in rivals.items():
        origin = found.get(name)
        fresh = mean_of([f.fresh for f in origin]).text() if origin else ""
        cells = (name, _early(origin), fresh, mean_of(tests[name]).text(2, 100), mean_of(tuned[name]).text(2, 100))
        behind: list[Job] = [*jobs.get(name, ())]
        for choice in choices:
            behind += [*_test_jobs(lab, choice), *_tune_jobs(lab, choice)]
        lines.append(Line.of(cells, behind))
    curves = {name: _curves(several) for name, several in found.items() if name not in UNSEEDED}
    labels = ("evaluations", "best accuracy so far, relative to the unpruned pool")
    figure = lab.figure("searchers", lambda path: plot_curves(curves, {}, labels, path))
    targets = ", ".join(f"{name} ({lab.member(name).data})" for name in lab.targets)
    return Section(
        "searchers",
        "C4: profiles searched over many models serve models that no search saw",
        f"Every searcher has {sizes.evaluations} evaluations on the pool at {keep:g} of the MACs, "
        f"{sizes.search_images} images of each member, {sizes.seeds} seeds; winners are chosen on fresh images. "
        f"Test accuracy in percent, mean over the targets ({targets}), with batch statistics and then after "
        f"{sizes.epochs} epoch(s) of fine-tuning; intervals over the seeds of the search.",
        ("searcher", f"search after {EARLY} / all", "fresh images", "test, not fine-tuned", "test, fine-tuned"),
        tuple(lines),
        _verdict(found, tests, tuned),
        (figure,),
    )


def _rivals(lab: Lab, found: Mapping[str, Sequence[Found]]) -> dict[str, list[Choice]]:
    """Profiles to test: by name, one choice for each seed."""

    def everywhere(widths: Widths) -> Choice:
        return dict.fromkeys(lab.targets, widths)

    rivals = {name: [everywhere(f.widths) for f in several] for name, several in found.items()}
    rivals["ppo, the policy's own"] = [everywhere(f.policy) for f in found["ppo"]]
    rivals["uniform"] = [everywhere(uniform_profile(lab.space(lab.sizes.keep)))]
    lab.scores([job for target in lab.targets for job in random_jobs(lab, target)])
    rivals["random, on the target"] = [{target: best_random(lab, target) for target in lab.targets}]
    return rivals


def _test_accuracies(
    lab: Lab, rivals: Mapping[str, Sequence[Choice]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Mean accuracy over the targets for every rival and seed: with batch statistics, and fine-tuned."""
    every = [choice for choices in rivals.values() for choice in choices]
    lab.scores([job for choice in every for job in _test_jobs(lab, choice)])
    lab.finetunes([job for choice in every for job in _tune_jobs(lab, choice)])
    tests = {
        name: [float(np.mean(lab.scores(_test_jobs(lab, choice)))) for choice in choices]
        for name, choices in rivals.items()
    }
    tuned = {
        name: [float(np.mean([t.after for t in lab.finetunes(_tune_jobs(lab, choice))])) for choice in choices]
        for name, choices in rivals.items()
    }
    return tests, tuned


def _test_jobs(lab: Lab, choice: Choice) -> list[Score]:
    return [Score(target, "test", widths, lab.sizes.images) for target, widths in choice.items()]


def _tune_jobs(lab: Lab, choice: Choice) -> list[FineTune]:
    return [FineTune(target, widths, epochs=lab.sizes.epochs, lr=lab.sizes.lr) for target, widths in choice.items()]


def _curves(found: Sequence[Found]) -> FloatArray:
    """Best fitness so far, shape (seeds, evaluations)."""
    length = min(len(f.curve) for f in found)
    return np.array([np.maximum.accumulate([point[0] for point in f.curve[:length]]) for f in found])


def _early(found: Sequence[Found] | None) -> str:
    if not found:
        return ""
    curves = _curves(found)
    return f"{curves[:, :EARLY][:, -1].mean():.3f} / {curves[:, -1].mean():.3f}"


def _verdict(
    found: Mapping[str, Sequence[Found]], tests: Mapping[str, list[float]], tuned: Mapping[str, list[float]]
) -> str:
    best = max(("random", "tpe", "cmaes"), key=lambda name: float(np.mean(tests[name])))
    gaps = [difference(values["ppo"], values[best]).text(2, 100) for values in (tests, tuned)]
    there = [f"{np.mean(values['random, on the target']) * 100:.2f} %" for values in (tests, tuned)]
    ours = [f"{np.mean(values['ppo']) * 100:.2f} %" for values in (tests, tuned)]
    early, whole = _curves(found["ppo"])[:, :EARLY][:, -1].mean(), _curves(found["random"])[:, -1].mean()
    return (
        f"PPO's profile reaches {ours[0]} on models that no search saw, and {ours[1]} fine-tuned: {gaps[0]} and "
        f"{gaps[1]} points more than that of {best}, the best of random, TPE and CMA-ES. The random search on the "
        f"targets themselves reaches {there[0]}, and {there[1]} fine-tuned. After {EARLY} evaluations PPO "
        f"{'reaches' if early >= whole else 'does not reach'} what random search has after all of its own ({early:.3f} "
        f"and {whole:.3f} on search images)."
    )
