"""What is known of the tensors of a network while it runs: labels of activations, names of parameters and buffers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from profilesearch.networks.counting import Kernel, Kernels
from profilesearch.networks.labels import CONSTANT, Labels, varying


class Tracked:
    """Keeps the labels of every tensor while a network runs.

    Args:
        model: The network.
        labels: Where to note what is found out.

    Attributes:
        labels: The same.
        used: Names of the parameters that the network used.
        batched: Whether the operation at hand takes a matrix for each image.
    """

    def __init__(self, model: nn.Module, labels: Labels) -> None:
        self.labels = labels
        self.used: set[str] = set()
        self.batched = False
        named = (*model.named_parameters(), *model.named_buffers())
        self._names = {id(tensor): name for name, tensor in named}
        self._kernels = Kernels(model)
        self._of: dict[int, Tensor] = {}
        self._alive: list[Tensor] = []  # so that no identity is given out twice

    def kernel(self, tensor: Tensor) -> Kernel | None:
        """Returns which parameter or buffer a tensor is a view of; None for what is computed on the fly."""
        return self._kernels.find(tensor, self.batched)

    def is_fresh(self, tensor: Tensor) -> bool:
        """Says whether a tensor is a parameter or buffer that has no labels yet."""
        return id(tensor) in self._names and id(tensor) not in self._of

    def knows(self, tensor: Tensor) -> bool:
        """Says whether a tensor has labels, or may get them."""
        return id(tensor) in self._of or id(tensor) in self._names

    def get(self, tensor: Tensor) -> Tensor | None:
        """Returns the labels of a tensor, of its shape; None for a constant."""
        if self.is_fresh(tensor):
            self.set(tensor, self._label_parameter(tensor))
        return self._of.get(id(tensor))

    def need(self, tensor: Tensor) -> Tensor:
        """Returns the labels of a tensor, of its shape."""
        labels = self.get(tensor)
        return torch.full((), CONSTANT).expand(tensor.shape) if labels is None else labels

    def set(self, tensor: Tensor, labels: Tensor) -> None:
        """Says what a tensor's labels are."""
        self._of[id(tensor)] = labels
        self._alive.append(tensor)

    def fix(self, tensors: Sequence[Tensor], reason: str) -> None:
        """Declares all channels in some tensors fixed."""
        for tensor in tensors:
            labels = self.get(tensor)
            if labels is not None:
                self.labels.fix(labels, reason)

    def mix(self, given: Sequence[Tensor], outs: Sequence[Tensor], reason: str) -> None:
        """Declares that outputs depend on whole inputs: the channels of both are fixed."""
        self.fix(given, reason)
        for out in outs:
            label = self.labels.fresh(1)
            self.labels.fix(label, reason)
            self.set(out, label[0].expand(out.shape))

    def place(self, tensor: Tensor, dim: int, labels: Tensor, takes: bool = False) -> None:
        """Says that index i of a dimension of a parameter belongs to labels[i]; computed ones are tied if labelled."""
        kernel = self.kernel(tensor)
        if kernel is not None:
            self.used.add(kernel.name)
            place = kernel.dims[dim]
            if place is not None:
                self.labels.place(kernel.name, place, labels, takes)
        elif id(tensor) in self._of:
            self.labels.tie(self.along(tensor, dim, "what is normalized"), labels)

    def along(self, tensor: Tensor, dim: int, what: str) -> Tensor:
        """Returns the label of every channel of a tensor, shape (channels,), which must lie along one dimension."""
        labels = self.get(tensor)
        if labels is None:
            return torch.full((tensor.shape[dim],), CONSTANT)
        dim %= labels.dim()
        if any(other != dim for other in varying(labels)):
            self.labels.fix(labels, f"lies along another dimension than the channels of {what}")
        return labels[tuple(slice(None) if d == dim else 0 for d in range(labels.dim()))]

    def meet(self, tensor: Tensor, dims: Sequence[int], out: Tensor) -> None:
        """Labels a parameter or buffer by the dimension along which it meets channels, before it is used.

        Args:
            tensor: Of any kind; others than parameters and buffers are left alone.
            dims: Along which the channels lie in `out`.
            out: What it is broadcast to.
        """
        if not self.is_fresh(tensor) or sum(size > 1 for size in tensor.shape) < 2 or len(dims) != 1:
            return
        dim = dims[0] - out.dim() + tensor.dim()
        if dim >= 0 and tensor.shape[dim] == out.shape[dims[0]]:
            labels = self.labels.fresh(tensor.shape[dim])
            self.place(tensor, dim, labels)
            self.set(tensor, labels.reshape(-1, *[1] * (tensor.dim() - dim - 1)).expand(tensor.shape))

    def _label_parameter(self, tensor: Tensor) -> Tensor:
        """Labels a parameter or buffer that the network uses outside of a layer."""
        name = self._names[id(tensor)]
        self.used.add(name)
        long = [dim for dim, size in enumerate(tensor.shape) if size > 1]
        if not long:
            return torch.full((), CONSTANT).expand(tensor.shape)
        labels = self.labels.fresh(tensor.shape[long[0]] if len(long) == 1 else 1)
        if len(long) == 1:
            self.place(tensor, long[0], labels)
        else:
            self.labels.fix(labels, f"tied to '{name}', which is used outside of a layer")
        shape = [-1 if [dim] == long else 1 for dim in range(tensor.dim())]
        return labels.reshape(shape).expand(tensor.shape)


def tensors(tree: Any) -> list[Tensor]:
    """Returns all tensors in nested tuples, lists and dictionaries."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
