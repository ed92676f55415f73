"""Analytic cost: multiply-adds and parameters of thousands of profiles at once, without building a network."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from profilesearch.networks.counting import uses
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.profiles import Metric

FloatArray = NDArray[np.float64]


class CostModel:
    """Cost of a network as a function of the widths of its channel groups.

    Every dimension of every weight tensor is an affine function of the widths, so the size of a tensor is a product of
    affine functions. Parameters are the sum of the sizes; multiply-adds are the sizes of kernels times how often one
    image uses each of their entries. Operations without a kernel, as in attention, have channels that no profile may
    touch, and cost the same always. Both are exact: multiply-adds are those that torch's counter counts.

    Args:
        model: The full network.
        table: Its channel groups.
        example: One input, shape (1, C, H, W); the multiply-adds depend on its resolution.
        counted: Names of the tensors that parameters are counted of; all where None.

    Attributes:
        uses: All operations of the full network that are counted.

    Raises:
        UsageError: Torch's counter counts otherwise on the full network.
    """

    def __init__(
        self, model: nn.Module, table: GroupTable, example: Tensor, counted: Collection[str] | None = None
    ) -> None:
        self._channels = table.channels
        self._full: dict[Metric, IntArray] = {}
        follows: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for place, group in enumerate(table.groups):
            for part in group.slices:
                follows[part.tensor].append((part.dim, place, part.rows.shape[1]))
        with evaluating(model):
            self.uses = uses(model, example)
        shapes = {use.kernel: use.shape for use in self.uses}
        macs: dict[str, int] = defaultdict(int)
        for use in self.uses:
            macs[use.kernel] += use.macs
        params = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
        most = 1 + max((dim for every in follows.values() for dim, _, _ in every), default=1)
        self._fixed = {"macs": 0, "params": 0}
        sizes, slopes, factors = [], [], []
        self._weights: dict[str, tuple[FloatArray, FloatArray]] = {}
        for name, shape in (shapes | params).items():
            whole = np.array([*shape[:most], *[1] * (most - len(shape))], dtype=np.float64)
            slope = np.zeros((most, len(table.groups)))
            for dim, place, repeats in follows[name]:
                slope[dim, place] += repeats
            self._weights[name] = whole[:2], slope[:2]
            size = math.prod(shape)
            counts = [macs[name], size * (name in params and (counted is None or name in counted))]
            if not slope.any():
                self._fixed["macs"] += counts[0]
                self._fixed["params"] += counts[1]
                continue
            sizes.append(whole)
            slopes.append(slope)
            factors.append([count / whole.prod() for count in counts])
        self._sizes = np.array(sizes).reshape(len(sizes), most)
        self._slopes = np.array(slopes).reshape(len(slopes), most, len(table.groups))
        self._factors = np.array(factors).reshape(len(factors), 2)

    def macs(self, widths: IntArray) -> IntArray:
        """Returns the multiply-adds of one image for widths of shape (..., G), as shape (...)."""
        return self.cost(widths, "macs")

    def params(self, widths: IntArray) -> IntArray:
        """Returns the number of parameters for widths of shape (..., G), as shape (...)."""
        return self.cost(widths, "params")

    def cost(self, widths: IntArray | FloatArray, metric: Metric) -> IntArray:
        """Returns the cost in the given metric for widths of shape (..., G), as whole numbers of shape (...)."""
        whole: IntArray = np.rint(self._cost(widths, metric)).astype(np.int64)
        return whole

    def _cost(self, widths: IntArray | FloatArray, metric: Metric) -> FloatArray:
        removed = np.asarray(self._channels - widths, dtype=np.float64)
        # (..., T, D) sizes of the leading dimensions of each of T tensors; exact in float64 below 2^53
        dims = self._sizes - np.einsum("...g,tdg->...td", removed, self._slopes, optimize=True)
        factor = self._factors[:, 0 if metric == "macs" else 1]
        total: FloatArray = (dims.prod(axis=-1) * factor).sum(axis=-1) + self._fixed[metric]
        return total

    def dimensions(self, tensor: str, widths: IntArray | FloatArray) -> tuple[FloatArray, FloatArray]:
        """Returns the sizes of a weight tensor's two leading dimensions for widths (..., G), each of shape (...)."""
        removed = np.asarray(self._channels - widths, dtype=np.float64)
        sizes, slopes = self._weights[tensor]
        one, other = sizes[:, None] - slopes @ removed.reshape(-1, len(self._channels)).T
        return one.reshape(removed.shape[:-1]), other.reshape(removed.shape[:-1])

    def relative(self, widths: IntArray | FloatArray, metric: Metric) -> FloatArray:
        """Returns the cost as a fraction of the full network's, in (0, 1], shape (...).

        That of widths that are not whole is not rounded either: equations are solved for it.
        """
        if metric not in self._full:
            self._full[metric] = self.cost(self._channels, metric)
        whole = np.issubdtype(np.asarray(widths).dtype, np.integer)
        return (self.cost if whole else self._cost)(widths, metric) / self._full[metric]

    def shares(self, metric: Metric) -> FloatArray:
        """Returns the fraction of the cost that vanishes with each group alone, shape (G,)."""
        without = self._channels - np.diag(self._channels)
        return 1 - self.relative(without, metric)


def evaluated(network: nn.Module) -> nn.Module:
    """Returns a network, put in evaluation mode; some people's own `train`, which `eval` calls, returns nothing."""
    network.eval()
    return network


def in_training(network: nn.Module) -> nn.Module:
    """Returns a network, put in training mode."""
    network.train()
    return network


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a network in evaluation mode and restores the mode that each of its modules had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training
