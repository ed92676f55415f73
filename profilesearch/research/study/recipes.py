"""Which recipe gives a pruned network the most accuracy back in a short fine-tuning?"""

from profilesearch.research.study.analysis import MARGIN, difference, mean_of, standing
from profilesearch.research.study.jobs import FineTune
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import uniform_profile

RATES = (0.01, 0.02, 0.05, 0.1)
DISTILL = (0.0, 0.5)


def recipes(lab: Lab) -> Section:
    """Fine-tunes the uniform profile with every learning rate, with and without distillation."""
    sizes = lab.sizes
    widths = uniform_profile(lab.space(sizes.keep))
    jobs = {
        (rate, distill): [
            FineTune(lab.subject, widths, epochs=sizes.recipe_epochs, lr=rate, distill=distill, seed=seed)
            for seed in range(sizes.seeds)
        ]
        for rate in RATES
        for distill in DISTILL
    }
    lab.finetunes([several[seed] for seed in range(sizes.seeds) for several in jobs.values()])
    after = {variant: [t.after for t in lab.finetunes(several)] for variant, several in jobs.items()}
    best = max(after, key=lambda variant: mean_of(after[variant]).value)
    gaps = {variant: difference(values, after[best]) for variant, values in after.items()}
    lines = [
        Line.of(
            (f"{rate:g}", f"{distill:g}", mean_of(values).text(2, 100), gaps[rate, distill].text(2, 100)),
            jobs[rate, distill],
        )
        for (rate, distill), values in after.items()
    ]
    named = {f"{rate:g} with {distill:g}": standing(gap) for (rate, distill), gap in gaps.items()
             if (rate, distill) != best}  # fmt: skip
    alike, open_ = ([name for name, each in named.items() if each == kind] for kind in ("as good", "not told apart"))
    return Section(
        "recipes",
        "Which recipe gives the most accuracy back?",
        f"The uniform profile, {sizes.keep:g} of the MACs, on {lab.subject}; {sizes.recipe_epochs} epoch(s) of SGD "
        "with Nesterov momentum, the learning rate rising for a tenth of the steps and falling as a cosine, with and "
        f"without distillation from the unpruned network; {sizes.seeds} seeds, test accuracy in percent. Gaps are to "
        "the best row, paired by seed.",
        ("peak learning rate", "distillation", "after", "minus the best"),
        tuple(lines),
        f"Best: learning rate {best[0]:g} with distillation {best[1]:g}; as good to within {MARGIN * 100:g} points: "
        f"{', '.join(alike) or 'none'}; not told apart from it: {', '.join(open_) or 'none'}.",
    )
