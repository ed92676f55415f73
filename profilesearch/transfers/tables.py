"""The page and the figure of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from profilesearch.experiments.analysis import mean_of
from profilesearch.experiments.records import Row
from profilesearch.plots import save_figure
from profilesearch.transfers.answers import BEST, Key, answers, best_table, gap
from profilesearch.transfers.methods import METHODS
from profilesearch.transfers.summaries import Runs, summarize

HEAD = ("method", "level", "weights", "MACs", "zeros", "accuracy", "minus dense")
SUMMARY = ("method", "level", "mean accuracy", "relative error over dense", "mean rank")


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str], dict[Key, list[Row]]]:
    """Sorts rows by (downstream, kind of fine-tuning), then by method and level, in the order of `METHODS`."""
    order = list(METHODS)
    sorted_rows = sorted(rows, key=lambda row: (order.index(row["method"]), float(row["level"]), int(row["seed"])))
    tables: dict[tuple[str, str], dict[Key, list[Row]]] = {}
    for row in sorted_rows:
        table = tables.setdefault((row["downstream"], row["finetune"]), {})
        table.setdefault((row["method"], float(row["level"])), []).append(row)
    return tables


def table_of(methods: Mapping[Key, Sequence[Row]]) -> list[tuple[str, ...]]:
    """Returns the cells of one downstream task: means over seeds with 95 % intervals, paired with dense by seed."""
    dense = methods.get(("dense", 0.0), ())
    lines = []
    for (method, level), rows in methods.items():
        values = [float(row["accuracy"]) for row in rows]
        behind = gap(rows, dense).text(2, 100) if dense and method != "dense" else ""
        first = rows[0]
        shares = (f"{float(first[name]):.2%}" for name in ("weights", "macs", "zeros"))
        lines.append((method, f"{level:g}", *shares, mean_of(values).text(2, 100), behind))
    return lines


def summary_of(tables: Mapping[tuple[str, str], Mapping[Key, Sequence[Row]]], finetune: str) -> list[tuple[str, ...]]:
    """Returns the cells of the summary over data sets: methods and levels that were run on all of them."""
    there = [methods for (_, kind), methods in tables.items() if kind == finetune]
    keys = [key for key in (there[0] if there else {}) if all(key in methods for methods in there)]
    if len(there) < 2 or ("dense", 0.0) not in keys:
        return []
    runs: dict[str, Runs] = {
        _name(key): {str(i): [float(row["accuracy"]) for row in methods[key]] for i, methods in enumerate(there)}
        for key in keys
    }
    summaries = summarize(runs, _name(("dense", 0.0)))
    lines: list[tuple[str, ...]] = []
    for key in keys:
        s = summaries[_name(key)]
        lines.append((key[0], f"{key[1]:g}", s.accuracy.text(2, 100), s.error.text(1, 100) + " %", s.rank.text(1)))
    return lines


def markdown(
    rows: Sequence[Row], command: str, setting: str, skipped: Sequence[str], figure: str, unequal: Sequence[str] = ()
) -> str:
    """Renders the page; every table has the command that takes its rows again.

    Args:
        rows: The fine-tunings.
        command: Repeats them.
        setting: What they share, in words.
        skipped: Sentences about what could not be run.
        figure: The figure's file, relative to the page.
        unequal: Methods that are not held against the others.
    """
    tables = grouped(rows)
    parts = [
        "# What transfers",
        "Written by `python -m profilesearch.transfer`; do not edit. Accuracies are of all test images, in percent, "
        "after the last epoch; brackets are 95 % intervals over the seeds of the fine-tuning (Student's t), as if each "
        "were the only one on this page. Weights and MACs are those that are not zero, relative to the source, without "
        "the classifier; only where zeros are few are tensors smaller, and the network faster, without a sparse "
        "library. Masks remove the level of the weights exactly; smaller tensors keep at most half a percent more or "
        "less of all parameters, BatchNorm's and the classifier's included.",
        setting,
        f"    {command}",
        "To take one row again, add `--method METHOD --level LEVEL --downstream DATA --finetune KIND` of that row (any "
        "level for dense) and another `--out` folder.",
    ]
    parts += [f"![Accuracy against level]({figure})"]
    best = best_table(tables, unequal)
    if best:
        intro = (
            "Which method carries best at equal size? Not told apart are those whose paired difference reaches zero in "
            "its interval. Every compressed network was made once, and the intervals are over fine-tunings: they do "
            "not say what another compression by the same method would give."
        )
        parts += ["## Answers", intro, _markdown_table(BEST, best), *answers(tables, unequal)]
    for (downstream, finetune), methods in tables.items():
        parts += [f"## {downstream}, {finetune}", _markdown_table(HEAD, table_of(methods))]
    for finetune in dict.fromkeys(kind for _, kind in tables):
        lines = summary_of(tables, finetune)
        parts += [f"## Over data sets, {finetune}", _markdown_table(SUMMARY, lines)] if lines else []
    used = dict.fromkeys(name for table in tables.values() for name, _ in table)
    about = [f"- `{name}`, from {METHODS[name].start}: {METHODS[name].summary}" for name in used]
    parts += ["## Methods", "\n".join(about)]
    parts += ["## Out of reach", "\n".join(f"- {each}" for each in skipped)] if skipped else []
    return "\n\n".join(parts) + "\n"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draws accuracy against the removed weights, a panel for each downstream task and kind of fine-tuning."""
    tables = grouped(rows)
    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    figure = Figure(figsize=(5.5 * columns + 1.5, 3.6 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, ((downstream, finetune), methods) in zip(panels, tables.items(), strict=False):
        for place, method in enumerate(METHODS):
            points = [(key[1], found) for key, found in methods.items() if key[0] == method]
            if not points:
                continue
            means = [float(np.mean([float(row["accuracy"]) for row in found])) for _, found in points]
            color = mpl.colormaps["tab20"](place)
            if method == "dense":
                axes.axhline(means[0], color="black", linewidth=1, label=method)
                continue
            style = "-" if METHODS[method].structured else "--"
            axes.plot([level for level, _ in points], means, style, color=color, marker="o", markersize=4, label=method)
        axes.set_title(f"{downstream}, {finetune}", fontsize=10)
        axes.set_xlabel("weights removed")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in panels[len(tables) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    save_figure(figure, path)


def _name(key: Key) -> str:
    return f"{key[0]} {key[1]:g}"


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
