"""What a channel group is, in numbers of one fixed scale for every network: read from its plan, never from a weight."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.counting import Use
from profilesearch.networks.groups import ChannelGroup, IntArray, Slice
from profilesearch.networks.space import ProfileSpace

FEATURES = (
    "place of the group in the network",
    "place of its first layer among all layers",
    "place of the group in its stage, of equal resolution",
    "groups of that stage, logarithm",
    "channels, logarithm",
    "channels, relative to the widest group",
    "share of the multiply-adds, relative to the costliest group",
    "share of the parameters, relative to the costliest group",
    "share of the multiply-adds, relative to the mean, logarithm",
    "share of the parameters, relative to the mean, logarithm",
    "share of the parameters over that of the multiply-adds, logarithm",
    "place among all groups in the order of that",
    "kernel size of the layers that make it",
    "kernel size of the layers that take it",
    "stride of the layers that make it",
    "resolution of the layers that make it, relative to the input, logarithm",
    "channels over those that its first layer takes, logarithm",
    "channels that the layers that take it make, over its own, logarithm",
    "number of layers that make it, logarithm",
    "number of layers that take it, logarithm",
    "plain: none of the following",
    "bottleneck: made by a 1x1 convolution and taken by a larger one",
    "expansion: filtered channel by channel",
    "grouped: goes through a convolution in groups",
    "residual stream",
    "concatenated with others",
    "taken by a linear layer",
    "scope `all`",
    "budget of parameters",
)
"""All in [0, 1]; logarithms of ratios in [-1, 1]."""
_STAGE, _CHANNELS, _SHARE, _RATIO, _KERNEL, _STEPS, _WIDTH, _COUNT = 7.0, 12.0, 6.0, 8.0, 7.0, 6.0, 4.0, 5.0
"""What logarithms to base 2 and kernel sizes are divided by."""
_LEAST = 1e-9


@dataclass(frozen=True, eq=False)
class _Layers:
    """The kernels around a group: those that make its channels or filter them, and those that take them."""

    makes: tuple[tuple[Use, int], ...]
    takes: tuple[tuple[Use, Slice], ...]


def group_features(space: ProfileSpace) -> FloatArray:
    """Returns what the groups of a network are, shape (G, len(FEATURES)).

    Args:
        space: Its profile space; of the budget, the metric alone matters.
    """
    table, cost = space.table, space.cost
    channels = table.channels
    macs, params = (np.maximum(cost.shares(metric), _LEAST) for metric in ("macs", "params"))
    uses = {use.kernel: (use, place) for place, use in enumerate(cost.uses)}
    around = [_around(group, uses) for group in table.groups]
    resolution = np.array([_resolution(each, cost.uses) for each in around])
    stage, members = _stages(resolution)
    ratio = np.log2(params / macs)
    rows = [_of_layers(group, each, len(cost.uses)) for group, each in zip(table.groups, around, strict=True)]
    first, kernels, taken, strides, before, after, makers, takers, *roles = np.array(rows).T
    columns = [
        np.linspace(0, 1, space.size),
        first,
        stage,
        np.log2(1 + members) / _STAGE,
        np.log2(channels) / _CHANNELS,
        channels / channels.max(),
        macs / macs.max(),
        params / params.max(),
        np.log2(macs / macs.mean()) / _SHARE,
        np.log2(params / params.mean()) / _SHARE,
        ratio / _RATIO,
        np.argsort(np.argsort(ratio, kind="stable"), kind="stable") / max(1, space.size - 1),
        kernels / _KERNEL,
        taken / _KERNEL,
        strides > 1,
        1 + np.log2(resolution) / _STEPS,
        np.log2(before) / _WIDTH,
        np.log2(after) / _WIDTH,
        np.log2(np.maximum(1, makers)) / _COUNT,
        np.log2(1 + takers) / _COUNT,
        np.array(roles).sum(axis=0) == 0,
        *roles,
        np.full(space.size, space.scope == "all"),
        np.full(space.size, space.budget.metric == "params"),
    ]
    features: FloatArray = np.clip(np.stack(columns, axis=1).astype(np.float64), -1, 1)
    return features


def _around(group: ChannelGroup, uses: dict[str, tuple[Use, int]]) -> _Layers:
    makes, takes = [], []
    for part in group.slices:
        if part.tensor not in uses:
            continue
        use, place = uses[part.tensor]
        if part.takes:
            takes.append((use, part))
        else:
            makes.append((use, place))
    return _Layers(tuple(sorted(makes, key=lambda each: each[1])), tuple(takes))


def _of_layers(group: ChannelGroup, around: _Layers, layers: int) -> list[float]:
    """Returns those features of one group that its layers give, roles last."""
    made = [use for use, _ in around.makes]
    kernel, taken = (max(map(_kernel, each), default=1) for each in (made, [use for use, _ in around.takes]))
    split = [_groups(use) for use in made]
    filtered = [count > 1 and count == use.shape[0] for count, use in zip(split, made, strict=True)]
    whole = [use for use, count in zip(made, split, strict=True) if count == 1]
    before = group.channels / max(1, _other(whole[0])) if whole else 1.0
    after = np.mean([_made_by(use, part) for use, part in around.takes]) / group.channels if around.takes else 1.0
    return [
        around.makes[0][1] / max(1, layers - 1) if made else 0.0,
        kernel,
        taken,
        max(map(_stride, made), default=1),
        before,
        float(after),
        len(group.layers),
        len(around.takes),
        len(whole) == 1 and _kernel(whole[0]) == 1 and taken > 1 and not any(filtered),
        any(filtered),
        any(count > 1 for count in split) and not all(f for f, c in zip(filtered, split, strict=True) if c > 1),
        group.scope == "all",
        any(use.shape[part.dim] > part.rows.size for use, part in around.takes),
        any(use.operation != "convolution" for use, _ in around.takes),
    ]


def _resolution(around: _Layers, uses: Sequence[Use]) -> float:
    """Height of what a group's last layer makes, relative to that of the first layer's input; in (0, 1]."""
    whole = _height(uses[0])
    heights = [_height(use) * (_stride(use) if _turned(use) else 1 / _stride(use)) for use, _ in around.makes[-1:]]
    return float(np.clip((heights or [1.0])[0] / whole, 2.0**-_STEPS, 1.0))


def _stages(resolution: FloatArray) -> tuple[FloatArray, IntArray]:
    """Place of each group, from 0 to 1, among all of its resolution, and how many these are."""
    members: dict[float, list[int]] = defaultdict(list)
    for place, height in enumerate(resolution.tolist()):
        members[round(height, 6)].append(place)
    places, counts = np.zeros(len(resolution)), np.zeros(len(resolution), dtype=np.int64)
    for every in members.values():
        places[every], counts[every] = np.linspace(0, 1, len(every)), len(every)
    return places, counts


def _height(use: Use) -> int:
    return use.given[-1] if use.operation == "convolution" else 1


def _kernel(use: Use) -> int:
    return max(use.shape[2:], default=1)


def _stride(use: Use) -> int:
    return int(max(use.settings[0])) if use.operation == "convolution" else 1


def _groups(use: Use) -> int:
    return int(use.settings[-1]) if use.operation == "convolution" else 1


def _turned(use: Use) -> bool:
    """Whether a kernel has its inputs first."""
    return bool(use.settings[3]) if use.operation == "convolution" else use.turned


def _other(use: Use) -> int:
    """Channels that an ungrouped layer takes."""
    return use.shape[0 if _turned(use) else 1] if len(use.shape) > 1 else 1


def _made_by(use: Use, part: Slice) -> int:
    """Channels that a layer makes of what it takes."""
    return use.shape[1 - part.dim] if len(use.shape) > 1 and part.dim < 2 else 1
