"""The page of a comparison."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profilesearch.reporting.webpage import markdown_table
from profilesearch.research.study.records import Row
from profilesearch.research.transfers.answers import (
    BEST,
    SPEED,
    Key,
    Tables,
    accuracy_of,
    answers,
    best_table,
    fastest_table,
    gap,
    independent,
)
from profilesearch.research.transfers.methods import METHODS, start_of
from profilesearch.research.transfers.summaries import Runs, summarize
from profilesearch.research.transfers.ways import Ways

HEAD = ("method", "level", "made", "weights", "MACs", "zeros", "time", "accuracy", "minus dense")
_TOLD_APART_BY = ("method", "level", "downstream", "finetune", "epochs", "seed")
SUMMARY = ("method", "level", "mean accuracy", "relative error over dense", "mean rank")


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str], dict[Key, list[Row]]]:
    """Sorts rows by downstream and fine-tuning, which says how long, then by method and level, in `METHODS`' order.

    A seed that was carried from several compressions counts once, with the latest of them.
    """
    order = list(METHODS)
    by_compression = sorted(rows, key=lambda row: int(row["compression"]))
    latest = {tuple(row[name] for name in _TOLD_APART_BY): row for row in by_compression}.values()
    sorted_rows = sorted(latest, key=lambda row: (order.index(row["method"]), float(row["level"]), int(row["seed"])))
    tables: dict[tuple[str, str], dict[Key, list[Row]]] = {}
    for row in sorted_rows:
        length = "1 epoch" if row["epochs"] == "1" else f"{row['epochs']} epochs"
        kinds = {"linear": "linear", "none": "as compressed"}
        tuning = kinds.get(row["finetune"], f"{row['finetune']}, {length}")
        table = tables.setdefault((row["downstream"], tuning), {})
        table.setdefault((row["method"], float(row["level"])), []).append(row)
    return tables


def table_of(methods: Mapping[Key, Sequence[Row]], times: Mapping[Key, float] | None = None) -> list[tuple[str, ...]]:
    """Returns the cells of one downstream task: means over seeds with 95 % intervals, paired with dense by seed.

    Args:
        methods: Rows by method and level.
        times: Relative to the source's, where they were measured.
    """
    dense = methods.get(("dense", 0.0), ())
    lines = []
    for (method, level), rows in methods.items():
        behind = gap(rows, dense).text(2, 100) if dense and method != "dense" else ""
        first = rows[0]
        shares = (f"{float(first[name]):.2%}" for name in ("weights", "macs", "zeros"))
        time = (times or {}).get((method, level))
        measured = "" if time is None else f"{time:.0%}"
        made = str(len({row["compression"] for row in rows}))
        lines.append((method, f"{level:g}", made, *shares, measured, accuracy_of(rows).text(2, 100), behind))
    return lines


def summary_of(tables: Tables, finetune: str, unequal: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Returns the cells of the summary over data sets, level by level: methods that were run on all of them.

    Args:
        tables: The rows.
        finetune: Kind of fine-tuning.
        unequal: Methods that are not held against the others, and left out.
    """
    there = [methods for (_, kind), methods in tables.items() if kind == finetune]
    held = [key for key in (there[0] if there else {}) if key[0] not in unequal]
    keys = [key for key in held if all(key in methods for methods in there)]
    dense = ("dense", 0.0)
    lines: list[tuple[str, ...]] = []
    for level in sorted({level for _, level in keys} - {0.0}) if len(there) > 1 and dense in keys else ():
        runs: dict[str, Runs] = {
            name: {str(i): independent(methods[name, at]) for i, methods in enumerate(there)}
            for name, at in keys
            if at in (0.0, level)
        }
        for name, s in summarize(runs).items():
            error = "" if math.isnan(s.error.value) else f"{s.error.text(1, 100)} %"
            lines.append((name, f"{level:g}", s.accuracy.text(2, 100), error, s.rank.text(1)))
    return lines


def about_summary(tables: Tables, finetune: str) -> str:
    """Says what the summary over data sets is of."""
    dense = {name: methods.get(("dense", 0.0), ()) for (name, kind), methods in tables.items() if kind == finetune}
    right = [name for name, rows in dense.items() if rows and all(float(row["accuracy"]) == 1 for row in rows)]
    without = f" Relative errors leave out {', '.join(right)}, where dense makes none." if right else ""
    return f"Ranks are among the methods of one level and dense.{without}"


@dataclass(frozen=True)
class Page:
    """What a page says beside its rows.

    Attributes:
        commands: They repeat the rows, one after the other.
        architecture: Of the source.
        setting: What the rows share, in words.
        figure: The figure's file, relative to the page.
        skipped: Sentences about what could not be run.
        unequal: Methods that are not held against the others.
        times: Of the networks, relative to the source's, by method and level.
        device: Where they were measured.
        ways: How methods worked upstream.
    """

    commands: Sequence[str]
    architecture: str
    setting: str
    figure: str
    skipped: Sequence[str] = ()
    unequal: Sequence[str] = ()
    times: Mapping[Key, float] = field(default_factory=dict)
    device: str = ""
    ways: Ways = field(default_factory=Ways)

    def markdown(self, rows: Sequence[Row]) -> str:
        """Renders the page."""
        tables = grouped(rows)
        commands = "\n".join(f"    {each}" for each in self.commands)
        parts = [f"# What transfers: {self.architecture}", _INTRODUCTION, self.setting, commands]
        parts += [_AGAIN, f"![Accuracy of every method]({self.figure})", *self._answers(tables)]
        for (downstream, finetune), methods in tables.items():
            parts += [f"## {downstream}, {finetune}", markdown_table(HEAD, table_of(methods, self.times))]
        for finetune in dict.fromkeys(kind for _, kind in tables):
            if lines := summary_of(tables, finetune, self.unequal):
                about = about_summary(tables, finetune)
                parts += [f"## Over data sets, {finetune}", about, markdown_table(SUMMARY, lines)]
        used = dict.fromkeys(name for table in tables.values() for name, _ in table)
        starts = [f"- `{name}`, from {start_of(name, self.ways)}: {METHODS[name].summary}" for name in used]
        parts += ["## Methods", "\n".join(starts)]
        parts += ["## Out of reach", "\n".join(f"- {each}" for each in self.skipped)] if self.skipped else []
        return "\n\n".join(parts) + "\n"

    def _answers(self, tables: Tables) -> list[str]:
        best = best_table(tables, self.unequal)
        parts = ["## Answers", _SIZE, markdown_table(BEST, best)] if best else []
        fast = fastest_table(tables, self.times, self.unequal)
        parts += [_SPEED.format(device=self.device), markdown_table(SPEED, fast)] if fast else []
        return parts + answers(tables, self.unequal) if best else parts


_INTRODUCTION = (
    "Written by `python -m profilesearch.transfer`; do not edit. Accuracies are of all test images, in percent, after "
    "the last epoch; brackets are 95 % intervals over the seeds of the fine-tuning (Student's t), as if each were the "
    "only one on this page. Weights and MACs are those that are not zero, relative to the source, without the "
    "classifier; only where zeros are few are tensors smaller, and the network faster, without a sparse library. Time "
    "is measured, for 64 images, relative to the source's."
)
_AGAIN = (
    "To take one row again, add `--method METHOD --level LEVEL --downstream DATA --finetune KIND` of that row (any "
    "level for dense; `--epochs` for full fine-tuning) and another `--out` folder."
)
_SIZE = (
    "Which method carries best at equal levels? Not told apart are those whose paired difference reaches zero in its "
    "interval. Intervals are over fine-tunings, and over compressions too where the tables say that several were made; "
    "where one was, they do not say what another by the same method would give."
)
_SPEED = (
    "And at equal measured speed? The best of all levels among the networks that take no more than each measured "
    "part of the source's time for 64 images, in torch and full precision on {device}."
)
