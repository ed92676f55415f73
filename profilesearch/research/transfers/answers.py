"""Plain answers that a comparison's rows give: which method to carry, and whether tickets are worth their weights."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from profilesearch.research.study.analysis import Estimate, cluster_means, difference, mean_of
from profilesearch.research.study.records import Row
from profilesearch.research.transfers.methods import METHODS

Key = tuple[str, float]
"""A method and its level."""
Tables = Mapping[tuple[str, str], Mapping[Key, Sequence[Row]]]
"""Rows by (data set, kind of fine-tuning), then by method and level."""

QUESTIONS = (
    ("Does a ticket with trained weights beat the same mask with random weights?", "ticket-late", "ticket-random"),
    ("Does it with the weights that training started from?", "ticket-original", "ticket-random"),
    ("Are rounds worth more than one shot?", "ticket-late", "ticket-one-shot"),
    ("Do structured tickets exist: are a profile's channels worth more with the weights that training started from "
     "than with random ones?", "profile-original", "profile-random"),
    ("And the trained weights?", "profile-late", "profile-random"),
    ("Are the trained weights worth more when they are fitted anew in closed form?", "profile-refit", "profile-late"),
    ("Is a profile better than the same part of every layer?", "profile", "uniform"),
    ("Is a profile better than the widest network at equal cost?", "profile", "widest"),
    ("Is a profile better than what the sensitivity of single layers says?", "profile", "sensitivity"),
    ("Is a profile better than a thinner network of its size, trained from random weights?", "profile", "width"),
    ("Is a profile better than magnitude pruning to the same number of weights?", "profile", "magnitude"),
)  # fmt: skip
SPEED = ("data", "fine-tuning", "time at most", "best", "level", "its time", "accuracy", "minus dense")
BEST = (
    "data", "fine-tuning", "level", "best", "accuracy", "not told apart", "best with smaller tensors", "minus the best",
)  # fmt: skip


def answers(tables: Tables, unequal: Sequence[str] = ()) -> list[str]:
    """Returns an answer, by kind of fine-tuning, to every question whose two methods were both run, on several seeds.

    Args:
        tables: The rows.
        unequal: Methods whose training upstream was not as long as that of the others.
    """
    found = []
    for question, ours, theirs in QUESTIONS:
        if (ours in unequal) != (theirs in unequal):
            continue
        parts = []
        for kind in dict.fromkeys(kind for _, kind in tables):
            gaps = _gaps([methods for (_, each), methods in tables.items() if each == kind], ours, theirs)
            if gaps and not any(np.isnan(each.low) for each in gaps):
                parts.append(f"{kind.capitalize()}: {_verdict(gaps)}, {_counts(gaps)}.")
        if parts:
            found.append(f"**{question}** `{ours}` against `{theirs}`. {' '.join(parts)}")
    return found


def best_table(tables: Tables, unequal: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Returns the cells of `BEST`: at each level, the method that carries best, and the best with smaller tensors."""
    left_out = {"dense", *unequal}
    lines: list[tuple[str, ...]] = []
    for (data, finetune), methods in tables.items():
        for level in sorted({level for name, level in methods if name not in left_out}):
            there = {name: rows for (name, at), rows in methods.items() if at == level and name not in left_out}
            best = max(there, key=lambda name: _mean(there[name]))
            gaps = {name: gap(rows, there[best]) for name, rows in there.items() if name != best}
            equal = [name for name, each in gaps.items() if not each.negative and not np.isnan(each.value)]
            small = [name for name in there if METHODS[name].structured]
            first = max(small, key=lambda name: _mean(there[name]), default="")
            behind = gaps[first].text(2, 100) if first in gaps else ""
            accuracy = accuracy_of(there[best]).text(2, 100)
            lines.append((data, finetune, f"{level:g}", best, accuracy, ", ".join(equal), first, behind))
    return lines


def fastest_table(tables: Tables, times: Mapping[Key, float], unequal: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Returns the cells of `SPEED`: what carries best among the networks that are fast enough.

    Args:
        tables: The rows.
        times: Measured, relative to the source's, by method and level; networks that have none are left out.
        unequal: Methods whose training upstream was not as long as that of the others.
    """
    lines: list[tuple[str, ...]] = []
    for (data, finetune), methods in tables.items():
        dense = methods.get(("dense", 0.0), ())
        judged = [key for key in methods if key in times and key[0] not in ("dense", *unequal)]
        for most in sorted({times[key] for key in judged}, reverse=True):
            best = max((key for key in judged if times[key] <= most), key=lambda key: _mean(methods[key]))
            accuracy = accuracy_of(methods[best]).text(2, 100)
            behind = gap(methods[best], dense).text(2, 100) if dense else ""
            cells = f"{most:.0%}", best[0], f"{best[1]:g}", f"{times[best]:.0%}"
            lines.append((data, finetune, *cells, accuracy, behind))
    return lines


def gap(ours: Sequence[Row], theirs: Sequence[Row]) -> Estimate:
    """Returns the mean difference of accuracies, paired by seed, with Student's 95 % interval; NaN without pairs."""
    other = {row["seed"]: row for row in theirs}
    pairs = [(row, other[row["seed"]]) for row in ours if row["seed"] in other]
    if not pairs:
        return Estimate(np.nan, np.nan, np.nan)
    first, second = ([float(row["accuracy"]) for row in side] for side in zip(*pairs, strict=True))
    return difference(first, second, _made(ours, [tuple(row["compression"] for row in pair) for pair in pairs]))


def accuracy_of(rows: Sequence[Row]) -> Estimate:
    """Returns the mean accuracy with Student's 95 % interval, over the compressions where several were made."""
    return mean_of(independent(rows))


def independent(rows: Sequence[Row]) -> list[float]:
    """Returns accuracies that have nothing to do with each other: each compression's mean where several were made."""
    return cluster_means([float(row["accuracy"]) for row in rows], _made(rows, [row["compression"] for row in rows]))


def _made(rows: Sequence[Row], compressions: Sequence[Hashable]) -> Sequence[Hashable] | None:
    """Returns what fine-tunings share where several networks were made; one alone says nothing of others.

    Rows of networks that were not fine-tuned share their network always: their seeds decide nothing.
    """
    several = len(set(compressions)) > 1 or rows[0]["finetune"] == "none"
    return compressions if several else None


def _gaps(tables: Sequence[Mapping[Key, Sequence[Row]]], ours: str, theirs: str) -> list[Estimate]:
    """Compares two methods wherever both were run at one level."""
    return [
        gap(methods[key], methods[theirs, key[1]])
        for methods in tables
        for key in methods
        if key[0] == ours and (theirs, key[1]) in methods
    ]


def _verdict(gaps: Sequence[Estimate]) -> str:
    if all(each.positive for each in gaps):
        return "yes"
    if all(each.negative for each in gaps):
        return "no, it is worse"
    better, worse = any(each.positive for each in gaps), any(each.negative for each in gaps)
    if better == worse:
        return "it depends" if better else "the seeds do not tell"
    return "partly" if better else "no, it is partly worse"


def _counts(gaps: Sequence[Estimate]) -> str:
    better, worse = sum(each.positive for each in gaps), sum(each.negative for each in gaps)
    values = [100 * each.value for each in gaps]
    return (
        f"better in {better} and worse in {worse} of {len(gaps)}, by {np.median(values):+.2f} points in the median "
        f"({min(values):+.2f} to {max(values):+.2f})"
    )


def _mean(rows: Sequence[Row]) -> float:
    return float(np.mean([float(row["accuracy"]) for row in rows]))
