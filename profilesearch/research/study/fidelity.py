"""Experiment 1: does the score deserve trust?"""

from profilesearch.research.study.analysis import RANK_MARGIN, correlation, correlation_gap, leading
from profilesearch.research.study.jobs import FineTune, Score, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import random_profiles
from profilesearch.scoring.names import STATISTICS, Statistics
from profilesearch.scoring.score import SAMPLE

CRITERIA = ("l1", "random")
DEFAULT: tuple[Statistics, int] = ("batch", 1000)


def tuned_jobs(lab: Lab, keep: float, criterion: str, count: int) -> list[FineTune]:
    """The fine-tunings of the first random profiles on the subject, one seed each."""
    sizes = lab.sizes
    return [
        FineTune(lab.subject, widths, criterion=criterion, epochs=sizes.epochs, lr=sizes.lr)
        for widths in random_profiles(lab.space(keep), count)
    ]


def fidelity(lab: Lab) -> Section:
    """Correlates score variants with the accuracy after fine-tuning."""
    lines, verdicts = [], []
    for keep in lab.sizes.keeps:
        for criterion in CRITERIA if keep == lab.sizes.keep else CRITERIA[:1]:
            table, verdict = _variants(lab, keep, criterion)
            lines += table
            verdicts.append(verdict)
    return Section(
        "fidelity",
        "Does the score deserve trust?",
        f"Spearman's rank correlation between the score of a profile and its accuracy on all test images after "
        f"{lab.sizes.epochs} epoch(s) of fine-tuning, over {lab.sizes.profiles} random profiles for each budget, on "
        f"{lab.subject}. The last column is the correlation minus that of the best variant, over the same resampled "
        "profiles. A variant counts as as good as the best one where that interval lies above "
        f"-{RANK_MARGIN:g}; one that merely reaches zero is not told apart from it.",
        ("keep", "channels kept by", "BatchNorm statistics", "images", "rank correlation", "against the best"),
        tuple(lines),
        " ".join(verdicts),
    )


def _variants(lab: Lab, keep: float, criterion: str) -> tuple[list[Line], str]:
    jobs = tuned_jobs(lab, keep, criterion, lab.sizes.profiles)
    truth = [tuned.after for tuned in lab.finetunes(jobs)]
    variants = [(statistics, images) for statistics in STATISTICS for images in lab.sizes.image_counts]
    scored = {
        (statistics, images): [_score(lab, job.widths, statistics, images, criterion) for job in jobs]
        for statistics, images in variants
    }
    lab.scores([job for several in scored.values() for job in several])
    values = {variant: lab.scores(several) for variant, several in scored.items()}
    estimates = {variant: correlation(truth, values[variant]) for variant in variants}
    best = leading(estimates)
    lines, equal = [], [best]
    for variant in variants:
        gap = correlation_gap(truth, values[variant], values[best])
        equal += [variant] if gap.not_worse(RANK_MARGIN) else []
        images = lab.used(scored[variant][0]).images
        cells = (f"{keep:g}", criterion, variant[0], str(images), estimates[variant].text(), gap.text())
        lines.append(Line.of(cells, [*jobs, *scored[variant]]))
    cheapest = min(equal, key=lambda variant: _cost(*variant))
    spread = (max(truth) - min(truth)) * 100
    verdict = (
        f"Keep {keep:g}, {criterion}: the profiles lie {spread:.1f} points apart after fine-tuning; the best variant "
        f"is {best[0]}, {best[1]} images ({estimates[best].text()}), and "
        + (
            "no cheaper one is shown to rank as well."
            if cheapest == best
            else f"the cheapest that is shown to rank as well is {cheapest[0]}, {cheapest[1]} images."
        )
    )
    return lines, verdict


def _score(lab: Lab, widths: Widths, statistics: Statistics, images: int, criterion: str) -> Score:
    return Score(lab.subject, "search", widths, images, statistics, criterion)


def _cost(statistics: Statistics, images: int) -> int:
    """Images that pass through the network for one score."""
    return images + {"reestimate": 1000, "sample": SAMPLE}.get(statistics, 0)
