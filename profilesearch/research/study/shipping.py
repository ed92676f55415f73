"""Profiles worth shipping: the best of all searches on the pool, with evidence from models that no search saw."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import cast

import numpy as np

from profilesearch.evidence import Evidence, PoolMember, Provenance, evidence, found_today, provenance
from profilesearch.measure.intervals import accuracy_interval
from profilesearch.networks.checkpoints import load_metadata
from profilesearch.networks.mapping import map_by_place
from profilesearch.networks.names import CONTENDERS
from profilesearch.networks.rivals import rivals_of
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Profile
from profilesearch.research.study.analysis import Estimate, accuracy_gap, difference
from profilesearch.research.study.cutting import data_of
from profilesearch.research.study.jobs import FamilySearch, FineTune, Found, Score, Search, Tuned, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.landing import landing_searches
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import as_widths, parameters, uniform_profile, widest_profile
from profilesearch.research.study.searchers import searches
from profilesearch.store import Store
from profilesearch.tasks.pools import tuning_recipe
from profilesearch.tasks.splits import Part

Origin = Callable[[], Provenance]
"""Says how a profile was found."""
COLUMNS = ("keep", "target", "profile", "parameters", "before", "after", "gain over this", "gain after")
WIDEST = "widest"


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
        f"before and after {lab.sizes.epochs} epoch(s) of fine-tuning, {lab.sizes.seeds} seeds, beside uniform and, "
        "where it was measured, the widest profile. Intervals of gains are over the test images before, over the seeds "
        "after.",
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
        Rows of `COLUMNS`, for each target one of the profile and one of each rival, and the verdict.
    """
    name, space = f"macs{keep:g}-{kind}", lab.space(keep)
    profiles = {name: widths, "uniform": uniform_profile(space), WIDEST: widest_profile(space)}
    lines, gains, entries = [], [], []
    for target in lab.targets:
        jobs = {each: _tuning(lab, target, its) for each, its in profiles.items()}
        if not lab.may(jobs[WIDEST]):
            del jobs[WIDEST]
        lab.finetunes([job for several in jobs.values() for job in several])  # together, so that no worker waits
        tuned = {each: lab.finetunes(several) for each, several in jobs.items()}
        ours = tuned[name]
        gain = difference([t.after for t in ours], [t.after for t in tuned["uniform"]])
        gains.append(gain)
        entries.append(_evidence(lab, keep, target, tuned, gain))
        start = f"{keep:g}", f"{target} ({lab.member(target).data})"
        for each, theirs in tuned.items():
            accuracies = (f"{np.mean(values) * 100:.2f}" for values in _both(theirs))
            first = accuracy_gap(ours[0].before, theirs[0].before, lab.test_images(target))
            last = difference([t.after for t in ours], [t.after for t in theirs])
            gaps = ("", "") if each == name else (first.text(2, 100), last.text(2, 100))
            cells = (*start, each, parameters(space, [theirs[0].widths]), *accuracies, *gaps)
            lines.append(Line.of(cells, jobs[each]))
    if not lab.offline:
        profile = _known(lab, name, lab.space(keep).profile(np.array(widths), found()))
        Store(lab.store).replace(replace(profile, evidence=tuple(entries)), name)
    won, lost = sum(gain.positive for gain in gains), sum(gain.negative for gain in gains)
    worse = f", worse on {lost}" if lost else ""
    same = next((f" (it is the {each} profile)" for each in profiles if each != name and profiles[each] == widths), "")
    return lines, f"{name}{same}: better than uniform after fine-tuning on {won} of {len(gains)} targets{worse}"


def _known(lab: Lab, name: str, profile: Profile) -> Profile:
    """Gives a profile that is stored already, with equal ratios, the versions and the date that it was found with."""
    stored = (each.profile for each in Store(lab.store).profiles(profile.architecture) if each.name == name)
    there = next((each for each in stored if each.to_json()["keep"] == profile.to_json()["keep"]), None)
    kept: Provenance = {}
    if there and "versions" in there.found:
        kept["versions"] = there.found["versions"]
    if there and "date" in there.found:
        kept["date"] = there.found["date"]
    return replace(profile, found=provenance(profile.found, kept))


def _searched(lab: Lab, keep: float) -> tuple[Widths, Origin]:
    """Returns the profile that holds up best on other images among PPO's on the pool, and how it was found."""
    jobs: list[Search] = landing_searches(lab, keep)
    jobs += searches(lab, keep, ["ppo"])["ppo"] if keep == lab.sizes.keep else []
    found: Sequence[Found] = lab.searches(jobs)
    best, job = max(zip(found, jobs, strict=True), key=lambda pair: pair[0].choose)

    def origin() -> Provenance:
        score = {"search": best.search, "choose": best.choose, **fresh_scores(lab, best.widths, keep, best.fresh)}
        rivals = [name for name, widths in rivals_of(lab.space(keep)).items() if as_widths(widths) == best.widths]
        chosen: Provenance = {"chosen": rivals[0]} if rivals else {}
        scored: Provenance = {"score": score, "images": lab.used(job).images}
        return provenance(origin_of(lab, job), chosen, scored, when())

    return best.widths, origin


def fresh_scores(lab: Lab, widths: Widths, keep: float, known: float = math.nan) -> dict[str, float]:
    """Returns what a profile and the uniform one have on fresh images of the pool, which chose neither.

    Args:
        lab: Takes the measurements.
        widths: The profile.
        keep: The budget, a fraction of the MACs.
        known: What the profile has, where its search measured that; NaN otherwise.
    """
    own = score_of(lab, widths, "fresh") if math.isnan(known) else known
    return {"fresh": round(own, 4), "uniform_fresh": round(score_of(lab, uniform_profile(lab.space(keep)), "fresh"), 4)}


def score_of(lab: Lab, widths: Widths, part: Part) -> float:
    """Returns a profile's accuracy on a part of the pool's images, relative to the unpruned models."""
    full = as_widths(lab.space(lab.sizes.keep).table.channels)
    pruned, base = (
        lab.scores([Score(name, part, each, lab.sizes.images) for name in lab.pool]) for each in (widths, full)
    )
    return float(np.mean(np.divide(pruned, base)))


def origin_of(lab: Lab, job: Search | FamilySearch) -> Provenance:
    """Says which search a profile is from."""
    return {
        "searcher": job.searcher if isinstance(job, Search) else "ppo",
        "evaluations": job.evaluations,
        "seed": job.seed,
        "pool": [{"name": name, "data": lab.member(name).data, **_training_of(lab, name)} for name in job.pool],
    }


def _training_of(lab: Lab, name: str) -> PoolMember:
    """Returns how long a network of ours was trained and how good it is; nothing of one from elsewhere."""
    metadata = load_metadata(lab.member(name).path)
    known = {"epochs": metadata.get("recipe", {}).get("epochs"), "held_out_accuracy": metadata.get("held_out_accuracy")}
    return cast(PoolMember, {key: value for key, value in known.items() if value is not None})


def _mapped(lab: Lab, keep: float, relative: str) -> tuple[Widths, Origin]:
    """Returns a relative's stored profile on this architecture's budget surface, and where it is from."""
    stored = Store(lab.store).best(relative, keep, "macs", lab.member(lab.subject).data)
    source = lab.table_of(relative)
    ratios = source.ratios(stored.profile)
    space = lab.space(keep)
    widths = space.project(map_by_place(ratios, source.channels, space.table.channels)[None])[0]
    origin = {"architecture": relative, "profile": stored.name}
    known = stored.profile.found
    mapped: Provenance = {"searcher": known.get("searcher"), "mapped_from": origin, "pool": known.get("pool", [])}
    return as_widths(widths), lambda: provenance(mapped, when())


def when() -> Provenance:
    """Returns the versions that a profile was found with, and the date."""
    return found_today(("profilesearch", "torch", "stable-baselines3"))


def _tuning(lab: Lab, target: str, widths: Widths) -> list[FineTune]:
    sizes = lab.sizes
    return [FineTune(target, widths, epochs=sizes.epochs, lr=sizes.lr, seed=seed) for seed in range(sizes.seeds)]


def _evidence(lab: Lab, keep: float, target: str, tuned: Mapping[str, Sequence[Tuned]], gain: Estimate) -> Evidence:
    """Returns the evidence of a profile, the first of `tuned`, beside its rivals on a target."""
    space, (ours, *_) = lab.space(keep), tuned.values()
    member = lab.member(target)
    images = lab.test_images(target)
    after = float(np.mean([t.after for t in ours]))
    data = data_of(lab.sources, member)
    recipe = asdict(tuning_recipe(data, lab.sizes.epochs, lr=lab.sizes.lr))
    recipe |= {"precision": lab.sources.precision}
    for name in ("epochs", "seed"):  # said elsewhere
        del recipe[name]
    subject: Evidence = {"data": member.data, "model": target}
    if data.folder_digest:
        subject["data_digest"] = data.folder_digest
    if training := _training_of(lab, target):
        subject["model_training"] = cast(Mapping[str, float], training)
    measured: Evidence = {
        "test_images": images,
        "criterion": "l1",
        "seeds": list(range(len(ours))),
        "recipe": {"finetune": lab.sizes.epochs, **recipe},
        "pruned_accuracy": round(float(np.mean([t.before for t in ours])), 4),
        "finetuned_accuracy": round(after, 4),
        "interval": list(accuracy_interval(after, images)),
        "params": round(space.relative_params(np.array(ours[0].widths)), 4),
    }
    rivals = (_rival(space, name, tuned[name]) for name in CONTENDERS if name in tuned)
    gained: Evidence = {"gain": round(gain.value, 4), "gain_interval": [gain.low, gain.high]}
    return evidence(subject, measured, *rivals, gained)


def _both(tuned: Sequence[Tuned]) -> tuple[list[float], list[float]]:
    """Accuracies before and after."""
    return [t.before for t in tuned], [t.after for t in tuned]


def _rival(space: ProfileSpace, name: str, tuned: Sequence[Tuned]) -> Evidence:
    """Returns the evidence of one of `CONTENDERS`, whose name its fields begin with."""
    known = {
        f"{name}_params": round(space.relative_params(np.array(tuned[0].widths)), 4),
        f"{name}_pruned_accuracy": round(float(np.mean([t.before for t in tuned])), 4),
        f"{name}_finetuned_accuracy": round(float(np.mean([t.after for t in tuned])), 4),
    }
    return cast(Evidence, known)
