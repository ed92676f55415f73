"""Pictures of the study."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from profilesearch.networks.cost import FloatArray
from profilesearch.reporting.plots import save_figure


def plot_matrix(matrix: FloatArray, names: Sequence[str], title: str, path: Path) -> None:
    """Draws a matrix of correlations, shape (N, N), as a heat map with its numbers."""
    size = 2.5 + 0.55 * len(names)
    figure = Figure(figsize=(size + 1.5, size), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(matrix, vmin=0, vmax=1, cmap="Blues")
    short = [name.split("-", 1)[-1] for name in names]
    axes.set_xticks(range(len(names)), short, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), short, fontsize=7)
    for row, column in np.ndindex(matrix.shape):
        value = matrix[row, column]
        color = "white" if value > 0.6 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    axes.set_title(title, fontsize=10)
    save_figure(figure, path)


def plot_curves(
    curves: Mapping[str, FloatArray], levels: Mapping[str, float], labels: tuple[str, str], path: Path
) -> None:
    """Draws curves over evaluations, their mean and range over seeds.

    Args:
        curves: By name, shape (seeds, evaluations).
        levels: Horizontal lines by name.
        labels: Of both axes.
        path: PNG file to write.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(curves.items()):
        color = mpl.colormaps["tab10"](index % 10)
        steps = np.arange(1, values.shape[1] + 1)
        axes.plot(steps, values.mean(axis=0), color=color, label=name, linewidth=1.4)
        axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)
    for name, level in levels.items():
        axes.axhline(level, color="#555555", linewidth=1, linestyle="--")
        axes.annotate(name, (1, level), xycoords=("axes fraction", "data"), fontsize=7, ha="right", va="bottom")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    save_figure(figure, path)


def plot_spread(
    spreads: Mapping[str, Sequence[float]], marks: Mapping[str, Mapping[str, float]], label: str, path: Path
) -> None:
    """Draws how values spread, one strip a name, with marked values beside.

    Args:
        spreads: Values of random profiles, by name of the strip.
        marks: By strip, named values to mark.
        label: Of the axis of values.
        path: PNG file to write.
    """
    figure = Figure(figsize=(7, 1.2 + 1.1 * len(spreads)), layout="constrained")
    axes = figure.add_subplot()
    colors: dict[str, object] = {}
    random = np.random.default_rng(0)
    for place, (name, values) in enumerate(spreads.items()):
        heights = place + random.uniform(-0.2, 0.2, len(values))
        axes.plot(values, heights, ".", color="#8a97a8", markersize=4, label="random" if not place else None)
        for mark, value in marks.get(name, {}).items():
            first = mark not in colors
            color = colors.setdefault(mark, mpl.colormaps["tab10"](len(colors) % 10))
            axes.plot([value] * 2, [place - 0.35, place + 0.35], color=color, label=mark if first else None)
    axes.set_yticks(range(len(spreads)), list(spreads))
    axes.set_xlabel(label)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)
