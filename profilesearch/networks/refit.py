"""Refit: weights of a pruned network in closed form, by which its layers give again what the full network's gave.

Where the inputs of a layer are cut, its weights are fitted anew by least squares on images, without a gradient, as in
He et al. 2017 (arXiv 1707.06168) and ThiNet (Luo et al. 2017, arXiv 1707.06342). `sequential` fits all layers in one
forward pass of the pruned network over all images: when it comes to a layer, the inputs that arrive there are those
that the layers before, refitted already, make of the images, so each layer also mends what they left. `full` fits each
layer whose inputs are cut on what is left of the full network's. BatchNorm keeps the full network's statistics, since
what it receives is fitted to what it was made for. How far the weights may move is chosen for each layer on images that
its fit did not see.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from profilesearch.errors import UsageError, choose
from profilesearch.networks.cost import evaluating
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.inputs import Call, Calls, read_once
from profilesearch.networks.names import INPUTS
from profilesearch.system.progress import Progress

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Pulls towards the weights as cut, relative to the mean square of the inputs, to choose from."""
POSITIONS = 64
"""Output positions of every image that a layer is fitted on."""
_ROWS = 32_768
"""Most rows of one fit."""
_LEARNED = 0.75
"""Part of the images that fits learn from; pulls are chosen on the others."""
_EXACT = 1e-10
"""Part of a layer's output below which what is left to mend is rounding."""


@dataclass(frozen=True, eq=False)
class Aim:
    """What a layer of the full network gives at some positions.

    Attributes:
        made: What it gives of the outputs that are kept, (n, O).
        rows: Its inputs, those that are kept, (n, I), where some are not and networks will be fitted on `full`.
    """

    made: Tensor
    rows: Tensor | None


@dataclass(frozen=True, eq=False)
class Aims:
    """What layers of a pruned network are fitted to, and where.

    Attributes:
        layers: By the name of the weight.
        alone: Names of the parameters that one operation alone reads.
        positions: Output positions of every image.
    """

    layers: Mapping[str, Aim]
    alone: Collection[str]
    positions: int


def aims(
    full: nn.Module,
    table: GroupTable,
    keep: Mapping[str, Tensor],
    images: Tensor,
    ways: Collection[str] = INPUTS,
) -> Aims:
    """Returns what the layers of a full network give, found in one forward pass over all images.

    A weight that other operations read too has no aim. Needs memory for that pass, for what layers give at up to
    `POSITIONS` positions of every image, and for fits on `full` for what cut layers are given there.

    Args:
        full: The full network, never changed.
        table: The channel groups.
        keep: Kept channels of every group, sorted ascending, by group name.
        images: Normalized training images, (N, C, H, W), on the device of `full`; two at least.
        ways: Of `INPUTS`, those by which networks will be fitted.

    Raises:
        UsageError: There are fewer than two images.
    """
    if len(images) < 2:
        raise UsageError(
            "refitting weights needs training images, two or more: one to fit on and one to check the fit; got "
            f"{len(images)}; give more, or let the refit be none"
        )
    positions = max(1, min(POSITIONS, _ROWS // len(images)))
    kept = kept_entries(full, table, keep)
    layers: dict[str, Aim] = {}

    def record(call: Call) -> None:
        outputs, columns = (kept.get((call.weight, dim)) for dim in (0, 1))
        if call.weight not in alone or (columns is None and "sequential" not in ways):
            return
        rows = call.rows(positions)
        made, own = _apply(call, rows), None
        if columns is not None and "full" in ways:
            own = rows.reshape(len(rows), len(columns), -1)[:, columns].flatten(1)
        layers[call.weight] = Aim(made if outputs is None else made[:, outputs], own)

    with torch.no_grad(), evaluating(full):
        alone = read_once(full, images[:2])
        with Calls(full, record):
            full(images.clone())  # which some change in place
    return Aims(layers, alone, positions)


def refit(
    pruned: nn.Module,
    wanted: Aims,
    images: Tensor,
    inputs: str = "sequential",
    ridges: Sequence[float] = RIDGES,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Fits the weights of a pruned network so that its layers give what those of the full network give.

    Convolutions and linear layers are fitted that read all of their input channels and whose weights nothing else
    reads, their biases where these are parameters that nothing else reads; depthwise and grouped ones stay as cut,
    since what they read is not cut within their groups, and so do those that get more or less rows than in the full
    network, as experts do that tokens are sent to. Needs memory for one forward pass over all images; the matrices
    solved are as large as a layer has inputs, or as there are rows where these are fewer.

    Args:
        pruned: Changed in place.
        wanted: By `aims`, of the same images.
        images: Normalized training images, (N, C, H, W), on the device of `pruned`; two at least.
        inputs: On what layers are fitted, one of the ways that were asked for.
        ridges: Pulls to choose from; a layer for which none helps on the images left out stays as it was cut.
        progress: Called before every layer with layers done, layers in all, and its weight's name.

    Returns:
        Names of the refitted weights.

    Raises:
        UsageError: `inputs` is unknown.
    """
    choose("refit", inputs, INPUTS)
    left = {name: each for name, each in wanted.layers.items() if inputs == "sequential" or each.rows is not None}
    count, learned = len(left), max(1, int(len(images) * _LEARNED)) / len(images)
    fitted: list[str] = []

    def fit(call: Call) -> None:
        aim = left.pop(call.weight, None)
        if aim is None:
            return
        if progress:
            progress(count - len(left) - 1, count, call.weight)
        rows = call.rows(wanted.positions) if inputs == "sequential" or aim.rows is None else aim.rows
        if len(rows) == len(aim.made) and _fit(call, rows, aim.made, learned, ridges, call.shift in wanted.alone):
            fitted.append(call.weight)

    with torch.no_grad(), evaluating(pruned), Calls(pruned, fit):
        pruned(images.clone())
    return tuple(fitted)


def _fit(call: Call, rows: Tensor, target: Tensor, learned: float, ridges: Sequence[float], biased: bool) -> bool:
    """Fits one layer on rows (n, I) and the outputs to reach (n, O), the first part of them; says whether that helps.

    Its bias is fitted too where it is `biased`. Rows come image by image, so that the images behind that part are seen
    by no layer's fit.
    """
    missing = target - _apply(call, rows)
    if not missing.square().sum() > _EXACT * target.square().sum():  # also where it is not finite
        return False
    border = round(len(rows) * learned)
    fit = _Fit(rows[:border], missing[:border], biased)
    change = _chosen(fit, rows[border:], missing[border:], ridges)
    if change is None:
        return False
    call.value.add_(change.reshape(call.value.shape))
    if biased and call.bias is not None:
        call.bias.add_(fit.bias(change))
    return True


def _chosen(fit: "_Fit", rows: Tensor, missing: Tensor, ridges: Sequence[float]) -> Tensor | None:
    """Returns what to add to the weights, by the pull with the smallest error on other rows; None where none helps."""
    least, chosen = float(missing.square().sum()), None
    for ridge in ridges:
        change = fit.weights(ridge)
        error = float((missing - rows @ change.T - fit.bias(change)).square().sum())
        if error < least:
            least, chosen = error, change
    return chosen


class _Fit:
    """Weights that explain `missing` (n, O) by `rows` (n, I), by the smaller of two equal ways.

    Args:
        rows: Inputs.
        missing: What the outputs lack.
        biased: Whether there is a bias to fit, too.
    """

    def __init__(self, rows: Tensor, missing: Tensor, biased: bool) -> None:
        self._mean, self._shift = (each.mean(dim=0) * biased for each in (rows, missing))
        self._rows = rows - self._mean if biased else rows
        self._missing = missing - self._shift if biased else missing
        self._few = rows.shape[0] < rows.shape[1]
        self._moments = (self._rows @ self._rows.T if self._few else self._rows.T @ self._rows).double()
        self._given = (self._missing if self._few else self._rows.T @ self._missing).double()
        self._unit = float(self._rows.square().sum(dtype=torch.float64)) / rows.shape[1]

    def weights(self, ridge: float) -> Tensor:
        """Returns the weights (O, I) for a pull towards zero, relative to the mean square of the inputs."""
        moments = self._moments.clone()
        moments.diagonal().add_(max(ridge * self._unit, 1e-30))
        solved = torch.cholesky_solve(self._given, torch.linalg.cholesky(moments)).to(self._rows.dtype)
        return solved.T @ self._rows if self._few else solved.T

    def bias(self, weights: Tensor) -> Tensor:
        """Returns what is to be added to the bias with these weights; zeros where there is none."""
        return self._shift - weights @ self._mean


def _apply(call: Call, rows: Tensor) -> Tensor:
    made = rows @ call.value.flatten(1).T
    return made if call.bias is None else made + call.bias


def kept_entries(full: nn.Module, table: GroupTable, keep: Mapping[str, Tensor]) -> dict[tuple[str, int], Tensor]:
    """Returns masks, on the processor, of what is kept of the outputs (dimension 0) and inputs (1) of cut weights."""
    stays: dict[tuple[str, int], Tensor] = {}
    shapes = {name: each.shape for name, each in full.named_parameters()}
    for group in table.groups:
        removed = torch.ones(group.channels, dtype=torch.bool)
        removed[keep[group.name]] = False
        for part in (part for part in group.slices if part.tensor in shapes):
            size = shapes[part.tensor][part.dim]
            mask = stays.setdefault((part.tensor, part.dim), torch.ones(size, dtype=torch.bool))
            mask[torch.from_numpy(part.rows)[removed].flatten()] = False
    return stays
