"""Analytic cost: multiply-adds and parameters of thousands of profiles at once, without building a network."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.profiles import Metric

FloatArray = NDArray[np.float64]
Layer = nn.Conv2d | nn.Linear


class CostModel:
    """Cost of a network as a function of the widths of its channel groups.

    Every dimension of every weight tensor is an affine function of the widths, so the size of a tensor is a product of
    affine functions. Parameters are the sum of the sizes; multiply-adds are the sizes of convolution and linear
    weights times the output positions that use them. Both are exact.

    Args:
        model: The full network.
        table: Its channel groups.
        example: One input, shape (1, C, H, W); the multiply-adds depend on its resolution.
        counted: Names of the tensors that parameters are counted of; all where None.
    """

    def __init__(
        self, model: nn.Module, table: GroupTable, example: Tensor, counted: Collection[str] | None = None
    ) -> None:
        self._channels = table.channels
        follows: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for place, group in enumerate(table.groups):
            for part in group.slices:
                follows[part.tensor].append((part.dim, place, part.rows.shape[1]))
        positions = _positions(model, example)
        self._fixed = {"macs": 0, "params": 0}
        sizes, slopes, factors = [], [], []
        self._weights: dict[str, tuple[FloatArray, FloatArray]] = {}
        for name, tensor in model.named_parameters():
            macs, params = positions.get(name, 0), int(counted is None or name in counted)
            whole = np.array([tensor.shape[0], tensor.shape[1]]) if tensor.dim() > 1 else np.zeros(2)
            self._weights[name] = whole.astype(np.float64), np.zeros((2, len(table.groups)))
            if name not in follows:
                self._fixed["macs"] += macs * tensor.numel()
                self._fixed["params"] += params * tensor.numel()
                continue
            rest = tensor.shape[2:].numel()
            sizes.append([tensor.shape[0], tensor.shape[1] if tensor.dim() > 1 else 1])
            slope = np.zeros((2, len(table.groups)))
            for dim, place, repeats in follows[name]:
                slope[dim, place] += repeats
            slopes.append(slope)
            self._weights[name] = self._weights[name][0], slope
            factors.append([macs * rest, params * rest])
        self._sizes = np.array(sizes, dtype=np.float64).reshape(-1, 2)
        self._slopes = np.array(slopes).reshape(-1, 2, len(table.groups))
        self._factors = np.array(factors, dtype=np.float64).reshape(-1, 2)

    def macs(self, widths: IntArray) -> IntArray:
        """Returns the multiply-adds of one image for widths of shape (..., G), as shape (...)."""
        return self.cost(widths, "macs")

    def params(self, widths: IntArray) -> IntArray:
        """Returns the number of parameters for widths of shape (..., G), as shape (...)."""
        return self.cost(widths, "params")

    def cost(self, widths: IntArray, metric: Metric) -> IntArray:
        """Returns the cost in the given metric for widths of shape (..., G), as shape (...)."""
        removed = np.asarray(self._channels - widths, dtype=np.float64)
        # (..., T, 2) sizes of the two leading dimensions of each of T tensors; exact in float64 below 2^53
        dims = self._sizes - np.einsum("...g,tdg->...td", removed, self._slopes, optimize=True)
        factor = self._factors[:, 0 if metric == "macs" else 1]
        total = (dims.prod(axis=-1) * factor).sum(axis=-1) + self._fixed[metric]
        whole: IntArray = np.rint(total).astype(np.int64)
        return whole

    def dimensions(self, tensor: str, widths: IntArray) -> tuple[FloatArray, FloatArray]:
        """Returns the sizes of a weight tensor's two leading dimensions for widths (..., G), each of shape (...)."""
        removed = np.asarray(self._channels - widths, dtype=np.float64)
        sizes, slopes = self._weights[tensor]
        one, other = sizes[:, None] - slopes @ removed.reshape(-1, len(self._channels)).T
        return one.reshape(removed.shape[:-1]), other.reshape(removed.shape[:-1])

    def relative(self, widths: IntArray, metric: Metric) -> FloatArray:
        """Returns the cost as a fraction of the full network's, in (0, 1], shape (...)."""
        return self.cost(widths, metric) / self.cost(self._channels, metric)

    def shares(self, metric: Metric) -> FloatArray:
        """Returns the fraction of the cost that vanishes with each group alone, shape (G,)."""
        without = self._channels - np.diag(self._channels)
        return 1 - self.relative(without, metric)


def _positions(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Returns, by weight name, how many output positions each convolution or linear weight serves in one image."""
    positions: dict[str, int] = defaultdict(int)

    def note(name: str, module: Layer, _: Tensor, output: Tensor) -> None:
        channel_last = isinstance(module, nn.Linear)
        positions[f"{name}.weight"] += output[0].numel() // output.shape[-1 if channel_last else 1]

    watch_layers(model, example, note)
    return positions


def watch_layers(model: nn.Module, example: Tensor, note: Callable[[str, Layer, Tensor, Tensor], None]) -> None:
    """Runs a network on an example and notes name, module, input and output of its convolutions and linear layers."""
    hooks = [
        module.register_forward_hook(lambda module, given, output, name=name: note(name, module, given[0], output))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        with evaluating(model), torch.inference_mode():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a network in evaluation mode and restores the mode that it had."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
