"""The criterion `reconstruction`: keep the channels without which the layers that read them cannot be mended."""

import torch
from torch import Tensor, nn

from profilesearch.networks.groups import ChannelGroup, GroupTable
from profilesearch.networks.moments import readers, second_moments
from profilesearch.system.progress import Progress

_RIDGE = 1e-2
_AT_ONCE = 32
"""Channels whose removal changes the inverse moments at once."""


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
    """A layer that reads a group: its weights on these channels, and the inverse moments of its inputs.

    Updates of the inverse are collected and made many at a time, which reads that large matrix as many times less.

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
        moments = moments.double()
        self._scale = torch.einsum("oi,ij,oj->", flat.flatten(1), moments, flat.flatten(1)).clamp_min(1e-30)
        moments.diagonal().add_(_RIDGE * moments.diagonal().mean().clamp_min(1e-30))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments))  # in half the time of any other matrix
        self._inverse = inverse[own.flatten()[:, None], own.flatten()]
        blocks = self._inverse.reshape(channels, self._size, channels, self._size)
        self._blocks = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()
        self._weight = flat.flatten(1)[:, own.flatten()]  # (O, all)
        each_weight = self._weight.T.reshape(channels, self._size, -1)
        self._squares = each_weight @ each_weight.mT
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
        self._blocks -= self._by_channel(across).mT @ self._by_channel(step)
        gone = self._weight[:, own].clone()
        self._weight -= gone @ step
        # W'W was (V + G T)'(V + G T), where V is W now, G what is gone, T the step.
        moved = self._by_channel(gone.T @ self._weight).mT @ self._by_channel(step)
        self._squares -= moved + moved.mT + self._by_channel(step).mT @ (gone.T @ gone) @ self._by_channel(step)
        self._across.append(across)
        self._steps.append(step)

    def forget(self, left: Tensor) -> None:
        """Makes the updates of the inverse, of the channels left alone; from now on, these are all."""
        own = (left[:, None] * self._size + torch.arange(self._size, device=left.device)).flatten()
        self._inverse = self._inverse[own[:, None], own]
        self._inverse -= torch.cat(self._across)[:, own].T @ torch.cat(self._steps)[:, own]
        self._weight, self._blocks, self._squares = self._weight[:, own], self._blocks[left], self._squares[left]
        self._across, self._steps = [], []

    def _by_channel(self, rows: Tensor) -> Tensor:
        """Returns rows (r, all) as (channels, r, r)."""
        return rows.reshape(self._size, -1, self._size).movedim(0, 1)


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
                reader.forget(left)
            known, left = known[left], torch.arange(len(left))
    return torch.tensor([int(known[left[0]]), *reversed(gone)])
