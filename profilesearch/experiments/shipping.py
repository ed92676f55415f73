"""Profiles worth shipping: the best of all searches on the pool, with evidence from models that no search saw."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from profilesearch.experiments.analysis import Estimate, accuracy_gap, difference
from profilesearch.experiments.cutting import data_of
from profilesearch.experiments.jobs import FamilySearch, FineTune, Found, Score, Search, Tuned, Widths
from profilesearch.experiments.lab import Lab
from profilesearch.experiments.landing import landing_searches
from profilesearch.experiments.page import Line, Section
from profilesearch.experiments.profiles import as_widths, uniform_profile
from profilesearch.experiments.searchers import searches
from profilesearch.intervals import accuracy_interval
from profilesearch.networks.checkpoints import load_metadata
from profilesearch.networks.mapping import map_by_place
from profilesearch.profiles import Profile
from profilesearch.store import Store
from profilesearch.tasks.pools import tuning_recipe

Origin = Callable[[], dict[str, Any]]
"""Says how a profile was found."""
COLUMNS = ("keep", "target", "before", "uniform", "gain", "after", "uniform, after", "gain after")


def shipping(lab: Lab) -> Section:
    """Stores the best searched profile of every budget, with evidence; or a relative's, mapped."""
    kind = "mapped" if lab.map_from else "ppo"
    lines, verdicts = [], []
    for keep in lab.sizes.keeps:
        widths, found = _mapped(lab, keep, lab.map_from) if lab.map_from else _searched(lab, keep)
        rows, verdict = ship(lab, keep, kind, widths, found)
        lines += rows
        verdicts.append(verdict)
    origin = f"mapped from {lab.map_from}" if lab.map_from else "searched by PPO on the pool"
    return Section(
        "shipping",
        "Shipped profiles and their evidence",
        f"The profiles in `profiles/{lab.sources.architecture}/`, {origin}, on targets: test accuracy, percent, "
        f"before and after {lab.sizes.epochs} epoch(s) of fine-tuning, {lab.sizes.seeds} seeds, beside uniform. "
        "Intervals of gains are over the test images before, over the seeds after.",
        COLUMNS,
        tuple(lines),
        "; ".join(verdicts) + ".",
    )


def ship(lab: Lab, keep: float, kind: str, widths: Widths, found: Origin) -> tuple[list[Line], str]:
    """Measures a profile beside uniform on models that its search did not see, and stores it with that evidence.

    Args:
        lab: Takes the measurements.
        keep: The budget, a fraction of the MACs.
        kind: The last part of the profile's name.
        widths: The profile.
        found: Says how it was found; asked where the profile is stored.

    Returns:
        Rows of `COLUMNS`, one for each target, and the verdict.
    """
    name = f"macs{keep:g}-{kind}"
    uniform = uniform_profile(lab.space(keep))
    lines, gains, evidence = [], [], []
    for target in lab.targets:
        jobs = [_tuning(lab, target, w) for w in (widths, uniform)]
        lab.finetunes([*jobs[0], *jobs[1]])  # together, so that no worker waits
        ours, theirs = (lab.finetunes(several) for several in jobs)
        gain = difference([t.after for t in ours], [t.after for t in theirs])
        gains.append(gain)
        first = accuracy_gap(ours[0].before, theirs[0].before, lab.test_images(target))
        entry = _evidence(lab, target, ours, theirs, gain)
        evidence.append(entry)
        cells = (
            f"{keep:g}",
            f"{target} ({lab.member(target).data})",
            f"{entry['pruned_accuracy'] * 100:.2f}",
            f"{entry['uniform_pruned_accuracy'] * 100:.2f}",
            first.text(2, 100),
            f"{entry['finetuned_accuracy'] * 100:.2f}",
            f"{entry['uniform_finetuned_accuracy'] * 100:.2f}",
            gain.text(2, 100),
        )
        lines.append(Line.of(cells, [*jobs[0], *jobs[1]]))
    if not lab.offline:
        profile = _known(lab, name, lab.space(keep).profile(np.array(widths), found()))
        Store(lab.store).replace(replace(profile, evidence=tuple(evidence)), name)
    won, lost = sum(gain.positive for gain in gains), sum(gain.negative for gain in gains)
    worse = f", worse on {lost}" if lost else ""
    return lines, f"{name}: better than uniform after fine-tuning on {won} of {len(gains)} targets{worse}"


def _known(lab: Lab, name: str, profile: Profile) -> Profile:
    """Gives a profile that is stored already, with equal ratios, the versions and the date that it was found with."""
    stored = (each.profile for each in Store(lab.store).profiles(profile.architecture) if each.name == name)
    there = next((each for each in stored if each.to_json()["keep"] == profile.to_json()["keep"]), None)
    kept = {key: there.found[key] for key in ("versions", "date") if key in there.found} if there else {}
    return replace(profile, found={**profile.found, **kept})


def _searched(lab: Lab, keep: float) -> tuple[Widths, Origin]:
    """Returns the profile that holds up best on other images among PPO's on the pool, and how it was found."""
    jobs: list[Search] = landing_searches(lab, keep)
    jobs += searches(lab, keep, ["ppo"])["ppo"] if keep == lab.sizes.keep else []
    found: Sequence[Found] = lab.searches(jobs)
    best, job = max(zip(found, jobs, strict=True), key=lambda pair: pair[0].choose)

    def origin() -> dict[str, Any]:
        score = {"search": best.search, "choose": best.choose, **fresh_scores(lab, best.widths, keep)}
        return {**origin_of(lab, job), "score": score, "images": lab.used(job).images, **when()}

    return best.widths, origin


def fresh_scores(lab: Lab, widths: Widths, keep: float) -> dict[str, float]:
    """Returns what a profile and the uniform one have on fresh images of the pool, which chose neither."""
    scores = {"fresh": widths, "uniform_fresh": uniform_profile(lab.space(keep))}
    return {name: round(score_of(lab, each, "fresh"), 4) for name, each in scores.items()}


def score_of(lab: Lab, widths: Widths, part: str) -> float:
    """Returns a profile's accuracy on a part of the pool's images, relative to the unpruned models."""
    full = as_widths(lab.space(lab.sizes.keep).table.channels)
    pruned, base = (
        lab.scores([Score(name, part, each, lab.sizes.images) for name in lab.pool]) for each in (widths, full)
    )
    return float(np.mean(np.divide(pruned, base)))


def origin_of(lab: Lab, job: Search | FamilySearch) -> dict[str, Any]:
    """Says which search a profile is from."""
    return {
        "searcher": job.searcher if isinstance(job, Search) else "ppo",
        "evaluations": job.evaluations,
        "seed": job.seed,
        "pool": [{"name": name, "data": lab.member(name).data, **training_of(lab, name)} for name in job.pool],
    }


def training_of(lab: Lab, name: str) -> dict[str, Any]:
    """Returns how long a network of ours was trained and how good it is; nothing of one from elsewhere."""
    metadata = load_metadata(lab.member(name).path)
    known = {"epochs": metadata.get("recipe", {}).get("epochs"), "held_out_accuracy": metadata.get("held_out_accuracy")}
    return {key: value for key, value in known.items() if value is not None}


def _mapped(lab: Lab, keep: float, relative: str) -> tuple[Widths, Origin]:
    """Returns a relative's stored profile on this architecture's budget surface, and where it is from."""
    stored = Store(lab.store).best(relative, keep, "macs", lab.member(lab.subject).data)
    source = lab.table_of(relative)
    ratios = source.ratios(stored.profile)
    space = lab.space(keep)
    widths = space.project(map_by_place(ratios, source.channels, space.table.channels)[None])[0]
    origin = {"architecture": relative, "profile": stored.name}
    known = stored.profile.found
    return as_widths(widths), lambda: {
        "searcher": known.get("searcher"),
        "mapped_from": origin,
        "pool": known.get("pool", []),
        **when(),
    }


def when() -> dict[str, Any]:
    """Returns the versions that a profile was found with, and the date."""
    versions = {name: version(name) for name in ("profilesearch", "torch", "stable-baselines3")}
    return {"versions": versions, "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat()}


def _tuning(lab: Lab, target: str, widths: Widths) -> list[FineTune]:
    sizes = lab.sizes
    return [FineTune(target, widths, epochs=sizes.epochs, lr=sizes.lr, seed=seed) for seed in range(sizes.seeds)]


def _evidence(lab: Lab, target: str, ours: Sequence[Tuned], theirs: Sequence[Tuned], gain: Estimate) -> dict[str, Any]:
    member = lab.member(target)
    images = lab.test_images(target)
    after = float(np.mean([t.after for t in ours]))
    recipe = asdict(tuning_recipe(data_of(lab.sources, member), lab.sizes.epochs, lr=lab.sizes.lr))
    recipe |= {"precision": lab.sources.precision}
    for name in ("epochs", "seed"):  # said elsewhere
        del recipe[name]
    known = {} if np.isnan(gain.low) else {"gain_interval": [round(gain.low, 4), round(gain.high, 4)]}
    return {
        "data": member.data,
        "model": target,
        **({"model_training": training} if (training := training_of(lab, target)) else {}),
        "test_images": images,
        "criterion": "l1",
        "seeds": list(range(len(ours))),
        "recipe": {"finetune": lab.sizes.epochs, **recipe},
        "pruned_accuracy": round(float(np.mean([t.before for t in ours])), 4),
        "finetuned_accuracy": round(after, 4),
        "interval": [round(end, 4) for end in accuracy_interval(after, images)],
        "uniform_pruned_accuracy": round(float(np.mean([t.before for t in theirs])), 4),
        "uniform_finetuned_accuracy": round(float(np.mean([t.after for t in theirs])), 4),
        "gain": round(gain.value, 4),
        **known,
    }
