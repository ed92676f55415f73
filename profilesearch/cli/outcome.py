"""Before and after: what pruning changed, measured on the networks themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from profilesearch.cli.console import Output
from profilesearch.evidence import Evidence, evidence
from profilesearch.measure.intervals import accuracy_interval
from profilesearch.measure.speed import BATCHES, Speed, part_text
from profilesearch.networks.names import CONTENDERS
from profilesearch.profiles import Profile
from profilesearch.pruning import Pruned
from profilesearch.scoring.names import ACCURACY, SHOWN, Measure
from profilesearch.standing import gains
from profilesearch.tasks.data import DataSet

_NO_FASTER = 0.95


@dataclass(frozen=True)
class Side:
    """One side of the before / after table; bytes of the weights in single precision, memory at batch 64."""

    accuracy: float
    macs: int
    params: int
    bytes: int
    speed: Speed
    memory: int

    def to_json(self, images: int) -> dict[str, Any]:
        """Returns the numbers, accuracy with its 95 % interval."""
        interval = [round(end, 4) for end in accuracy_interval(self.accuracy, images)]
        return {
            "accuracy": self.accuracy,
            "interval": interval,
            "macs": self.macs,
            "params": self.params,
            "bytes": self.bytes,
            "latency_ms": self.speed.to_json(),
            "peak_memory": self.memory,
        }


def evidence_of(
    sides: Sequence[Side], untuned: float | None, data: DataSet, about: Evidence, recipe: Mapping[str, Any]
) -> Evidence:
    """Returns the profile's evidence entry: what was measured, on what, and how.

    Args:
        sides: Before and after.
        untuned: Accuracy before fine-tuning; None where there was none.
        data: Whose test images were read.
        about: Names of the model and of the criterion, and the seed.
        recipe: Of the fine-tuning.
    """
    before, after = sides
    count = len(data.test)
    tuned: Evidence = {} if untuned is None else {"finetuned_accuracy": after.accuracy, "recipe": dict(recipe)}
    images: Evidence = {"data_digest": data.folder_digest} if data.folder_digest else {}
    return evidence(
        {"data": data.name, "test_images": count},
        images,
        about,
        {"base_accuracy": before.accuracy, "pruned_accuracy": after.accuracy if untuned is None else untuned},
        tuned,
        {"interval": list(accuracy_interval(after.accuracy, count))},
    )


def report_of(
    file: Path, pruned: Pruned, profile: Profile, sides: Sequence[Side], images: int, entry: Evidence
) -> dict[str, Any]:
    """Returns what the report's file says of a pruned network.

    Args:
        file: The network's.
        pruned: What was cut.
        profile: By which it was cut.
        sides: Before and after.
        images: How many test images were read.
        entry: The profile's evidence.
    """
    before, after = (side.to_json(images) for side in sides)
    return {
        "model": str(file),
        "profile": profile.to_json(),
        "groups": dict(zip(pruned.table.names, pruned.table.channels.tolist(), strict=True)),
        "widths": pruned.widths.tolist(),
        "before": before,
        "after": after,
        "not_faster": not_faster(*(side.speed for side in sides)),
        "exports": [],
        "evidence": dict(entry),
    }


def show(output: Output, sides: Sequence[Side], images: int, untuned: float | None) -> None:
    """Prints the before / after table."""
    before, after = sides

    def text(side: Side) -> str:
        low, high = accuracy_interval(side.accuracy, images)
        return f"{side.accuracy:.2%} ({low:.2%} to {high:.2%})"

    def ratio(new: float, old: float) -> str:
        return f"{new / old:.1%}"

    gain = f"{(after.accuracy - before.accuracy) * 100:+.2f} points"
    rows = [["accuracy on test images (95 % interval)", text(before), text(after), gain]]
    if untuned is not None:
        rows.append(["  before fine-tuning", "", f"{untuned:.2%}", f"{(untuned - before.accuracy) * 100:+.2f} points"])
    rows += [
        ["MACs", f"{before.macs / 1e6:.2f} M", f"{after.macs / 1e6:.2f} M", ratio(after.macs, before.macs)],
        [
            "parameters",
            f"{before.params / 1e3:.1f} k",
            f"{after.params / 1e3:.1f} k",
            ratio(after.params, before.params),
        ],
        [
            "weights, single precision",
            f"{before.bytes / 1e6:.2f} MB",
            f"{after.bytes / 1e6:.2f} MB",
            ratio(after.bytes, before.bytes),
        ],
    ]
    rows.append(["peak memory, batch 64", *(f"{side.memory / 1e6:.1f} MB" for side in sides),
                 ratio(after.memory, before.memory)])  # fmt: skip
    for batch in BATCHES:
        times = (f"{side.speed.median(batch):.2f} ms" for side in sides)
        rows.append([f"latency, batch {batch}", *times, part_text(*after.speed.part(before.speed, batch))])
    output.table("before and after", ["", "full", "pruned", "change"], rows)


def not_faster(full: Speed, pruned: Speed) -> str:
    """Says where a pruned network gains no speed in any round; nothing where it does, or may."""
    parts = {batch: pruned.part(full, batch) for batch in BATCHES}
    slow = [f"{part:.0%} at batch {batch}" for batch, (part, low, _) in parts.items() if low > _NO_FASTER]
    if not slow:
        return ""
    return (
        f"on this machine the pruned network takes {' and '.join(slow)} of the full network's time; for speed, try a "
        "profile with a smaller --keep, or one that `train --metric latency` finds"
    )


def known_worth(profile: Profile, data: str) -> str:
    """Says what a profile's evidence lets expect on a data set, before it is applied."""
    chosen = profile.found.get("chosen")
    if chosen in CONTENDERS:
        why = "which needs no search"
        if profile.found.get("searcher") != chosen:
            why = "since none that the search found held up better on other images of its pool"
        return f"it is the {chosen} profile, {why}"
    known = gains(profile).get(data)
    if known is None and any(member.get("data") == data for member in profile.found.get("pool", [])):
        score, how = profile.found.get("score", {}), profile.found.get("score_settings", {})
        what = SHOWN.get(cast(Measure, how.get("measure", ACCURACY)), ACCURACY)
        scored = "".join(
            f", {float(score[name]):.3f} of the unpruned {what}{whose}"
            for name, whose in (("fresh", ""), ("uniform_fresh", " with uniform"))
            if name in score
        )
        return (
            f"that search is all that is known of it on {data}{scored}; no other model was measured, so hold it "
            "against uniform (--against uniform)"
        )
    if known is None:
        return f"nothing is known of it on {data}, so hold it against uniform (--against uniform)"
    reach = f"({known.low * 100:.2f} to {known.high * 100:.2f})"
    if known.low > 0:
        return f"it gained {known.value * 100:.2f} points {reach} over uniform on {data}"
    if known.value > 0:
        return f"it gained {known.value * 100:.2f} points {reach} over uniform on {data}, which may be chance"
    return f"it lost {-known.value * 100:.2f} points to uniform on {data}, so try --profile uniform too"


def known_loss(profile: Profile, data: str) -> str:
    """Says what a profile lost to uniform on a data set or, where nothing is known there, elsewhere."""
    known = gains(profile)
    if data in known:
        return f"it lost {abs(known[data].value) * 100:.2f} points to uniform on {data}"
    lost = abs(fmean(gain.value for gain in known.values())) * 100
    return (
        f"it lost {lost:.2f} points to uniform in the mean of {', '.join(known)}, and on {data} nothing is known of it"
    )
