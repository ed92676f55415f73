"""Pictures: a profile as bars over the network, the curves of searches, accuracy against cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter

from profilesearch.errors import printable
from profilesearch.networks.groups import IntArray
from profilesearch.reporting.series import Palette
from profilesearch.system.files import write_atomically

_FULL, _KEPT, _LINE = "#d9dee5", "#2f6f9f", "#c1553b"
_MARKERS = "os^Dv*PX<>"
Points = Mapping[str, tuple[float, float, float, float]]
"""By name, (cost, accuracy, low and high end of its interval), all as fractions."""


def profile_figure(
    names: Sequence[str], channels: IntArray, widths: IntArray, title: str, colour: str = _KEPT
) -> Figure:
    """Draws kept over all channels of every group, with the keep ratios as a line.

    Args:
        names: Of the groups, G of them.
        channels: All channels, shape (G,).
        widths: Kept channels, shape (G,).
        title: Above the picture.
        colour: Of the kept channels.
    """
    places = np.arange(len(widths))
    figure = Figure(figsize=(max(6.0, 0.3 * len(widths)), 4), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(places, channels, color=_FULL, label="all channels", width=0.8)
    axes.bar(places, widths, color=colour, label="kept", width=0.8)
    axes.set_xticks(places, names, rotation=90, fontsize=7)
    axes.set_ylabel("channels")
    axes.set_title(title, fontsize=10, pad=22)
    ratios = axes.twinx()
    ratios.plot(places, widths / channels, color=_LINE, marker="o", markersize=3, linewidth=1, label="keep ratio")
    ratios.set_ylim(0, 1.05)
    ratios.set_ylabel("keep ratio")
    handles = [*axes.get_legend_handles_labels()[0], *ratios.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return figure


def rivals_figure(names: Sequence[str], channels: IntArray, widths: Mapping[str, IntArray], title: str) -> Figure:
    """Draws the keep ratios of several profiles over the groups of one network.

    Args:
        names: Of the groups, G of them.
        channels: All channels, shape (G,).
        widths: By profile, kept channels, shape (G,).
        title: Above the picture.
    """
    places = np.arange(len(channels))
    figure = Figure(figsize=(max(6.0, 0.3 * len(channels)), 4), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, each) in enumerate(widths.items()):
        color = (_KEPT, _LINE, "#8a8f98")[number % 3]
        axes.step(places, each / channels, where="mid", color=color, label=name, linewidth=2.0 if not number else 1.2)
    axes.set_xticks(places, names, rotation=90, fontsize=7)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("keep ratio")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, ncols=3, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.06))
    axes.grid(alpha=0.3, axis="y")
    return figure


def search_figure(
    curves: Mapping[str, Sequence[Sequence[float]]],
    policies: Mapping[str, Sequence[tuple[int, float]]],
    palette: Palette | None = None,
) -> Figure:
    """Draws best-so-far against evaluations.

    Args:
        curves: By searcher, the best fitness after each evaluation, once for every seed.
        policies: By searcher, (evaluation, fitness) of a policy's deterministic profiles.
        palette: Of the page.
    """
    palette = palette or Palette()
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, runs in curves.items():
        color = palette(name)
        for number, run in enumerate(runs):
            label = name if number == 0 else None
            steps = np.arange(1, len(run) + 1)
            marker = "o" if len(run) == 1 else None
            axes.plot(steps, run, color=color, label=label, linewidth=1.4, drawstyle="steps-post", marker=marker)
        if name in policies:
            at, values = zip(*policies[name], strict=True)
            axes.plot(at, values, ".", color=color, markersize=5, label=f"{name}: the policy's own profile")
    axes.set_xlabel("evaluations")
    axes.set_ylabel("accuracy relative to the unpruned models\n(search images)")
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    return figure


def tradeoff_figure(runs: Mapping[str, Points], labels: tuple[str, str], palette: Palette) -> Figure:
    """Draws accuracy against cost: a run in one colour, its points with markers of their own.

    Args:
        runs: Points by run.
        labels: Of both axes.
        palette: Of the page.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for run, points in runs.items():
        for place, (name, (cost, accuracy, low, high)) in enumerate(points.items()):
            error = [[accuracy - low], [high - accuracy]]
            marker = _MARKERS[place % len(_MARKERS)]
            axes.errorbar(cost, accuracy, error, fmt=marker, color=palette(run), capsize=3, markersize=5, label=name)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(alpha=0.3)
    return figure


def as_they_are(figure: Figure) -> Figure:
    """Has a figure show its texts as they are, names of files among them: no formulas, nothing that no font has."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text()))
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically."""
    as_they_are(figure)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=110, metadata={"Software": None}))
