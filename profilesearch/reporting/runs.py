"""Reads what commands have written, as parts of a report."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from profilesearch.errors import UsageError
from profilesearch.evidence import Evidence
from profilesearch.measure.reaching import check_fits, reached_text
from profilesearch.measure.speed import TIMES, time_texts
from profilesearch.profiles import Budget, Profile
from profilesearch.reporting.plots import Points, profile_figure, search_figure
from profilesearch.reporting.series import Palette, titles
from profilesearch.reporting.stored import counted, epochs, gain
from profilesearch.reporting.webpage import Block, drawn, embedded
from profilesearch.system.files import near, read_json, regular_file
from profilesearch.system.folders import APPLIED, SEARCHED, check_whole

_LARGEST = 1e6
"""Of costs, accuracies and fitnesses, which are about 1."""


@dataclass(frozen=True)
class Part:
    """What one folder or file has to say.

    Attributes:
        title: Of the run, in which colour its points are drawn.
        blocks: Of the page.
        curves: By run and searcher, best fitness so far of every repeat.
        points: Accuracy against cost, by name.
    """

    title: str
    blocks: tuple[Block, ...]
    curves: Mapping[str, list[list[float]]] = field(default_factory=dict)
    points: Points = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where a part is from, and how it appears on the page.

    Attributes:
        path: Of the folder or file.
        title: Of the run.
        palette: Of the page.
    """

    path: Path
    title: str
    palette: Palette

    @property
    def colour(self) -> str:
        """In which the run is drawn."""
        return self.palette(self.title)


def read_part(path: Path, title: str = "", palette: Palette | None = None) -> Part:
    """Reads a folder of `train`, `compare`, `apply` or `study`, or a profile file.

    Args:
        path: Of the folder or file.
        title: What it is called on the page; by its own name without one.
        palette: Of the page.

    Raises:
        UsageError: It is none of these, or broken.
    """
    source = Source(path, title or titles([path])[0], palette or Palette())
    readers = {"sections.json": _study, APPLIED: applied_part, SEARCHED: _searched}
    try:
        if path.is_file():
            return _in_range(_stored(source))
        for name, reader in readers.items():
            if (path / name).is_file():
                value = read_json(path / name)
                check_whole(path, value)
                return _in_range(reader(source, value))
    except UsageError as error:
        if path.is_file():
            raise
        raise UsageError(f"{path} is broken: {error}") from error
    except Exception as error:  # whatever is wrong with what the file says
        raise UsageError(f"{path} is broken ({type(error).__name__}: {error}); run its command again") from error
    if not path.exists():
        raise UsageError(f"there is no {path}{near(path)}")
    raise UsageError(
        f"{path} is no run; give folders that train, compare (under runs/), apply or study wrote, or profile files"
    )


def _in_range(part: Part) -> Part:
    """Returns a part whose numbers can be drawn."""
    fitness = [value for several in part.curves.values() for run in several for value in run]
    points = [value for point in part.points.values() for value in point]  # an interval may be unknown: NaN
    if not all(abs(value) <= _LARGEST for value in fitness) or any(abs(value) > _LARGEST for value in points):
        raise ValueError("a number is out of range")
    return part


def _searched(source: Source, value: dict[str, Any]) -> Part:
    return _compared(source, value) if "rows" in value else _trained(source, value)


def _trained(source: Source, value: dict[str, Any]) -> Part:
    with regular_file(source.path / "history.csv").open(encoding="utf-8", newline="") as file:
        history = list(csv.DictReader(file))
    fitness = [float(row["fitness"]) for row in history]
    best = np.maximum.accumulate(fitness).tolist()
    policies = [(int(row["evaluation"]), float(row["fitness"])) for row in history if row["is_policy"] == "1"]
    profile, searcher = Profile.from_json(value["profile"]), str(value["searcher"])
    rows = [
        (
            str(place),
            each.get("origin", "policy" if each["is_policy"] else "history"),
            *(f"{each[part]:.4f}" for part in ("search", "choose", "fresh")),
            f"{each['own_cost']:.2%}",
        )
        for place, each in enumerate(sorted(value["finalists"], key=lambda each: -each["choose"]), 1)
    ]
    text = (
        f"{len(history)} evaluations by {searcher}, seed {value['seed']}; {profile.architecture} keeps "
        f"{reached_text(profile)}. Accuracy relative to the unpruned models.",
    )
    curves = {source.title: [best]}
    curve = drawn(search_figure(curves, {source.title: policies} if policies else {}, source.palette))
    head = ("finalist", "from", "search images", "images that choose", "fresh images", "unprojected cost")
    bars = _bars(source, profile, value["groups"])
    block = Block(f"Search: {source.title}", text, (bars, curve), head, tuple(rows), colour=source.colour)
    return Part(source.title, (block,), curves)


def _compared(source: Source, value: dict[str, Any]) -> Part:
    rows = []
    for row in value["rows"]:
        accuracy = f"{row['test_accuracy']:.2%}"
        accuracy += f" ± {row['interval'] * 100:.2f}" if row["interval"] is not None else ""
        scores = tuple(f"{row[key]:.3f}" if key in row else "" for key in ("search", "fresh"))
        parameters = f"{row['params'] / 1e3:.1f} k ({row['params_share']:.1%})" if "params" in row else ""
        cost = (f"{row['cost']:.2%}", parameters, *time_texts(row))
        rows.append((str(row["name"]), str(row["evaluations"] or ""), *scores, *cost, accuracy))
    targets = ", ".join(f"{target['name']} ({target['data']})" for target in value["targets"])
    budget = value["budget"]
    text = (
        f"{value['architecture']}, {Budget(**budget).text}; pool: {', '.join(value['pool'])}; "
        f"test images of {targets}, which no search saw, not fine-tuned. ±: 95 % interval over repeats.",
    )
    head = ("profile", "evaluations", "search images", "fresh images", "cost", "parameters", *TIMES, "test accuracy")
    curves = {f"{source.title}: {searcher}": runs for searcher, runs in value["curves"].items()}
    pictures = (drawn(search_figure(curves, {}, source.palette)),)
    return Part(source.title, (Block(f"Comparison: {source.title}", text, pictures, head, tuple(rows)),), curves)


def applied_part(source: Source, value: dict[str, Any]) -> Part:
    """Returns what a report of `apply` says."""
    before, after = value["before"], value["after"]
    profile, entry = Profile.from_json(value["profile"]), value["evidence"]

    def both(name: str, text: str, number: Any) -> tuple[str, ...]:
        return (name, *(text.format(number(side)) for side in (before, after)))

    def accuracy(side: dict[str, Any]) -> str:
        low, high = side["interval"]
        return f"{side['accuracy']:.2%} ({low:.2%} to {high:.2%})"

    rows = (
        both("test accuracy, 95 % interval", "{}", accuracy),
        both("multiply-adds", "{:.2f} M", lambda side: side["macs"] / 1e6),
        both("parameters", "{:.1f} k", lambda side: side["params"] / 1e3),
        both("weights, single precision", "{:.2f} MB", lambda side: side["bytes"] / 1e6),
        both("time of 1 image", "{:.2f} ms", lambda side: side["latency_ms"]["batch1"]),
        both("time of 64 images", "{:.1f} ms", lambda side: side["latency_ms"]["batch64"]),
        both("peak memory, 64 images", "{:.1f} MB", lambda side: side["peak_memory"] / 1e6),
    )
    recipe = entry.get("recipe")
    tuned = f"{counted(epochs(entry))} of fine-tuning" if recipe else "no fine-tuning"
    rival = value.get("against")
    verdict = [f"Against {rival['name']}: {rival['verdict']}."] if rival else []
    how = profile.found.get("searcher", "unknown")
    text = (f"{profile.architecture} on {entry['data']}, model {entry['model']}, profile by {how}, {tuned}.", *verdict)
    bars = _bars(source, profile, value["groups"], np.array(value["widths"]))
    head = ("", "before", "after")
    block = Block(f"Pruned: {source.title}", text, (bars,), head, rows, colour=source.colour)
    points = {
        f"{source.title}: {name}": (side["macs"] / before["macs"], side["accuracy"], *side["interval"])
        for name, side in (("unpruned", before), ("pruned", after))
    }
    return Part(source.title, (block,), points=points)


def _study(source: Source, value: dict[str, Any]) -> Part:
    blocks = [Block(f"Study: {source.title}", tuple(dict.fromkeys(entry["setting"] for entry in value["sections"])))]
    for section in value["sections"]:
        pictures = tuple(embedded(source.path / Path(name).name) for name in section["figures"])
        text = (section["question"], f"Verdict: {section['verdict']}", *filter(None, [section["details"]]))
        rows = tuple(tuple(map(str, line["cells"])) for line in section["lines"])
        title = f"{source.title}: {section['title']}"
        blocks.append(Block(title, text, pictures, tuple(section["head"]), rows))
    return Part(source.title, tuple(blocks))


def _stored(source: Source) -> Part:
    profile, doubt = Profile.load(source.path), []
    try:
        check_fits(profile)
    except UsageError as error:
        doubt = [f"It does not fit {profile.architecture}, and is shown as the file says: {error}."]
    points = _points_of(source, profile)
    rows = tuple((*_cells(entry), epochs(entry), gain(entry)) for entry in profile.evidence)
    names = list(profile.keep)
    keep = np.round(np.array(list(profile.keep.values())) * 100).astype(np.int64)
    title = f"{profile.architecture}: {reached_text(profile)}, widths in percent"
    bars = drawn(profile_figure(names, np.full(len(names), 100), keep, title, source.colour))
    found = f"Found by {profile.found.get('searcher', 'an unknown searcher')}, {len(rows)} evidence entries."
    head = ("model", "data", "pruned", "fine-tuned", "epochs", "points over uniform")
    block = Block(f"Profile: {source.title}", (found, *doubt), (bars,), head, rows, colour=source.colour)
    return Part(source.title, (block,), points=points)


def _cells(entry: Evidence) -> tuple[str, ...]:
    """Returns what was measured on what, and the accuracies: the last one with its interval."""
    before, after = entry.get("pruned_accuracy"), entry.get("finetuned_accuracy")
    reach = "({:.2%} to {:.2%})".format(*entry["interval"]) if "interval" in entry else ""
    tuned = "" if after is None else f"{after:.2%} {reach}".strip()
    return str(entry.get("model", "")), str(entry.get("data", "")), "" if before is None else f"{before:.2%}", tuned


def _points_of(source: Source, profile: Profile) -> Points:
    """Returns every measurement of a profile under a name of its own, so that none hides another of the same model."""
    points: dict[str, tuple[float, float, float, float]] = {}
    metric = profile.budget.metric
    for entry in profile.evidence:
        before, after = entry.get("pruned_accuracy"), entry.get("finetuned_accuracy")
        accuracy = before if after is None else after
        if accuracy is None:
            continue
        tuned = "" if after is None else f"tuned {counted(epochs(entry))} on"
        words = (source.title, "on", entry.get("model", ""), tuned, entry.get("data", ""))
        name = " ".join(filter(None, words)) + (f", of the {metric}" if metric != "macs" else "")
        same = sum(known.partition(" #")[0] == name for known in points)
        low, high = entry.get("interval", (np.nan, np.nan))
        points[f"{name} #{same + 1}" if same else name] = (profile.reached, accuracy, low, high)
    return points


def _bars(source: Source, profile: Profile, groups: Mapping[str, int], widths: np.ndarray | None = None) -> str:
    names = [name for name in groups if name in profile.keep]
    channels = np.array([groups[name] for name in names])
    kept = np.rint(channels * [profile.keep[name] for name in names]).astype(np.int64) if widths is None else widths
    title = f"{profile.architecture}: {reached_text(profile)}"
    return drawn(profile_figure(names, channels, kept, title, source.colour))
