"""Sensitivity: what a network's outputs lose when one group alone is cut, and the profile that loses least by it.

It needs no search and no label: three networks a group are cut, refitted in closed form, and run on a few images.
Measuring layer by layer how much each can lose is an old way to choose keep ratios by hand (Li et al. 2017, arXiv
1608.08710); choosing them under a cost by losses that are added up is that of Frantar and Alistarh 2022 (SPDY, arXiv
2201.13096), for unstructured masks. Here losses are of the network's outputs, behind a refit.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.criteria import keep_channels
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.moments import MomentRefit
from profilesearch.networks.space import TOLERANCE, ProfileSpace
from profilesearch.networks.surgery import Pruner
from profilesearch.refitting import distance, outputs_of
from profilesearch.system.progress import Progress

RATIOS = (0.25, 0.5, 0.75)
"""Keep ratios at which each group is cut."""
FEWEST = 10
"""Images, at least."""
_JUDGES = 125
"""Images that outputs are compared on, at most; a fifth of those given, and no refit looks at them."""
_STEPS = 64
"""Cuts of each group on the way from the full network to the budget, at most."""
_PRICES = 12
"""Prices of parameters that are tried."""
_COARSE = 16
"""Cuts of each group at one of these, at most: with a hundred groups, what each step saves is what takes long."""
_FAR = 0.5
"""Part of the way to the full network that a profile may go, before it is scaled, to meet its budget."""
_LEAST = 1e-9
_LOST = 1e6
"""Loss of a network whose outputs are not finite."""


def sensitive(space: ProfileSpace, losses: FloatArray) -> IntArray:
    """Returns a profile of a budget that loses little, shape (G,), if what single groups lose adds up.

    From the full network on, the cut that loses least for what it saves comes next, until the budget is met. What that
    misses by, in small networks, is made up for by the smallest step towards the full network, scaled, that meets it.
    Where the budget has two metrics, parameters have a price besides, at which both are met.

    Args:
        space: The profile space.
        losses: By `group_losses`, shape (G, len(RATIOS)).
    """
    if np.ptp(losses) == 0:  # nothing is known of the groups: all keep the same part
        alike: IntArray = space.project(np.full((1, space.size), space.budget.keep))[0]
        return alike
    table, high = space.table, space.ends[1]
    curves = [_curve(int(channels), each) for channels, each in zip(table.channels, losses, strict=True)]
    if space.budget.keep_params is not None:
        return _meeting_both(space, curves, space.budget.keep_params)
    widths = _cut(space, curves)
    part = np.linspace(0, _FAR, _STEPS)[:, None]
    found = space.project((widths + part * (high - widths)) / table.channels)
    off = np.abs(space.relative(found) / space.budget.keep - 1)
    near: IntArray = found[int((off <= TOLERANCE).argmax() if (off <= TOLERANCE).any() else off.argmin())]
    return near


def _cut(space: ProfileSpace, curves: Sequence[FloatArray], price: float = 0.0, steps: int = _STEPS) -> IntArray:
    """Cuts from the full network on, always what loses least for what it saves, until the budget's metric is met.

    Args:
        space: The profile space.
        curves: Loss of each group by its width.
        price: What saving all parameters counts beside saving all of the metric; below 0, what keeping them does.
        steps: Cuts of each group, at most.
    """
    table, (low, high) = space.table, space.ends
    far = np.maximum(space.multiple, -(-table.channels // steps))
    widths: IntArray = high.copy()

    def spent(widths: IntArray) -> FloatArray:
        cost = space.relative(widths)
        return cost + price * space.cost.relative(widths, "params") if price else cost

    while float(space.relative(widths)) > space.budget.keep and (widths > low).any():
        cut = np.minimum(far, widths - low)
        saved = spent(widths) - spent(widths - np.diag(cut))
        lost = np.array([curve[w - c] - curve[w] for curve, w, c in zip(curves, widths, cut, strict=True)])
        worth = np.where((cut > 0) & (saved > 0), lost / np.maximum(saved, 1e-12), np.inf)
        if not np.isfinite(worth).any():
            break
        chosen = int(worth.argmin())
        widths[chosen] -= cut[chosen]
    return widths


def _meeting_both(space: ProfileSpace, curves: Sequence[FloatArray], keep_params: float) -> IntArray:
    """Returns the profile that loses least of those by several prices of parameters, moved onto both costs, (G,).

    Bisection looks for the price at which cuts that meet the first metric meet the second as well: a Lagrange
    multiplier (Everett 1963), so that no profile of these costs loses less, as far as losses and costs add up and
    curves are convex. To move the profile for the first metric alone to the second can lose more than uniform does,
    since no loss is looked at on that way. Whole channels move others a little too, and the best may be one of these.
    """
    tried, low, high = [], -np.pi / 2, np.pi / 2  # angles, among which any price is
    for _ in range(_PRICES):
        angle = (low + high) / 2
        widths = _cut(space, curves, float(np.tan(angle)) * space.budget.keep / keep_params, _COARSE)
        tried.append(widths)
        cheap = float(space.relative(widths)) <= space.budget.keep and space.relative_params(widths) <= keep_params
        low, high = (low, angle) if cheap else (angle, high)
    found = space.project(np.unique(tried, axis=0) / space.table.channels)
    reached = np.stack([space.relative(found) / space.budget.keep, space.cost.relative(found, "params") / keep_params])
    off = np.abs(reached - 1).max(axis=0)
    lost = np.sum([curve[each] for curve, each in zip(curves, found.T, strict=True)], axis=0)
    best: IntArray = found[int(np.where(off <= max(TOLERANCE, off.min()), lost, np.inf).argmin())]
    return best


def group_losses(
    model: nn.Module,
    table: GroupTable,
    order: Mapping[str, Tensor],
    images: Tensor,
    progress: Progress | None = None,
) -> FloatArray:
    """Measures what the outputs lose when one group alone keeps each of `RATIOS`, with all layers behind it refitted.

    Args:
        model: The full network, in single precision; never changed.
        table: Its channel groups, G of them.
        order: Of the channels of each group, the most important first.
        images: Normalized images, (N, C, H, W), on the device of the model; `FEWEST` or more.
        progress: Called before every group with groups done, groups in all, and its name.

    Returns:
        Squared errors of the outputs, relative to their square, shape (G, len(RATIOS)).
    """
    few = min(_JUDGES, len(images) // 5)
    judges, pruner = images[-few:], Pruner(model, table)
    refit, wanted = MomentRefit(model, table, images[:-few]), outputs_of(model, judges)
    losses = np.zeros((len(table.groups), len(RATIOS)))
    for number, group in enumerate(table.groups):
        if progress:
            progress(number, len(table.groups), group.name)
        for place, ratio in enumerate(RATIOS):
            widths = table.channels.copy()
            widths[number] = cut_width(group.channels, ratio)
            keep = keep_channels(order, table, widths)
            pruned = pruner.prune(keep)
            refit(pruned, keep)
            lost = distance(outputs_of(pruned, judges), wanted)
            losses[number, place] = lost if np.isfinite(lost) else _LOST
    return losses


def cut_width(channels: int, ratio: float) -> int:
    """Returns how many channels a group keeps at one of `RATIOS`: in narrow groups two of these may be one."""
    return max(1, round(ratio * channels))


def _curve(channels: int, losses: Sequence[float] | FloatArray) -> FloatArray:
    """Returns a group's loss for every width from 0 to all channels, shape (channels + 1,).

    Between and below the widths that were measured its logarithm is linear, and above them the loss itself, to zero.
    """
    measured = {cut_width(channels, ratio): float(loss) for ratio, loss in zip(RATIOS, losses, strict=True)}
    widths, known = np.arange(channels + 1), np.array(list(measured))
    logs = np.minimum.accumulate(np.log(np.maximum(list(measured.values()), _LEAST)))  # more channels never lose more
    slope = (logs[1] - logs[0]) / (known[1] - known[0]) if len(known) > 1 else 0.0
    below, above = widths < known[0], widths > known[-1]
    inside = np.interp(widths, known, logs)
    inside[below] = logs[0] + slope * (widths[below] - known[0])
    curve: FloatArray = np.exp(inside)
    curve[above] = np.exp(logs[-1]) * (channels - widths[above]) / max(1, channels - known[-1])
    curve[channels] = 0  # which in groups of one or two channels was measured as a cut
    return curve
