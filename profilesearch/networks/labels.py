"""Channel labels: which slices of which tensors belong together, as equations that a traced network gives."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from profilesearch.networks.groups import ChannelGroup, GroupTable, IntArray, OutOfScope, Slice
from profilesearch.profiles import Scope

CONSTANT = 0
"""Label of what no channel makes, such as padding."""
UNUSED = "not used by the forward pass"
"""Why layers are left that never run."""
_NONE: IntArray = np.empty(0, dtype=np.int64)
Signature = tuple[tuple[str, int, int], ...]
"""Of a channel: every tensor and dimension that it has indices in, and how many."""


@dataclass
class Labels:
    """Hands out labels, and collects what is found out about them.

    A label is a positive integer that stands for one channel of one layer. Labels that are tied are one channel.

    Attributes:
        handed_out: How many labels there are, with `CONSTANT`.
    """

    handed_out: int = 1
    _ties: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    _fixed: list[tuple[IntArray, str]] = field(default_factory=list)
    _across: list[IntArray] = field(default_factory=list)
    _places: dict[tuple[str, int], list[IntArray]] = field(default_factory=lambda: defaultdict(list))
    _takes: set[tuple[str, int]] = field(default_factory=set)
    _makers: dict[str, tuple[int, IntArray]] = field(default_factory=dict)

    def fresh(self, channels: int) -> Tensor:
        """Returns new labels, shape (channels,)."""
        self.handed_out += channels
        return torch.arange(self.handed_out - channels, self.handed_out)

    def tie(self, one: Tensor, other: Tensor, across: bool = False) -> None:
        """Declares labels equal, place by place.

        Args:
            one: Labels.
            other: Labels, of the same shape.
            across: Whether this ties layers of different blocks, as a residual sum does.
        """
        ours, theirs = (labels.numpy() for labels in narrow(one, other))
        new = (ours != theirs) & (ours != CONSTANT) & (theirs != CONSTANT)
        if new.any():
            ours, theirs = np.divmod(np.unique((ours * self.handed_out + theirs)[new]), self.handed_out)
            self._ties.append((ours, theirs))
            self._across += [ours] if across else []

    def fix(self, labels: Tensor, reason: str) -> None:
        """Declares that labels cannot be pruned, with the reason that users see."""
        self._fixed.append((np.unique(narrow(labels)[0].numpy()), reason))

    def place(self, tensor: str, dim: int, labels: Tensor, takes: bool = False) -> None:
        """Says that index i of a tensor's dimension belongs to labels[i]; another use of the index ties the labels.

        Args:
            tensor: Name of a parameter or buffer.
            dim: Of it.
            labels: One for each index.
            takes: Whether the tensor sums over this dimension, as a weight does over the inputs of its layer.
        """
        self._places[tensor, dim].append(labels.numpy())
        self._takes |= {(tensor, dim)} if takes else set()

    def made(self, kernel: str, dim: int, labels: Tensor) -> None:
        """Says that a kernel computes these channels anew, along a dimension of its own."""
        self._makers.setdefault(kernel, (dim, labels.numpy()))

    def table(self, kernels: Mapping[str, int] | None = None, used: Collection[str] = ()) -> GroupTable:
        """Returns the channel groups, in the order in which the network makes them.

        Channels that have the same number of indices in the same tensors form a group.

        Args:
            kernels: Channels of all weights, by name: those that make or follow no channel are out of scope too.
            used: Names of those that the network used.
        """
        self._tie_places()
        channel_of = self._components()
        reasons, rows, makers = self._reasons(channel_of), self._rows(channel_of), self._makers_of(channel_of)
        takes = self._takes
        across = set(channel_of[np.concatenate([*self._across, _NONE])].tolist())
        alike: dict[tuple[Signature, str], list[int]] = defaultdict(list)
        for channel in makers:  # in the network's order
            signature = tuple((*place, len(indices)) for place, indices in sorted(rows[channel].items()))
            alike[signature, reasons.get(channel, "")].append(channel)
        groups: list[ChannelGroup] = []
        excluded = []
        for (signature, reason), channels in alike.items():
            made_by = makers[channels[0]]
            layers = tuple(map(layer_of, made_by))
            taken = any((tensor, dim) in takes for tensor, dim, _ in signature)
            if reason or not taken or len(channels) == 1:
                place = (made_by[0], self._makers[made_by[0]][0])
                made = sum(number for tensor, dim, number in signature if (tensor, dim) == place)
                why = reason or ("all of its channels are tied to one another" if taken else "no layer takes them")
                excluded.append(OutOfScope(layers[0], len(channels) * max(1, made), why, layers))
                continue
            again = sum(group.name.partition("#")[0] == layers[0] for group in groups)
            name = f"{layers[0]}#{again + 1}" if again else layers[0]
            scope: Scope = "all" if len(layers) > 1 and channels[0] in across else "block"
            slices = tuple(
                Slice(tensor, dim, np.array([sorted(rows[c][tensor, dim]) for c in channels]), (tensor, dim) in takes)
                for tensor, dim, _ in signature
            )
            groups.append(ChannelGroup(name, len(channels), scope, slices, layers))
        named = {tensor for signature, _ in alike for tensor, _, _ in signature} | set(self._makers)
        for kernel, size in (kernels or {}).items():
            if kernel not in named:
                why = "used outside of a layer" if kernel in used else UNUSED
                excluded.append(OutOfScope(layer_of(kernel), size, why, (layer_of(kernel),)))
        return GroupTable(tuple(groups), tuple(excluded))

    def _reasons(self, channel_of: IntArray) -> dict[int, str]:
        """Why channels are fixed: the first reason that was found."""
        reasons: dict[int, str] = {}
        for labels, reason in reversed(self._fixed):
            reasons |= dict.fromkeys(channel_of[labels[labels != CONSTANT]].tolist(), reason)
        return reasons

    def _rows(self, channel_of: IntArray) -> dict[int, dict[tuple[str, int], list[int]]]:
        """The indices of every channel, by tensor and dimension."""
        rows: dict[int, dict[tuple[str, int], list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, uses in self._places.items():
            for index, channel in enumerate(channel_of[uses[0]].tolist()):
                rows[channel][place].append(index)
        return rows

    def _makers_of(self, channel_of: IntArray) -> dict[int, list[str]]:
        """The kernels that make every channel, in the network's order."""
        makers: dict[int, list[str]] = defaultdict(list)
        for kernel, (_, labels) in self._makers.items():
            for channel in dict.fromkeys(channel_of[labels].tolist()):
                makers[channel].append(kernel)
        return makers

    def _tie_places(self) -> None:
        for uses in self._places.values():
            self._ties += [(uses[0], labels) for labels in uses[1:]]

    def _components(self) -> IntArray:
        """Returns the channel of every label, shape (count,)."""
        ends = [np.concatenate([_NONE, *(tie[end] for tie in self._ties)]) for end in (0, 1)]
        graph = coo_array(
            (np.ones(len(ends[0]), dtype=np.int8), (ends[0], ends[1])), shape=(self.handed_out, self.handed_out)
        )
        found: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
        return found


def layer_of(kernel: str) -> str:
    """Names the layer of a weight: the module of one that is called so, other parameters by themselves."""
    return kernel.removesuffix(".weight")


def narrow(*several: Tensor) -> list[Tensor]:
    """Drops the entries of equally shaped tensors that only repeat others, along dimensions that use no memory."""
    strides = zip(*(labels.stride() for labels in several), strict=True)
    index = tuple(slice(None) if any(stride) else slice(0, 1) for stride in strides)
    return [labels[index] for labels in several]


def varying(labels: Tensor, dims: int | None = None) -> list[int]:
    """Returns the dimensions along which labels differ, counted in a tensor of `dims` dimensions."""
    offset = (labels.dim() if dims is None else dims) - labels.dim()
    return [dim + offset for dim in _different(labels)]


def _different(labels: Tensor) -> Iterator[int]:
    for dim, (size, stride) in enumerate(zip(labels.shape, labels.stride(), strict=True)):
        if size > 1 and stride and not bool((labels == labels.select(dim, 0).unsqueeze(dim)).all()):
            yield dim


def pad(labels: Tensor, pads: Sequence[int]) -> Tensor:
    """Pads labels: with constants along the channels, and with more of the same along other dimensions."""
    channels = varying(labels) or [labels.dim() - 3]
    for place, (low, high) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        dim = labels.dim() - 1 - place
        if dim in channels:
            labels = torch.constant_pad_nd(labels, [0, 0] * place + [low, high], CONSTANT)
        else:
            shape = [*labels.shape[:dim], labels.shape[dim] + low + high, *labels.shape[dim + 1 :]]
            labels = labels.narrow(dim, 0, 1).expand(shape)
    return compact(labels)


def compact(labels: Tensor) -> Tensor:
    """Returns the same labels with one entry in memory for each that repeats along a dimension."""
    dims = set(_different(labels))
    first = tuple(slice(None) if dim in dims else slice(0, 1) for dim in range(labels.dim()))
    return labels[first].expand(labels.shape)


def first(labels: Tensor, dims: int) -> Tensor:
    """Returns the first entry along each of the last dimensions, which stay."""
    for dim in range(labels.dim() - dims, labels.dim()):
        labels = labels.narrow(dim, 0, 1)
    return labels


def entries(labels: Tensor) -> set[int]:
    """Returns the labels that occur."""
    return set(narrow(labels)[0].flatten().tolist())
