"""Experiment 7, claim C6 in small: do profiles found on one data set serve others?"""

from profilesearch.research.study.analysis import MARGIN, difference, mean_of, standing
from profilesearch.research.study.jobs import FineTune, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.landing import own_search
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import parameters, uniform_profile, widest_profile
from profilesearch.research.study.spread import best_random

_WORDS = {
    "better": "gains",
    "worse": "loses",
    "as good": f"is as good as uniform, to within {MARGIN * 100:g} points",
    "not told apart": "is not told apart from uniform",
}


def transfer(lab: Lab) -> Section:
    """Fine-tunes profiles from other data sets, the target's own data set, and no search at all."""
    keep, sizes = lab.sizes.keep, lab.sizes
    pools = _pools(lab)
    jobs = {
        source: [own_search(lab, pool, keep, seed) for seed in range(sizes.seeds)] for source, pool in pools.items()
    }
    lab.searches([job for several in jobs.values() for job in several])
    found = {source: [f.widths for f in lab.searches(several)] for source, several in jobs.items()}
    lines, verdicts = [], []
    networks = _one_of_each(lab)
    for target in networks:
        rivals: dict[str, list[Widths]] = {"uniform": [uniform_profile(lab.space(keep))] * sizes.seeds}
        rivals["widest"] = [widest_profile(lab.space(keep))] * sizes.seeds
        rivals[f"best of {sizes.random} random on the target"] = [best_random(lab, target)] * sizes.seeds
        rivals |= {f"PPO on {source}": profiles for source, profiles in found.items()}
        tuning = {
            name: [
                FineTune(target, widths, epochs=sizes.epochs, lr=sizes.lr, seed=seed)
                for seed, widths in enumerate(profiles)
            ]
            for name, profiles in rivals.items()
        }
        if not lab.may(tuning["widest"]):
            del tuning["widest"]
        lab.finetunes([job for several in tuning.values() for job in several])
        tuned = {name: lab.finetunes(several) for name, several in tuning.items()}
        uniform = [t.after for t in tuned["uniform"]]
        data = lab.member(target).data
        for name, several in tuned.items():
            after = [t.after for t in several]
            gain = difference(after, uniform)
            text = "" if name == "uniform" else gain.text(2, 100)
            before = mean_of([t.before for t in several]).text(2, 100)
            cells = (data, name, parameters(lab.space(keep), rivals[name]), before, mean_of(after).text(2, 100), text)
            lines.append(Line.of(cells, tuning[name]))
            if name.startswith("PPO") and not name.endswith(data):
                verdicts.append(f"{name} applied to {data} {_WORDS[standing(gain)]} ({gain.text(2, 100)} points)")
    seen = [name for name in networks if name not in lab.targets]
    own = f" (of the pool, which searches on its own data saw: {', '.join(seen)})" if seen else ""
    return Section(
        "transfer",
        "C6, in small: profiles found on one data set serve others",
        f"PPO on the pool's members of one data set alone, {sizes.evaluations} evaluations, {sizes.seeds} seeds; its "
        f"profiles ({keep:g} of the MACs) on a network of every data set{own}, test accuracy in percent before "
        f"and after {sizes.epochs} epoch(s) of fine-tuning. Gains are over uniform, paired by seed.",
        ("target", "profile", "parameters", "before", "after", "gain over uniform"),
        tuple(lines),
        f"After fine-tuning: {'; '.join(verdicts)}."
        if verdicts
        else "All models are of one data set: nothing to transfer.",
    )


def _pools(lab: Lab) -> dict[str, tuple[str, ...]]:
    """The pool's members by data set."""
    pools: dict[str, tuple[str, ...]] = {}
    for name in lab.pool:
        data = lab.member(name).data
        pools[data] = (*pools.get(data, ()), name)
    return pools


def _one_of_each(lab: Lab) -> list[str]:
    """The first target of every data set; a pool member where a data set has no target."""
    chosen: dict[str, str] = {}
    for name in (*lab.targets, *lab.pool):
        chosen.setdefault(lab.member(name).data, name)
    return list(chosen.values())
