"""The figure of a comparison: the accuracy of every method, a panel for each task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from profilesearch.reporting.plots import save_figure
from profilesearch.research.study.records import Row
from profilesearch.research.transfers.answers import Key, Tables, accuracy_of
from profilesearch.research.transfers.methods import METHODS


def draw(tables: Tables, path: Path, what: str = "weights") -> None:
    """Draws a panel for each downstream task and kind of fine-tuning, a line for each method, a colour for each level.

    Args:
        tables: The rows.
        path: A picture file.
        what: What levels are of.
    """
    drawn = {name for table in tables.values() for name, _ in table} - {"dense"}  # a line
    methods = [name for name in METHODS if name in drawn][::-1]
    levels = sorted({level for table in tables.values() for _, level in table} - {0.0})
    colors = dict(zip(levels, mpl.colormaps["viridis_r"]([0.15 + 0.7 * i / max(1, len(levels) - 1)
                                                           for i in range(len(levels))]), strict=True))  # fmt: skip
    figure = Figure(
        figsize=(1.8 + 3.6 * len(tables), 1.4 + (0.18 + 0.08 * len(levels)) * len(methods)), layout="constrained"
    )
    panels = figure.subplots(1, len(tables), squeeze=False, sharey=True)[0]
    for axes, ((downstream, finetune), table) in zip(panels, tables.items(), strict=True):
        _panel(axes, table, methods, colors)
        axes.set_title(f"{downstream}, {finetune}", fontsize=10)
    panels[0].set_yticks(range(len(methods)), methods, fontsize=9)
    panels[0].set_ylim(-0.6, len(methods) - 0.4)
    handles = [panels[0].plot([], [], "o", color=color, label=f"{level:.0%} of the {what} removed")[0]
               for level, color in colors.items()]  # fmt: skip
    handles.append(panels[0].plot([], [], color="black", linewidth=1, label="dense")[0])
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    save_figure(figure, path)


def _panel(
    axes: Axes, table: Mapping[Key, Sequence[Row]], methods: Sequence[str], colors: Mapping[float, Sequence[float]]
) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#e4e7eb")
    for (method, level), rows in table.items():
        found = accuracy_of(rows)
        if method == "dense":
            axes.axvline(found.value, color="black", linewidth=1)
            continue
        place = methods.index(method) + 0.6 * (0.5 - (list(colors).index(level) + 0.5) / len(colors))  # side by side
        whole = found.high >= found.low  # a single seed has no interval
        sides = [[found.value - found.low], [found.high - found.value]] if whole else None
        axes.errorbar(found.value, place, xerr=sides, fmt="o", color=colors[level], markersize=4, capsize=2)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="x", labelsize=8)
