"""The criterion `reconstruction`: keep the channels without which the layers that read them cannot be mended."""

import torch
from torch import Tensor, nn

from profilesearch.networks.groups import ChannelGroup, GroupTable
from profilesearch.networks.moments import readers, second_moments
from profilesearch.system.progress import Progress

_RIDGE = 1e-2
_AT_ONCE = 32
"""Channels whose removal changes the inverse moments at once."""
_FEWER = 0.75
"""Part of the channels that are known at which the others are forgotten."""
_WIDE = 8
"""`_Products` is faster where a layer's inputs, times those of a channel, are at most this many times its outputs."""


def reconstruction_orders(
    model: nn.Module, table: GroupTable, images: Tensor, progress: Progress | None = None
) -> dict[str, Tensor]:
    """Orders the channels of every group by what the layers behind would lose, refitted, the most important first.

    Channels are removed one by one. Each time the one goes whose loss is smallest when the weights that read the others
    are fitted anew by least squares: Optimal Brain Surgeon (Hassibi and Stork 1993) for blocks of weights, with its
    updates of the inverse, as in Frantar and Alistarh 2022 (arXiv 2208.11580). So the orders serve all widths.

    Args:
        model: The full network.
        table: Its channel groups.
        images: Normalized training images, (N, C, H, W).
        progress: Called before every group with groups done, groups in all, and its name.

    Returns:
        Channel indices, shape (channels,), by group name; groups that no layer reads, or only layers whose moments
        are not known, are left out.
    """
    moments = second_moments(model, readers(table), images)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters() if name in moments}
    orders = {}
    for number, group in enumerate(table.groups):
        if progress:
            progress(number, len(table.groups), group.name)
        blocks = [
            _Reader(weights[part.tensor], moments[part.tensor], part.rows)
            for part in group.slices
            if part.takes and part.dim == 1 and part.tensor in moments
        ]
        if blocks:
            orders[group.name] = _order(group, blocks)
    return orders


class _Reader:
    """A layer that reads a group: the inverse moments of its inputs, and its weights on these channels.

    Updates of large matrices are collected and made many at a time, which reads them as many times less.

    Args:
        weight: Shape (O, I, ...).
        moments: Second moments of its inputs, (d, d), where an input channel has d / I of them.
        rows: Input channels that belong to each channel of the group, (channels, r).
    """

    def __init__(self, weight: Tensor, moments: Tensor, rows: object) -> None:
        flat = weight.flatten(2).double() if weight.dim() > 2 else weight[:, :, None].double()
        each = flat.shape[2]
        own = (torch.as_tensor(rows, device=weight.device)[:, :, None] * each + torch.arange(each)).flatten(1)
        channels, self._size = own.shape
        moments = moments.to(torch.float64, copy=True)  # another group may read them too
        self._scale = torch.einsum("oi,ij,oj->", flat.flatten(1), moments, flat.flatten(1)).clamp_min(1e-30)
        moments.diagonal().add_(_RIDGE * moments.diagonal().mean().clamp_min(1e-30))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments))  # in half the time of any other matrix
        self._inverse = inverse[own.flatten()[:, None], own.flatten()]
        del moments, inverse  # large ones
        blocks = self._inverse.reshape(channels, self._size, channels, self._size)
        self._blocks = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()
        read = flat.flatten(1)[:, own.flatten()]  # (O, all)
        each_read = read.T.reshape(channels, self._size, -1)
        self._squares = each_read @ each_read.mT
        self._weights = (_Products if self._size * own.numel() <= _WIDE * len(read) else _Weights)(read)
        self._across: list[Tensor] = []
        self._steps: list[Tensor] = []

    def losses(self, left: Tensor) -> Tensor:
        """Returns what the layer's outputs lose, relative to their mean square, without each of the channels left."""
        blocks, squares = self._blocks[left], self._squares[left]
        alone = self._size == 1  # much faster than solving one equation at a time
        lost: Tensor = squares / blocks if alone else torch.linalg.solve(blocks, squares)
        return lost.diagonal(dim1=1, dim2=2).sum(dim=1) / self._scale

    def remove(self, channel: int) -> None:
        """Takes a channel out, and fits the weights on the others anew."""
        own = slice(channel * self._size, (channel + 1) * self._size)
        across = self._inverse[own].clone()  # (r, all)
        if self._steps:
            across -= torch.cat(self._across)[:, own].T @ torch.cat(self._steps)
        step = torch.linalg.solve(across[:, own], across)
        self._blocks -= _by_channel(across).mT @ _by_channel(step)
        self._squares -= self._weights.remove(own, step)
        self._across.append(across)
        self._steps.append(step)

    def update(self) -> None:
        """Makes the updates of large matrices that were collected."""
        self._inverse.addmm_(torch.cat(self._across).T, torch.cat(self._steps), alpha=-1)
        self._weights.update()
        self._across, self._steps = [], []

    def forget(self, left: Tensor) -> None:
        """Forgets all channels but those left, once updates are made; from now on, these are all."""
        own = (left[:, None] * self._size + torch.arange(self._size, device=left.device)).flatten()
        self._inverse = self._inverse[own[:, None], own]
        self._blocks, self._squares = self._blocks[left], self._squares[left]
        self._weights.forget(own)


class _Weights:
    """Weights W (O, all) of a layer on the channels of a group: faster where it makes few channels of many inputs."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    def remove(self, own: slice, step: Tensor) -> Tensor:
        """Moves the weights on the inputs `own` to all by a step (r, all) for each; those on themselves are zero then.

        Returns:
            What the products of each channel's weights with one another, W'W of it alone, lose by it: (channels, r, r).
        """
        gone = self._weight[:, own].clone()
        self._weight -= gone @ step
        # W'W was (V + G T)'(V + G T), where V is W now, G what is gone, T the step.
        moved = _by_channel(gone.T @ self._weight).mT @ _by_channel(step)
        return moved + moved.mT + _by_channel(step).mT @ (gone.T @ gone) @ _by_channel(step)

    def update(self) -> None:
        """Makes what was collected, which is nothing here."""

    def forget(self, own: Tensor) -> None:
        """Forgets all inputs but those given."""
        self._weight = self._weight[:, own]


class _Products:
    """The same by W'W (all, all), whose updates are collected like those of the inverse.

    With W now G T less, W'W is T'S + S'T less, where S is G'W - G'G T / 2.
    """

    def __init__(self, weight: Tensor) -> None:
        self._products = weight.T @ weight
        self._steps: list[Tensor] = []
        self._halves: list[Tensor] = []

    def remove(self, own: slice, step: Tensor) -> Tensor:
        """See `_Weights`."""
        across = self._products[own].clone()  # (r, all)
        if self._steps:
            steps, halves = torch.cat(self._steps), torch.cat(self._halves)
            across -= steps[:, own].T @ halves + halves[:, own].T @ steps
        half = across - across[:, own] @ step / 2
        self._steps.append(step)
        self._halves.append(half)
        moved = _by_channel(step).mT @ _by_channel(half)
        return moved + moved.mT

    def update(self) -> None:
        """Makes the updates that were collected."""
        steps, halves = torch.cat(self._steps), torch.cat(self._halves)
        self._products.addmm_(steps.T, halves, alpha=-1).addmm_(halves.T, steps, alpha=-1)
        self._steps, self._halves = [], []

    def forget(self, own: Tensor) -> None:
        """See `_Weights`."""
        self._products = self._products[own[:, None], own]


def _by_channel(rows: Tensor) -> Tensor:
    """Returns rows (r, all) as (channels, r, r)."""
    return rows.reshape(len(rows), -1, len(rows)).movedim(0, 1)


def _order(group: ChannelGroup, readers: list[_Reader]) -> Tensor:
    known = left = torch.arange(group.channels)  # those that readers know, and places in them
    gone = []
    while len(left) > 1:
        place = int(torch.stack([reader.losses(left) for reader in readers]).sum(dim=0).argmin())
        gone.append(int(known[left[place]]))
        for reader in readers:
            reader.remove(int(left[place]))
        left = torch.cat([left[:place], left[place + 1 :]])
        if len(gone) % _AT_ONCE == 0:
            for reader in readers:
                reader.update()
            if len(left) <= _FEWER * len(known):  # not each time: large matrices are slow to copy
                for reader in readers:
                    reader.forget(left)
                known, left = known[left], torch.arange(len(left))
    return torch.tensor([int(known[left[0]]), *reversed(gone)])
