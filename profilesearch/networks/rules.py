"""What layers do to channel labels: those that have weights, or treat channels in a way of their own."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from profilesearch.networks.labels import Labels, first, pad, varying
from profilesearch.networks.numbers import holding
from profilesearch.networks.tracking import Tracked

FLY = "its weights are computed on the fly"
"""Why layers are left whose weights no parameter is."""


class Rules(Tracked):
    """Follows layers: one method for each kind.

    Attributes:
        operation_name: Of the operation that torch's counter counted last; what a kernel without a name is called.
        running: Names of the modules that run, each within the one before; empty where a module has none.
    """

    def __init__(self, model: nn.Module, labels: Labels) -> None:
        super().__init__(model, labels)
        self.operation_name = ""
        self.running: list[str] = []
        self._modules = dict(model.named_modules())
        self._layers = 0
        self._unnamed: set[str] = set()

    def hold(self, sizes: Sequence[int], pieces: Sequence[Tensor], whole: Tensor) -> bool:
        """Notes which numbers of the module that runs, or of one around it, say where channels are cut.

        Args:
            sizes: Of the pieces.
            pieces: Labels of the channels of each, shapes (size,).
            whole: Labels of all channels.

        Returns:
            Whether there are any.
        """
        for name in reversed(self.running):
            found = holding(self._modules[name], sizes, len(whole))
            if found is None:
                continue
            for names, labels in zip(found, (*pieces, whole), strict=True):
                for number in names:
                    self.labels.place(f"{name}.{number}" if name else number, 0, labels)
            return True
        return False

    def start(self, example: Tensor) -> None:
        """Labels the images, whose channels are given."""
        labels = self.labels.fresh(example.shape[1])
        self.labels.fix(labels, "the channels of the images")
        self.set(example, labels[None, :, None, None].expand(example.shape))

    def convolution(
        self, out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
    ) -> None:
        """Follows a convolution: whole groups of a grouped one stay together, inputs with outputs."""
        self._convolve(out, input, weight, bias, named.get("groups", rest[3] if len(rest) > 3 else 1), False)

    def transposed_convolution(
        self, out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
    ) -> None:
        """Follows a transposed convolution, whose weight has its inputs first."""
        self._convolve(out, input, weight, bias, named.get("groups", rest[3] if len(rest) > 3 else 1), True)

    def _convolve(
        self, out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, turned: bool
    ) -> None:
        dim = input.dim() - weight.dim() + 1
        taken = self.along(input, dim, "a convolution")
        if groups == 1:
            self._make(out, dim, weight, int(turned), bias)
            self._take(weight, int(not turned), taken)
            return
        if groups == len(taken) and self.kernel(weight) is None:
            self._filter(out, dim, weight, taken, bias)
            return
        made = self.labels.fresh(out.shape[dim])
        self._made(out, dim, weight, 0, made, bias)
        if self.kernel(weight):
            self.place(weight, 0, taken if turned else made)
        inside, outside = taken.reshape(groups, -1), made.reshape(groups, -1)
        for side in (inside, outside):
            self.labels.tie(side, outside[:, :1].expand_as(side))

    def _filter(self, out: Tensor, dim: int, weight: Tensor, taken: Tensor, bias: Tensor | None) -> None:
        """Follows a filter that treats every channel by itself, and whose kernel is made on the fly."""
        made = taken.repeat_interleave(out.shape[dim] // len(taken))
        own = self.get(weight)
        for each in [] if own is None else varying(own):
            if each == 0 and len(own) in (len(made), len(taken)):  # type: ignore[arg-type]
                self.labels.tie(self.along(weight, 0, "a filter"), made if len(own) == len(made) else taken)  # type: ignore[arg-type]
            else:
                self.labels.fix(taken, FLY)
        if bias is not None:
            self.place(bias, 0, made)
        self.labels.place(self.operation_name, 0, made if len(weight) == len(made) else taken)
        self._spread(out, dim, made)

    def linear(self, out: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        """Follows a linear layer."""
        if weight.dim() == 1:
            self.mix([input, weight], [out], "goes through an operation that mixes channels (linear)")
            return
        self._take(weight, 1, self.along(input, -1, "a linear layer"))
        self._make(out, -1, weight, 0, bias)

    def product(self, out: Tensor, one: Tensor, other: Tensor, bias: Tensor | None = None) -> None:
        """Follows the product of two matrices, or batches of them, of which one is a kernel."""
        if self.kernel(other):
            self._take(other, -2, self.along(one, -1, "a matrix product"))
            self._make(out, -1, other, -1, bias)
        else:
            self._take(one, -1, self.along(other, -2, "a matrix product"))
            self._make(out, -2, one, -2, None)
            self.fix([] if bias is None else [bias], "one value for several channels")

    def batch_norm(self, out: Tensor, input: Tensor, *given: Any, **named: Any) -> None:
        """Follows a BatchNorm or InstanceNorm, which has values for every channel."""
        self._each(out, input, 1, [t for t in (*given, *named.values()) if isinstance(t, Tensor)])

    def group_norm(self, out: Tensor, input: Tensor, num_groups: int, *given: Any, **named: Any) -> None:
        """Follows a GroupNorm; with one channel a group it treats every channel by itself."""
        own = [t for t in (*given, *named.values()) if isinstance(t, Tensor)]
        if num_groups == input.shape[1]:
            self._each(out, input, 1, own)
        else:
            self._normalize(out, input, own)

    def layer_norm(self, out: Tensor, input: Tensor, shape: Sequence[int], *given: Any, **named: Any) -> None:
        """Follows a normalization over the last dimensions: if channels are among them, pruning one changes others."""
        own = [t for t in (*given, *named.values()) if isinstance(t, Tensor)]
        labels = self.need(input)
        if all(dim < labels.dim() - len(shape) for dim in varying(labels)):
            self.used |= {kernel.name for kernel in map(self.kernel, own) if kernel}
            self.set(out, labels)
        else:
            self._normalize(out, input, own)

    def _each(self, out: Tensor, input: Tensor, dim: int, own: Sequence[Tensor]) -> None:
        channels = self.along(input, dim, "a normalization")
        for tensor in own:
            self.place(tensor, 0, channels)
        self._spread(out, dim, channels)

    def _normalize(self, out: Tensor, input: Tensor, own: Sequence[Tensor]) -> None:
        self.fix([input], "normalized together with other channels (LayerNorm, GroupNorm)")
        self.used |= {kernel.name for kernel in map(self.kernel, own) if kernel}
        labels = self.get(input)
        if labels is not None:
            self.set(out, labels)

    def padding(
        self, out: Tensor, input: Tensor, pads: Sequence[int], mode: str = "constant", value: float | None = None
    ) -> None:
        """Follows padding: with constants along any dimension, with the image's own pixels along those of the image."""
        labels = self.need(input)
        if mode == "constant":
            self.set(out, pad(labels, pads))
        elif all(dim < labels.dim() - len(pads) // 2 for dim in varying(labels)):
            self.set(out, first(labels, len(pads) // 2).expand(out.shape))
        else:
            self.mix([input], [out], f"goes through an operation that mixes channels ({mode} padding)")

    def same(self, out: Tensor, input: Tensor, *_: Any, **__: Any) -> None:
        """Follows what leaves every entry in its place."""
        self.set(out, self.need(input))

    def _make(self, out: Tensor, dim: int, weight: Tensor, makes: int, bias: Tensor | None) -> None:
        """Labels the channels that a layer makes."""
        made = self.labels.fresh(weight.shape[makes])
        if self.kernel(weight):
            self.place(weight, makes, made)
        self._made(out, dim, weight, makes, made, bias)

    def _made(self, out: Tensor, dim: int, weight: Tensor, makes: int, made: Tensor, bias: Tensor | None) -> None:
        """Notes the channels that a layer makes, and their bias."""
        if bias is not None:
            self.place(bias, 0, made)
        kernel = self.kernel(weight)
        self._layers += 1
        if kernel is None:
            self.labels.fix(made, FLY)
            self.fix([weight], FLY)
        else:
            self.used.add(kernel.name)
        name, dims = kernel or (self._name(), ())
        self.labels.made(name, dims[makes] or 0 if dims else 0, made)
        self._spread(out, dim, made)

    def _name(self) -> str:
        """Names a layer whose kernel has no name: by the module that runs, or by a number of its own."""
        module = self.running[-1] if self.running else ""
        name = module if module and module not in self._unnamed else f"layer number {self._layers}"
        self._unnamed.add(name)
        return name

    def _take(self, weight: Tensor, dim: int, taken: Tensor) -> None:
        if self.kernel(weight) is not None:
            self.place(weight, dim, taken, takes=True)
        else:
            self.labels.fix(taken, "taken by weights that are computed on the fly")

    def _spread(self, out: Tensor, dim: int, channels: Tensor) -> None:
        """Labels an output whose channels lie along one dimension."""
        shape = [1] * out.dim()
        shape[dim] = -1
        self.set(out, channels.reshape(shape).expand(out.shape))


KINDS: dict[Any, Callable[..., None]] = {
    torch.nn.functional.linear: Rules.linear,
    torch.nn.functional.conv1d: Rules.convolution,
    torch.nn.functional.conv2d: Rules.convolution,
    torch.nn.functional.conv3d: Rules.convolution,
    torch.nn.functional.conv_transpose1d: Rules.transposed_convolution,
    torch.nn.functional.conv_transpose2d: Rules.transposed_convolution,
    torch.nn.functional.conv_transpose3d: Rules.transposed_convolution,
    torch.nn.functional.batch_norm: Rules.batch_norm,
    torch.nn.functional.instance_norm: Rules.batch_norm,
    torch.nn.functional.group_norm: Rules.group_norm,
    torch.nn.functional.layer_norm: Rules.layer_norm,
    torch.nn.functional.rms_norm: Rules.layer_norm,
    torch.nn.functional.pad: Rules.padding,
    torch.nn.functional.dropout: Rules.same,
}
"""Rules by function of torch."""
