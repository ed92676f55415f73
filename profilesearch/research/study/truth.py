"""What is a score worth at the end? Scores beside the accuracy after a real fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
from scipy.stats import rankdata

from profilesearch.networks.cost import FloatArray
from profilesearch.research.study.analysis import Estimate, correlation, leading
from profilesearch.research.study.jobs import FineTune, Score, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import random_profiles, uniform_profile, widest_profile
from profilesearch.research.study.rivals import DISTILL

RATE = 0.02
REFIT = "sequential"
PARAMETERS = "parameters"
_BEST = 5
"""The best fifth by a score is where its winner comes from."""


@dataclass(frozen=True)
class Rival:
    """A score under test.

    Attributes:
        name: For people.
        like: Its settings, as a score without a model and a profile; none for the number of parameters.
        cost: What one profile takes, in words.
    """

    name: str
    like: Score | None
    cost: str


def truth(lab: Lab) -> Section:
    """Fine-tunes profiles of each budget for long, and correlates every score with what comes of them."""
    lines, verdicts = [], []
    for keep in lab.sizes.keeps:
        table, verdict = _budget(lab, keep)
        lines += table
        verdicts.append(verdict)
    first, second = lab.sizes.truth_epochs
    return Section(
        "truth",
        "What is a score worth at the end?",
        f"{lab.subject}, at most {lab.sizes.truths} profiles for each budget: two in three are from the best fifth of "
        f"{lab.sizes.truth_pool} random profiles by one of the first {NOMINATING} scores, taken in turns; the others "
        f"are drawn. All are refitted and fine-tuned for {first} epochs, the better half by what came out for {second} "
        f"epochs with {lab.sizes.truth_seeds} seeds (peak learning rate {RATE:g}, cosine, distillation {DISTILL:g}). "
        "Spearman's rank correlation of each score with the test accuracy after that: over all, over the better half "
        "and the best fifth by that score, with the equals of their last profile, and over those that were fine-tuned "
        "for longer. Regret: the best accuracy minus that of the profile which the score puts first, in points, the "
        "mean where it puts several there. The last row is one seed beside another; scores stand beside the mean of "
        "the seeds, which is less noisy: a perfect one could have more.",
        ("keep", "score", "a profile costs", "all", "its best half", "its best fifth", "regret",
         f"after {second} epochs", "regret then"),
        tuple(lines),
        " ".join(verdicts),
    )  # fmt: skip


def rivals(lab: Lab) -> list[Rival]:
    """Returns the scores under test; the first ones are cheap, and nominate profiles."""
    sizes = lab.sizes
    images = sizes.images
    score = Score("", "search", (), images)
    passes = f"{images} images"
    made = [
        Rival("accuracy", score, passes),
        Rival("divergence", replace(score, measure="divergence"), passes),
        Rival("refitted, accuracy", replace(score, refit="moments"), passes),
        Rival("refitted, divergence", replace(score, refit="moments", measure="divergence"), passes),
        Rival(PARAMETERS, None, "nothing"),
        Rival("loss", replace(score, measure="loss"), passes),
    ]
    for count in sizes.image_counts:
        if count != images:
            other = replace(score, images=count)
            made.append(Rival(f"accuracy, {count} images", other, f"{count} images"))
            made.append(Rival(f"divergence, {count} images", replace(other, measure="divergence"), f"{count} images"))
    for steps in sizes.elastic:
        for sandwich in (False, True):
            how = f"elastic, {steps} steps{', sandwich' if sandwich else ''}"
            base = replace(score, elastic=steps, sandwich=sandwich)
            made.append(Rival(f"{how}, accuracy", base, passes))
            made.append(Rival(f"{how}, divergence", replace(base, measure="divergence"), passes))
    for steps in sizes.distilled:
        base = replace(score, steps=steps, refit="moments")
        made.append(Rival(f"refitted, {steps} steps", base, f"{steps} steps, {passes}"))
        made.append(
            Rival(
                f"refitted, {steps} steps, divergence", replace(base, measure="divergence"), f"{steps} steps, {passes}"
            )
        )
    return made


NOMINATING = 5
"""Of the rivals, how many put forward profiles."""


def nominated(lab: Lab, keep: float) -> list[Widths]:
    """Returns profiles of a budget to fine-tune: `named` ones, then the best by cheap scores and others in turns."""
    pool = random_profiles(lab.space(keep), lab.sizes.truth_pool)
    orders = []
    for rival in rivals(lab)[:NOMINATING]:
        order = np.argsort(-np.asarray(_values(lab, keep, rival, pool)), kind="stable")
        orders.append([pool[place] for place in order[: max(1, len(pool) // _BEST)]])
    best = [widths for several in zip_longest(*orders) for widths in several if widths]
    best = list(dict.fromkeys(best))
    others = [widths for widths in pool if widths not in set(best)]
    mixed = list(named(lab, keep).values())
    for place in range(0, len(best), 2):
        mixed += best[place : place + 2] + others[place // 2 : place // 2 + 1]
    return list(dict.fromkeys(mixed))[: lab.sizes.truths]


def named(lab: Lab, keep: float) -> dict[str, Widths]:
    """Returns the profiles that need no search, by name."""
    space = lab.space(keep)
    return {"uniform": uniform_profile(space), "widest": widest_profile(space)}


def _values(lab: Lab, keep: float, rival: Rival, profiles: Sequence[Widths]) -> list[float]:
    if rival.like is None:
        widths = np.array(profiles)
        return [float(share) for share in lab.space(keep).cost.relative(widths, "params")]
    return lab.scores(_jobs(lab, rival, profiles))


def _jobs(lab: Lab, rival: Rival, profiles: Sequence[Widths]) -> list[Score]:
    return [replace(rival.like, model=lab.subject, widths=widths) for widths in profiles] if rival.like else []


def _tuning(lab: Lab, widths: Widths, epochs: int, seed: int) -> FineTune:
    return FineTune(lab.subject, widths, epochs=epochs, lr=RATE, distill=DISTILL, seed=seed, refit=REFIT)


def _budget(lab: Lab, keep: float) -> tuple[list[Line], str]:
    profiles = nominated(lab, keep)
    first, second = lab.sizes.truth_epochs
    short = [_tuning(lab, widths, first, 0) for widths in profiles]
    after = np.array([tuned.after for tuned in lab.finetunes(short)])
    half = np.argsort(-after, kind="stable")[: max(2, len(after) // 2)]
    long = [[_tuning(lab, profiles[place], second, seed) for seed in range(lab.sizes.truth_seeds)] for place in half]
    lab.finetunes([job for several in long for job in several])
    ends = np.array([[tuned.after for tuned in lab.finetunes(several)] for several in long])
    used = [*short, *(job for several in long for job in several)]
    lines, found = [], {}
    values = {rival.name: np.array(_values(lab, keep, rival, profiles)) for rival in rivals(lab)}
    for part in ("divergence", "refitted, divergence"):
        values[f"{PARAMETERS} and {part}"] = rankdata(values[PARAMETERS]) + rankdata(values[part])
    costs = {rival.name: rival.cost for rival in rivals(lab)}
    jobs = {rival.name: _jobs(lab, rival, profiles) for rival in rivals(lab)}
    for name, score in values.items():
        over = [_among(score, after, part) for part in (1, 2, _BEST)]
        late = correlation(score[half].tolist(), ends.mean(axis=1).tolist())
        found[name] = over[1]
        cells = (
            f"{keep:g}", name, costs.get(name, "as its parts"), *(each.text(2) for each in over),
            f"{_regret(score, after):.2f}", late.text(2), f"{_regret(score[half], ends.mean(axis=1)):.2f}",
        )  # fmt: skip
        lines.append(Line.of(cells, [*used, *jobs.get(name, [])]))
    ceiling = _ceiling(ends)
    lines.append(Line.of((f"{keep:g}", "the truth, of another seed", "", "", "", "", "", ceiling.text(2), ""), used))
    best = leading(found)
    reached = {name: after[profiles.index(widths)] for name, widths in named(lab, keep).items()}
    plain = ", ".join(f"{name} {value:.2%}" for name, value in reached.items())
    return lines, (
        f"Keep {keep:g}, {len(profiles)} profiles, {after.min():.2%} to {after.max():.2%} after {first} epochs: "
        f"{plain}; in its better half {best} ranks best, {found[best].text(2)}; accuracy has "
        f"{found['accuracy'].text(2)}, the number of parameters {found[PARAMETERS].text(2)}."
    )


def _among(score: FloatArray, after: FloatArray, part: int) -> Estimate:
    """Rank correlation among the best by a score: all of them, a half, a fifth, with the equals of the last one.

    Else the order of the profiles would choose among equals: of some dozens, one more or less moves the correlation.
    """
    order = np.argsort(-score, kind="stable")
    last = score[order][: max(3, len(score) // part)][-1]
    best = order[score[order] >= last]
    return correlation(score[best].tolist(), after[best].tolist())


def _regret(score: FloatArray, after: FloatArray) -> float:
    """Points that are lost by taking the profile that a score puts first, on average where there are several."""
    return float(after.max() - after[score == score.max()].mean()) * 100


def _ceiling(ends: FloatArray) -> Estimate:
    """Rank correlation between two seeds of the same fine-tunings, shape (N, seeds); NaN with one seed."""
    if ends.shape[1] < 2:
        return Estimate(float("nan"), float("nan"), float("nan"))
    return correlation(ends[:, 0].tolist(), ends[:, 1].tolist())
