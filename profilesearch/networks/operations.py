"""What operations of torch's own set do to channel labels: they move entries, combine them, or mix channels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from profilesearch.networks.counting import BATCHED
from profilesearch.networks.labels import CONSTANT, compact, entries, first, narrow, pad, varying
from profilesearch.networks.rules import Rules
from profilesearch.networks.tracking import tensors

_SAME = {"clone", "detach", "alias", "_to_copy", "contiguous", "dropout", "native_dropout", "lift_fresh", "to"}
_MOVING = {
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "cat", "stack", "split", "split_with_sizes",
    "slice", "select", "unsqueeze", "squeeze", "expand", "constant_pad_nd", "flip", "unbind", "repeat",
    "pixel_shuffle", "pixel_unshuffle", "narrow", "channel_shuffle", "unfold",
}  # fmt: skip
_CUTTING = {"split", "split_with_sizes", "unbind", "slice", "select", "narrow"}
_NUMBERED = {"roll", "index", "index_select"}
_NEW = {
    "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty", "new_zeros",
    "new_ones", "new_full", "bernoulli",
}  # fmt: skip
_REDUCING = {
    "mean", "sum", "amax", "amin", "max", "min", "std", "var", "std_mean", "var_mean", "prod", "logsumexp", "median",
    "linalg_vector_norm", "norm", "argmax", "argmin", "any", "all", "nansum", "nanmean",
}  # fmt: skip
_ALONG = {"_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "topk", "kthvalue"}
_READING = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero"}
_SPATIAL = {
    "max_pool1d": 1, "avg_pool1d": 1, "max_pool2d_with_indices": 2, "max_pool2d": 2, "avg_pool2d": 2,
    "max_pool3d_with_indices": 3, "avg_pool3d": 3, "adaptive_avg_pool1d": 1, "adaptive_max_pool1d": 1,
    "_adaptive_avg_pool2d": 2, "adaptive_max_pool2d": 2, "_adaptive_avg_pool3d": 3, "adaptive_max_pool3d": 3,
    "fractional_max_pool2d": 2, "max_unpool2d": 2, "upsample_nearest1d": 1, "upsample_linear1d": 1,
    "upsample_nearest2d": 2, "_upsample_nearest_exact2d": 2, "upsample_bilinear2d": 2, "upsample_bicubic2d": 2,
    "_upsample_bilinear2d_aa": 2, "_upsample_bicubic2d_aa": 2, "upsample_trilinear3d": 3, "upsample_nearest3d": 3,
    "reflection_pad1d": 1, "reflection_pad2d": 2, "reflection_pad3d": 3, "replication_pad1d": 1,
    "replication_pad2d": 2, "replication_pad3d": 3, "grid_sampler_2d": 2, "im2col": 2,
}  # fmt: skip
"""Over how many of the last dimensions an operation goes that treats every channel by itself."""
_POINTWISE = {
    "hardswish", "where", "add", "sub", "mul", "div", "rsub", "_prelu_kernel", "log_sigmoid_forward",
    "rrelu_with_noise",
}  # fmt: skip
_SUMS = {"add", "sub", "rsub"}
_PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}
_MIXING = {"bmm", "mm", "addmm", "baddbmm", "addbmm", "mv", "dot", "_trilinear", "_cdist_forward", "cummax", "cummin"}

_ATTENTION = "_scaled_dot_product"
"""How the names of torch's kernels of attention begin."""


class Operations:
    """Follows single operations.

    Args:
        rules: The labels that are known.

    Attributes:
        reads: Whether the network read a value that depends on the images, as `if x.max() > 1` does.
    """

    def __init__(self, rules: Rules) -> None:
        self.reads = False
        self._rules = rules

    def follow(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Follows one operation: its arguments, and what it made."""
        rules = self._rules
        given = [tensor for tensor in tensors((args, kwargs)) if rules.knows(tensor)]
        if not given:
            return
        name = func.overloadpacket.__name__.removesuffix("_")
        self.reads |= name in _READING
        rules.batched = name in BATCHED
        outs = tensors(out)
        if name in _SAME:
            rules.set(outs[0], rules.need(args[0]))
        elif name in _NEW:
            return
        elif name in _PRODUCTS and any(map(rules.kernel, args[-2:])):
            rules.product(outs[0], *args[-2:], *args[:-2])
        elif name in _MOVING:
            self._move(name, func, args, kwargs, outs)
        elif name in _NUMBERED:
            self._pick(func, args, kwargs, outs[0])
        elif name == "glu":
            self._halve(args[0], outs[0], *args[1:])
        elif name == "copy":
            rules.fix(given, "is copied into another tensor")
            rules.set(outs[0], rules.need(args[1]).broadcast_to(outs[0].shape))
        elif name in _POINTWISE or torch.Tag.pointwise in func.tags:
            self._combine(given, outs, name in _SUMS)
        elif name in _SPATIAL:
            self._pool(name, args, outs)
        elif name in _REDUCING | _ALONG and outs:
            self._reduce(name, func, args, kwargs, outs)
        else:
            how = "mixes channels" if name in _MIXING or name.startswith(_ATTENTION) else "is not followed"
            rules.mix(given, outs, f"goes through an operation that {how} ({name})")

    def _move(self, name: str, func: Any, args: Any, kwargs: Any, outs: list[Tensor]) -> None:
        need = self._rules.need
        if name in ("view", "_unsafe_view", "reshape"):
            self._rules.set(outs[0], self._view(need(args[0]), outs[0].shape))
            return
        if name == "channel_shuffle":
            labels, groups = need(args[0]), args[1]
            split = (len(labels), groups, labels.shape[1] // groups, *labels.shape[2:])
            self._rules.set(outs[0], compact(self._view(labels, split).transpose(1, 2).reshape(labels.shape)))
            return
        if name == "pixel_shuffle" and varying(need(args[0])) == [args[0].dim() - 3] and _all_made(need(args[0])):
            self._rules.set(outs[0], self._enlarge(need(args[0]), outs[0].shape))
            return
        if name == "constant_pad_nd":
            self._rules.set(outs[0], pad(need(args[0]), args[1]))
            return
        if name in ("cat", "stack") and self._join(name, *args, **kwargs, out=outs[0]):
            return
        swapped = tree_map(lambda item: need(item) if isinstance(item, Tensor) else item, (args, kwargs))
        pieces = tensors(func(*swapped[0], **swapped[1]))
        if name in _CUTTING:
            self._tie_pieces(swapped[0][0], pieces, name, args)
        for out, piece in zip(outs, pieces, strict=True):
            self._rules.set(out, compact(piece))

    def _join(self, name: str, several: Sequence[Tensor], dim: int = 0, *, out: Tensor) -> bool:
        """Ties the channels of tensors that are joined along another dimension than these; says whether they are."""
        dim %= out.dim()
        given = [self._rules.need(each) for each in several]
        if name == "stack":
            given = [each.unsqueeze(dim) for each in given]
        if any(each.dim() != out.dim() or not each.numel() or dim in varying(each) for each in given):
            return False
        rows = [each.narrow(dim, 0, 1) for each in given]
        if not all(varying(each) and _all_made(each) for each in rows):
            return False
        for each in rows[1:]:
            self._rules.labels.tie(rows[0], each)
        self._rules.set(out, compact(rows[0]).expand(out.shape))
        return True

    def _view(self, before: Tensor, shape: Sequence[int]) -> Tensor:
        """Reshapes labels: where that splits the channels into several dimensions, all but the last must stay whole.

        Along these, channels are one from then on, so that sums and softmax over them, as in split attention, mix none.
        """
        after = compact(before.reshape(shape))
        dims = varying(after)
        for dim in dims[:-1] if len(dims) > len(varying(before)) else []:
            one = after.select(dim, 0).unsqueeze(dim).expand_as(after)
            self._rules.labels.tie(after, one, across=True)
            after = one if _all_made(after) else after
        return after

    def _enlarge(self, before: Tensor, shape: Sequence[int]) -> Tensor:
        """Follows channels that become pixels: those that lie in one channel afterwards stay together."""
        parts = before.view(*before.shape[:-3], shape[-3], -1, *before.shape[-2:])
        kept = parts.select(-3, 0)
        self._rules.labels.tie(parts, kept.unsqueeze(-3).expand_as(parts))
        return first(kept, 2).expand(shape)

    def _tie_pieces(self, whole: Tensor, pieces: list[Tensor], name: str, args: Any) -> None:
        """Equal pieces of the channels must stay equal, unless each has its number; any others need numbers."""
        if sum(piece.numel() for piece in pieces) == whole.numel() and len({p.shape for p in pieces}) == 1:
            if varying(whole) != varying(pieces[0]) or not torch.equal(pieces[0], pieces[-1]):
                held = self._hold(whole, name, args)
                for piece in pieces[1:] if name != "split_with_sizes" or not held else []:
                    self._rules.labels.tie(pieces[0], piece, across=True)
        elif any(entries(piece) != entries(whole) for piece in pieces) and not self._hold(whole, name, args):
            self._rules.labels.fix(whole, "cut at a fixed place")

    def _hold(self, whole: Tensor, name: str, args: Any) -> bool:
        """Says whether the network keeps the numbers by which it cuts channels, and notes which follow what."""
        dims = varying(whole)
        if len(dims) != 1 or args[4:] not in ((), (1,)):  # a step
            return False
        channels = whole[tuple(slice(None) if dim in dims else 0 for dim in range(whole.dim()))]
        if name == "split_with_sizes":
            return self._rules.hold(args[1], torch.split(channels, args[1]), channels)
        if name == "split":
            return self._rules.hold([args[1]], [channels[: args[1]]], channels)
        bounds = [each for each in args[2:4] if each and abs(each) < len(channels)] if name == "slice" else []
        parts = [channels[:each] if each > 0 else channels[each:] for each in bounds]
        parts += [channels[slice(*bounds)]] if len(bounds) > 1 else []
        return bool(parts) and self._rules.hold([len(part) for part in parts], parts, channels)

    def _pick(self, func: Any, args: Any, kwargs: Any, out: Tensor) -> None:
        """Follows what takes entries by their numbers: channels among them are fixed."""
        labels = self._rules.need(args[0])
        picked = compact(func(labels, *args[1:], **kwargs))
        if _lines(picked) != _lines(labels):
            self._rules.labels.fix(labels, "picked by fixed numbers")
        self._rules.fix(tensors(args[1:]), "picked by fixed numbers")
        self._rules.set(out, picked)

    def _halve(self, given: Tensor, out: Tensor, dim: int = -1) -> None:
        """Follows a gated linear unit: one half times the other."""
        labels = self._rules.need(given)
        one, other = labels.chunk(2, dim)
        if dim % labels.dim() in varying(labels):
            self._rules.labels.tie(one, other, across=True)
        self._rules.set(out, compact(one))

    def _combine(self, given: list[Tensor], outs: list[Tensor], summed: bool) -> None:
        """Ties what meets in a sum or product; what is broadcast over channels serves them all, and is fixed."""
        rules, out = self._rules, outs[0]
        dims = sorted({d for t in given if not rules.is_fresh(t) for d in varying(rules.need(t), out.dim())})
        for tensor in given:
            rules.meet(tensor, dims, out)
        total = torch.full((), CONSTANT).expand(out.shape)
        for tensor in given:
            own = rules.need(tensor)
            labels = own.broadcast_to(out.shape)
            wide = set(varying(total)) | {dim for other in given for dim in varying(rules.need(other), out.dim())}
            offset = out.dim() - own.dim()
            if any(dim < offset or own.shape[dim - offset] == 1 for dim in wide if out.shape[dim] > 1):
                rules.labels.fix(own, "one value for several channels")
                continue
            one, other = narrow(total, labels)
            rules.labels.tie(one, other, across=summed)
            if tensor is not given[0]:
                for padded, met in ((one, other), (other, one)):
                    if bool((padded == CONSTANT).any()) and bool((padded != CONSTANT).any()):
                        rules.labels.fix(met[padded == CONSTANT], "meets padding of a fixed width in a sum")
            total = compact(torch.where(total == CONSTANT, labels, total))
        for each in outs:
            rules.set(each, total if each.shape == out.shape else total.new_full((), CONSTANT).expand(each.shape))

    def _pool(self, name: str, args: Any, outs: list[Tensor]) -> None:
        """Follows pooling, resizing and the like, which treat every channel by itself."""
        labels, over = self._rules.need(args[0]), _SPATIAL[name]
        if any(dim >= labels.dim() - over for dim in varying(labels)):
            self._rules.mix([args[0]], outs, f"goes through an operation that mixes channels ({name})")
            return
        if name == "grid_sampler_2d":
            self._rules.fix([args[1]], "one value for several channels")
        if name == "im2col":  # an entry for each place of a window of each channel
            labels = labels[..., 0].repeat_interleave(outs[0].shape[-2] // labels.shape[-3], -2)
            over = 1
        for out in outs:
            self._rules.set(out, first(labels, over).expand(out.shape))

    def _reduce(self, name: str, func: Any, args: Any, kwargs: Any, outs: list[Tensor]) -> None:
        """Follows means, norms and the like over some dimensions: channels among them are mixed."""
        labels = self._rules.need(args[0])
        place = next((i for i, each in enumerate(func._schema.arguments) if each.name == "dim"), len(args))
        asked = args[place] if len(args) > place else kwargs.get("dim")
        if asked is None and name in _ALONG:
            asked = -1
        asked = [asked] if isinstance(asked, int) else asked or range(labels.dim())
        gone = {dim % max(1, labels.dim()) for dim in asked}
        if gone & set(varying(labels)):
            self._rules.mix([args[0]], outs, f"goes through an operation that mixes channels ({name})")
            return
        rest = labels[tuple(slice(0, 1) if dim in gone else slice(None) for dim in range(labels.dim()))]
        for out in outs:
            made = rest.expand(out.shape) if name in _ALONG and out.dim() == rest.dim() else rest.reshape(out.shape)
            self._rules.set(out, compact(made))


def _all_made(labels: Tensor) -> bool:
    """Says whether a layer makes every entry: there is no padding among them."""
    return bool((narrow(labels)[0] != CONSTANT).all())


def _lines(labels: Tensor) -> list[list[int]]:
    """Returns the dimensions along which labels differ, and what lies along them."""
    dims = varying(labels)
    index = tuple(slice(None) if dim in dims else slice(0, 1) for dim in range(labels.dim()))
    flat: list[int] = labels[index].flatten().tolist()
    return [dims, flat]
