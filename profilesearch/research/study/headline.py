"""The headline: one public checkpoint, one budget, fine-tuned with one recipe, beside what others published."""

from collections.abc import Mapping

from profilesearch.research.study.analysis import MARGIN, Estimate, difference, mean_of, standing
from profilesearch.research.study.jobs import FineTune, Score, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import parameters, uniform_profile, widest_profile
from profilesearch.research.study.searchers import searches
from profilesearch.research.study.spread import best_random

DISTILL = 0.5
LATER = ("widest", "taper")
"""Rivals that records of earlier versions lack."""
PUBLISHED = {
    ("resnet56", 0.5): "Published for ResNet-56 on CIFAR-10 at about half of the MACs, each from its own base network "
    "and recipe: AMC 91.90, HRank 93.17, Group-L1 92.93, ResRep 93.71, DepGraph 93.77 (from 93.53)."
}


def headline(lab: Lab) -> Section:
    """Fine-tunes every rival with the long recipe, last epoch, several seeds."""
    sizes, keep = lab.sizes, lab.sizes.keep
    found = lab.searches(searches(lab, keep, ["ppo"])["ppo"])
    ours = max(found, key=lambda f: f.choose).widths
    random = max(lab.searches(searches(lab, keep, ["random"])["random"]), key=lambda f: f.choose).widths
    rivals: dict[str, tuple[Widths, str]] = {
        "ours: the searched profile": (ours, "l1"),
        "uniform": (uniform_profile(lab.space(keep)), "l1"),
        **_without_search(lab, keep),
        "best of the random searches on the pool": (random, "l1"),
        f"best of {sizes.random} random on this model": (best_random(lab, lab.subject), "l1"),
        "Torch-Pruning, global l2": ((), "l2"),
        "Torch-Pruning, global Taylor": ((), "taylor"),
    }
    jobs = {name: _tunings(lab, keep, *rival) for name, rival in rivals.items()}
    jobs = {name: several for name, several in jobs.items() if name not in LATER or lab.may(several)}
    lab.finetunes([several[seed] for seed in range(sizes.seeds) for several in jobs.values()])
    tuned = {name: lab.finetunes(several) for name, several in jobs.items()}
    first = next(iter(rivals))
    best = [t.after for t in tuned[first]]
    channels = tuple(int(width) for width in lab.space(keep).table.channels)
    base = Score(lab.subject, "test", channels, lab.test_images(lab.subject), "none")
    (full,) = lab.scores([base])
    whole = ("unpruned", "100.00%", parameters(lab.space(keep), [channels]), "", f"{full * 100:.2f}", "")
    lines = [Line.of(whole, [base])]
    for name, several in tuned.items():
        after = [t.after for t in several]
        gap = "" if name == first else difference(best, after).text(2, 100)
        before = mean_of([t.before for t in several]).value * 100
        costs = f"{several[0].cost:.2%}", parameters(lab.space(keep), [t.widths for t in several])
        cells = (name, *costs, f"{before:.2f}", mean_of(after).text(2, 100), gap)
        lines.append(Line.of(cells, jobs[name]))
    gaps = {name: difference(best, [t.after for t in several]) for name, several in tuned.items() if name != first}
    return Section(
        "headline",
        "The headline: fine-tuned to the end",
        f"{lab.subject}, {keep:g} of the MACs, {sizes.long_epochs} epochs of fine-tuning for every row alike (SGD with "
        f"Nesterov momentum, peak learning rate {sizes.long_lr:g}, cosine, distillation from the unpruned network with "
        f"weight {DISTILL:g}), {sizes.seeds} seeds, last epoch, test accuracy in percent, before "
        "with BatchNorm's statistics re-estimated.",
        ("network", "MACs", "parameters", "before", "after", "ours minus this"),
        tuple(lines),
        f"Our profile ({mean_of(best).text(2, 100)} %) is {_standings(gaps)}.",
        details=PUBLISHED.get((lab.sources.architecture, keep), ""),
    )


def _tunings(lab: Lab, keep: float, widths: Widths, criterion: str) -> list[FineTune]:
    """Returns the fine-tunings of one rival; one without widths is cut by its own rule."""
    sizes, own = lab.sizes, 0.0 if widths else keep
    return [
        FineTune(lab.subject, widths, own, criterion, sizes.long_epochs, sizes.long_lr, DISTILL, seed)
        for seed in range(sizes.seeds)
    ]


def _standings(gaps: Mapping[str, Estimate]) -> str:
    """Says how ours stands to each rival, by what it is ahead of it."""
    words = {
        "better": "better than",
        "as good": f"as good, to within {MARGIN * 100:g} points, as",
        "not told apart": "not told apart from",
        "worse": "worse than",
    }
    named = {kind: [name for name, gap in gaps.items() if standing(gap) == kind] for kind in words}
    return "; ".join(f"{words[kind]} {', '.join(names)}" for kind, names in named.items() if names)


def _without_search(lab: Lab, keep: float) -> dict[str, tuple[Widths, str]]:
    """Returns the widest profile, and the tapered one whose slope the pool chose, if that may be asked for."""
    rivals = {"widest": (widest_profile(lab.space(keep)), "l1")}
    slopes = searches(lab, keep, ["taper"])["taper"]
    if lab.may(slopes):
        rivals["taper"] = (lab.searches(slopes)[0].widths, "l1")
    return rivals
