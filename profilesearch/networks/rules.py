"""What layers and operations do to channel labels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from profilesearch.networks.labels import CONSTANT, Labels, compact, entries, narrow, pad, varying

_SAME = {"clone", "detach", "alias", "_to_copy", "contiguous", "dropout", "native_dropout", "lift_fresh", "to"}
_MOVING = {
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "cat", "stack", "split", "split_with_sizes",
    "slice", "select", "unsqueeze", "squeeze", "expand", "constant_pad_nd", "flip", "roll", "unbind", "repeat",
    "pixel_shuffle", "pixel_unshuffle", "narrow",
}  # fmt: skip
_CUTTING = {"split", "split_with_sizes", "unbind", "slice", "select", "narrow"}
_NEW = {
    "empty_like",
    "zeros_like",
    "ones_like",
    "full_like",
    "rand_like",
    "new_empty",
    "new_zeros",
    "new_ones",
    "new_full",
}
_REDUCING = {"mean", "sum", "amax", "amin", "max", "min"}
_READING = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero"}
_SPATIAL = {
    "max_pool2d_with_indices", "max_pool2d", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
    "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa",
}  # fmt: skip
_POINTWISE = {"hardswish", "where", "add", "sub", "mul", "div", "rsub"}
_SUMS = {"add", "sub", "rsub"}


class Rules:
    """Keeps the labels of every tensor while a network runs: one method for each kind of layer or operation.

    Args:
        model: The network.
        labels: Where to note what is found out.

    Attributes:
        used: Names of the parameters that the network used.
        reads: Whether it read a value that depends on the images, as `if x.max() > 1` does.
    """

    def __init__(self, model: nn.Module, labels: Labels) -> None:
        self.used: set[str] = set()
        self.reads = False
        self._labels = labels
        self._layers = 0
        self._names = {id(t): n for n, t in (*model.named_parameters(), *model.named_buffers())}
        self._of: dict[int, Tensor] = {}
        self._alive: list[Tensor] = []  # so that no identity is given out twice

    def start(self, example: Tensor) -> None:
        """Labels the images, whose channels are given."""
        labels = self._labels.fresh(example.shape[1])
        self._labels.fix(labels, "the channels of the images")
        self._set(example, labels[None, :, None, None].expand(example.shape))

    def fix(self, tensors: Sequence[Tensor], reason: str) -> None:
        """Declares all channels in some tensors fixed."""
        for tensor in tensors:
            labels = self._get(tensor)
            if labels is not None:
                self._labels.fix(labels, reason)

    def convolution(
        self, out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
    ) -> None:
        """Follows a convolution: whole groups of a grouped one stay together, inputs with outputs."""
        groups = named.get("groups", rest[3] if len(rest) > 3 else 1)
        taken = self._channels(input, 1, "a convolution")
        made = self._make(out, 1, weight, bias)
        if groups == 1:
            self._take(weight, taken)
            return
        inside, outside = taken.reshape(groups, -1), made.reshape(groups, -1)
        for side in (inside, outside):
            self._labels.tie(side, outside[:, :1].expand_as(side))

    def linear(self, out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        """Follows a linear layer."""
        self._take(weight, self._channels(input, -1, "a linear layer"))
        self._make(out, -1, weight, bias)

    def batch_norm(self, out: Tensor, input: Tensor, *given: Any, **named: Any) -> None:
        """Follows a BatchNorm, which has values for every channel."""
        channels = self._channels(input, 1, "a BatchNorm")
        for tensor in (t for t in (*given, *named.values()) if isinstance(t, Tensor)):
            self._place(tensor, 0, channels)
        self._set(out, channels.reshape(-1, *[1] * (out.dim() - 2)).expand(out.shape))

    def normalization(self, out: Tensor, input: Tensor, *given: Any, **named: Any) -> None:
        """Follows a layer that normalizes over channels: pruning one changes the others."""
        self.fix([input], "normalized together with other channels (LayerNorm, GroupNorm)")
        for tensor in (*given, *named.values()):
            self.used.add(self._names.get(id(tensor), ""))
        labels = self._get(input)
        if labels is not None:
            self._set(out, labels)

    def same(self, out: Tensor, input: Tensor, *_: Any, **__: Any) -> None:
        """Follows what leaves every entry in its place."""
        self._set(out, self._need(input))

    def operation(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Follows an operation of torch's own set."""
        given = [tensor for tensor in tensors((args, kwargs)) if self._get(tensor) is not None]
        if not given:
            return
        name = func.overloadpacket.__name__.removesuffix("_")
        self.reads |= name in _READING
        outs = tensors(out)
        if name in _SAME:
            self._set(outs[0], self._need(args[0]))
        elif name in _NEW:
            return
        elif name in _MOVING:
            self._move(name, func, args, kwargs, outs)
        elif name in _POINTWISE or torch.Tag.pointwise in func.tags:
            self._combine(given, outs[0], name in _SUMS)
        elif name in _SPATIAL or (name in _REDUCING and outs):
            self._reduce(name, given[0], args, kwargs, outs[0])
        else:
            self._mix(given, outs, f"goes through an operation that mixes channels ({name})")

    def _move(self, name: str, func: Any, args: Any, kwargs: Any, outs: list[Tensor]) -> None:
        if name in ("view", "_unsafe_view"):
            before = self._need(args[0])
            moved = compact(before.reshape(outs[0].shape))
            self._tie_factors(before, moved)
            self._set(outs[0], moved)
            return
        if name == "constant_pad_nd":
            self._set(outs[0], pad(self._need(args[0]), args[1]))
            return
        swapped = tree_map(lambda item: self._need(item) if isinstance(item, Tensor) else item, (args, kwargs))
        pieces = tensors(func(*swapped[0], **swapped[1]))
        if name in _CUTTING:
            self._tie_pieces(swapped[0][0], pieces)
        for out, piece in zip(outs, pieces, strict=True):
            self._set(out, compact(piece))

    def _tie_factors(self, before: Tensor, after: Tensor) -> None:
        """Where a reshape splits the channels into several dimensions, all but the last must stay whole."""
        dims = varying(after)
        if len(dims) > len(varying(before)):
            for dim in dims[:-1]:
                self._labels.tie(after, after.select(dim, 0).unsqueeze(dim).expand_as(after), across=True)

    def _tie_pieces(self, whole: Tensor, pieces: list[Tensor]) -> None:
        """Equal pieces of the channels must stay equal; the channels of any other piece are fixed."""
        if sum(piece.numel() for piece in pieces) == whole.numel() and len({p.shape for p in pieces}) == 1:
            if varying(whole) != varying(pieces[0]) or not torch.equal(pieces[0], pieces[-1]):
                for piece in pieces[1:]:
                    self._labels.tie(pieces[0], piece, across=True)
        elif any(entries(piece) != entries(whole) for piece in pieces):
            self._labels.fix(whole, "cut at a fixed place")

    def _combine(self, given: list[Tensor], out: Tensor, summed: bool) -> None:
        """Ties what meets in a sum or product; what is broadcast over channels serves them all, and is fixed."""
        total = torch.full((), CONSTANT).expand(out.shape)
        for tensor in given:
            own = self._need(tensor)
            labels = own.broadcast_to(out.shape)
            wide = set(varying(total)) | {dim for other in given for dim in varying(self._need(other), out.dim())}
            offset = out.dim() - own.dim()
            if any(dim < offset or own.shape[dim - offset] == 1 for dim in wide if out.shape[dim] > 1):
                self._labels.fix(own, "one value for several channels")
                continue
            one, other = narrow(total, labels)
            self._labels.tie(one, other, across=summed)
            if tensor is not given[0]:
                for padded, met in ((one, other), (other, one)):
                    if bool((padded == CONSTANT).any()) and bool((padded != CONSTANT).any()):
                        self._labels.fix(met[padded == CONSTANT], "meets padding of a fixed width in a sum")
            total = compact(torch.where(total == CONSTANT, labels, total))
        self._set(out, total)

    def _reduce(self, name: str, given: Tensor, args: Any, kwargs: Any, out: Tensor) -> None:
        """Follows pooling, resizing, means and the like, which treat every channel by itself."""
        labels = self._need(given)
        dims = set(varying(labels))
        if name in _SPATIAL and dims <= {labels.dim() - 3}:
            self._set(out, labels[..., :1, :1].expand(out.shape))
            return
        asked = args[1] if len(args) > 1 else kwargs.get("dim")
        asked = [asked] if isinstance(asked, int) else asked or range(labels.dim())
        gone = {dim % labels.dim() for dim in asked}
        if name in _REDUCING and not gone & dims:
            rest = labels[tuple(slice(0, 1) if dim in gone else slice(None) for dim in range(labels.dim()))]
            self._set(out, compact(rest.reshape(out.shape)))
            return
        self._mix([given], [out], f"goes through an operation over several channels ({name})")

    def _mix(self, given: list[Tensor], outs: list[Tensor], reason: str) -> None:
        self.fix(given, reason)
        for out in outs:
            label = self._labels.fresh(1)
            self._labels.fix(label, reason)
            self._set(out, label[0].expand(out.shape))

    def _make(self, out: Tensor, dim: int, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Labels the channels that a layer makes."""
        made = self._labels.fresh(weight.shape[0])
        self._place(weight, 0, made)
        if bias is not None:
            self._place(bias, 0, made)
        name = self._names.get(id(weight))
        self._layers += 1
        if name is None:
            self._labels.fix(made, "its weights are computed on the fly")
        self._labels.made(name.rpartition(".")[0] if name else f"layer number {self._layers}", made)
        shape = [1] * out.dim()
        shape[dim] = -1
        self._set(out, made.reshape(shape).expand(out.shape))
        return made

    def _take(self, weight: Tensor, taken: Tensor) -> None:
        if id(weight) in self._names:
            self._place(weight, 1, taken)
        else:
            self._labels.fix(taken, "taken by weights that are computed on the fly")

    def _place(self, tensor: Tensor, dim: int, labels: Tensor) -> None:
        name = self._names.get(id(tensor))
        if name is not None:
            self.used.add(name)
            self._labels.place(name, dim, labels)

    def _channels(self, tensor: Tensor, dim: int, what: str) -> Tensor:
        """Returns the label of every channel of a layer's input, shape (channels,)."""
        labels = self._get(tensor)
        if labels is None:
            return torch.full((tensor.shape[dim],), CONSTANT)
        dim %= labels.dim()
        if any(other != dim for other in varying(labels)):
            self._labels.fix(labels, f"lies along another dimension than the channels of {what}")
        return labels[tuple(slice(None) if d == dim else 0 for d in range(labels.dim()))]

    def _get(self, tensor: Tensor) -> Tensor | None:
        if id(tensor) not in self._of and id(tensor) in self._names:
            self._set(tensor, self._label_parameter(tensor))
        return self._of.get(id(tensor))

    def _need(self, tensor: Tensor) -> Tensor:
        labels = self._get(tensor)
        return torch.full((), CONSTANT).expand(tensor.shape) if labels is None else labels

    def _label_parameter(self, tensor: Tensor) -> Tensor:
        """Labels a parameter or buffer that the network uses outside of a layer."""
        name = self._names[id(tensor)]
        self.used.add(name)
        long = [dim for dim, size in enumerate(tensor.shape) if size > 1]
        if not long:
            return torch.full((), CONSTANT).expand(tensor.shape)
        labels = self._labels.fresh(tensor.shape[long[0]] if len(long) == 1 else 1)
        if long == [0]:
            self._labels.place(name, 0, labels)
        else:
            self._labels.fix(labels, f"tied to '{name}', which is used outside of a layer")
        shape = [-1 if [dim] == long else 1 for dim in range(tensor.dim())]
        return labels.reshape(shape).expand(tensor.shape)

    def _set(self, tensor: Tensor, labels: Tensor) -> None:
        self._of[id(tensor)] = labels
        self._alive.append(tensor)


def tensors(tree: Any) -> list[Tensor]:
    """Returns all tensors in nested tuples, lists and dictionaries."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
