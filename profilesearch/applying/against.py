"""Two pruned networks side by side: one table, one verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profilesearch.applying.making import Diverged, Made
from profilesearch.applying.measuring import Measured
from profilesearch.cli.console import Output
from profilesearch.measure.intervals import accuracy_interval, paired_difference
from profilesearch.measure.speed import BATCHES, part_text
from profilesearch.tasks.data import Images

_OFF = 0.01
"""Relative difference of costs that is worth a word."""
Table = tuple[list[str], list[list[str]]]
"""Head and rows."""


@dataclass(frozen=True)
class Verdict:
    """Which of two pruned networks is better on the same test images.

    Attributes:
        name: Of the rival.
        difference: Accuracy of the profile's network minus that of the rival's.
        low: Where the 95 % interval of the difference begins.
        high: Where it ends.
        text: In words.
    """

    name: str
    difference: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Comparison:
    """A profile's network beside its rival's.

    Attributes:
        name: Of the rival.
        table: Of both.
        text: The verdict in words, or why there is none.
        verdict: None where there is none.
        report: The rival's row of the report.
        spoiled: What fine-tuning lost, in words, where it did harm to either; empty where it did not.
    """

    name: str
    table: Table
    text: str
    verdict: Verdict | None
    report: dict[str, Any]
    spoiled: str = ""

    def show(self, output: Output) -> None:
        """Prints the table and the verdict."""
        output.table(f"against {self.name}: the same recipe and seed, the same test images", *self.table)
        output.say(self.text)


def compare(name: str, made: Made, rival: Made | Diverged, measured: Sequence[Measured], images: Images) -> Comparison:
    """Compares a profile's network with its rival's.

    Args:
        name: Of the rival.
        made: The profile's network.
        rival: The rival's; one that diverged is compared before its fine-tuning alone.
        measured: The profile's network, and the rival's where it did not diverge.
        images: The test images.
    """
    about = {"name": name, "profile": rival.profile.to_json(), "untuned_accuracy": rival.untuned}
    if isinstance(rival, Diverged):
        text = f"{name} cannot be compared, it diverged: {rival.error}"
        return Comparison(name, _one_sided(name, made, rival, measured[0]), text, None, {**about, "verdict": text})
    verdict = judge(name, [made, rival], measured, images)
    whose = zip(("", f" of {name}"), (made, rival), measured, strict=True)
    harm = next(filter(None, (spoiled(each.untuned, by.side.accuracy, len(images), of) for of, each, by in whose)), "")
    text = harm or verdict.text
    report = {
        **about,
        "after": measured[1].side.to_json(len(images)),
        "difference": round(verdict.difference, 6),
        "interval": [round(verdict.low, 6), round(verdict.high, 6)],
        "verdict": text,
    }
    table = table_of(verdict, [made, rival], measured)
    return Comparison(name, table, text, None if harm else verdict, report, harm)


def spoiled(untuned: float | None, tuned: float, images: int, whose: str = "") -> str:
    """Says what fine-tuning lost, where a network ends below what it was before by more than chance; else nothing.

    Args:
        untuned: Accuracy before; None where there was no fine-tuning.
        tuned: After it.
        images: On which both were measured.
        whose: The network, in words.
    """
    if untuned is None or accuracy_interval(tuned, images)[1] >= untuned:
        return ""
    lost = f"{(untuned - tuned) * 100:.1f} points"
    return f"fine-tuning{whose} lost {lost}; at this rate nothing can be judged, try a lower --lr"


def judge(name: str, made: Sequence[Made], measured: Sequence[Measured], images: Images) -> Verdict:
    """Compares what two networks say of the same test images.

    Args:
        name: Of the rival.
        made: The profile's network and the rival's.
        measured: Both, in this order.
        images: The test images.
    """
    ours, theirs = (each.predicted == images.labels for each in measured)
    difference, low, high = paired_difference(ours, theirs)
    size = f"{difference * 100:+.2f} points (95 % interval {low * 100:+.2f} to {high * 100:+.2f})"
    if low > 0:
        text = f"the profile is better than {name} on these {len(images)} test images: {size}"
    elif high < 0:
        text = f"the profile is worse than {name} on these {len(images)} test images: {size}; take {name}"
    else:
        text = f"the profile and {name} are not told apart on these {len(images)} test images: {size}"
    if any(each.untuned is not None for each in made):
        text += "; another seed of fine-tuning may move either, which the interval does not know"
    mine, other = (each.side.macs for each in measured)
    if abs(mine / other - 1) > _OFF:
        text += f"; they do not cost the same: {mine / 1e6:.2f} and {other / 1e6:.2f} M multiply-adds"
    return Verdict(name, difference, low, high, text)


def table_of(verdict: Verdict, made: Sequence[Made], measured: Sequence[Measured]) -> Table:
    """Returns head and rows of the table of both, with full stops where there was no fine-tuning."""
    ours, theirs = (each.side for each in measured)
    gap = f"{verdict.difference * 100:+.2f} points ({verdict.low * 100:+.2f} to {verdict.high * 100:+.2f})"
    rows = []
    before = [each.untuned for each in made]
    if before[0] is not None and before[1] is not None:
        rows.append([
            "accuracy before fine-tuning", f"{before[0]:.2%}", f"{before[1]:.2%}",
            f"{(before[0] - before[1]) * 100:+.2f} points",
        ])  # fmt: skip
    name = "accuracy after fine-tuning" if rows else "accuracy, not fine-tuned"
    rows.append([name, f"{ours.accuracy:.2%}", f"{theirs.accuracy:.2%}", gap])

    def row(name: str, unit: str, mine: float, other: float) -> list[str]:
        return [name, f"{mine:.2f} {unit}", f"{other:.2f} {unit}", f"{mine / other:.1%}"]

    rows += [
        row("MACs", "M", ours.macs / 1e6, theirs.macs / 1e6),
        row("parameters", "k", ours.params / 1e3, theirs.params / 1e3),
    ]
    for batch in BATCHES:
        times = (f"{side.speed.median(batch):.2f} ms" for side in (ours, theirs))
        rows.append([f"latency, batch {batch}", *times, part_text(*ours.speed.part(theirs.speed, batch))])
    return ["", "the profile", verdict.name, "difference"], rows


def _one_sided(name: str, made: Made, rival: Diverged, measured: Measured) -> Table:
    """Returns the table of a profile's network and of a rival that diverged."""
    untuned, count = made.untuned or 0.0, int(rival.pruned.cost.macs(rival.pruned.widths))
    rows = [
        ["accuracy before fine-tuning", f"{untuned:.2%}", f"{rival.untuned:.2%}",
         f"{(untuned - rival.untuned) * 100:+.2f} points"],
        ["accuracy after fine-tuning", f"{measured.side.accuracy:.2%}", "diverged", ""],
        ["MACs", f"{measured.side.macs / 1e6:.2f} M", f"{count / 1e6:.2f} M", f"{measured.side.macs / count:.1%}"],
    ]  # fmt: skip
    return ["", "the profile", name, "difference"], rows
