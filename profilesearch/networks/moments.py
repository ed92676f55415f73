"""Second moments of what reaches layers, and the refit that needs nothing else, no image and no forward pass."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from profilesearch.networks.cost import evaluating
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.inputs import Call, Calls
from profilesearch.networks.refit import kept_entries

POSITIONS = 64
"""Output positions of every image that inputs are looked at."""
WIDEST = 8192
"""Most inputs of a layer for which the matrix of their second moments is held; 268 MB."""
_AT_ONCE = 64
_RIDGE = 1e-2
"""Pull towards the weights as cut, relative to the mean square of the inputs."""


def readers(table: GroupTable) -> set[str]:
    """Names of the weights whose inputs a table's profiles cut."""
    return {part.tensor for group in table.groups for part in group.slices if part.takes and part.dim == 1}


def second_moments(model: nn.Module, names: Collection[str], images: Tensor) -> dict[str, Tensor]:
    """Second moments of the inputs of layers, averaged over images and summed over positions.

    Args:
        model: The full network.
        names: Of weights, as in the state dict; those of grouped layers, of more than `WIDEST` inputs, and of layers
            that the images overflow in are left out.
        images: Normalized training images, (N, C, H, W).

    Returns:
        Matrices (d, d) by the name of the weight, where each of its inputs has d / I entries.
    """
    found: dict[str, Tensor] = {}

    def note(call: Call) -> None:
        if call.weight in names and call.value[0].numel() <= WIDEST:
            rows = call.rows(POSITIONS)
            found[call.weight] = found.get(call.weight, 0) + rows.T @ rows / len(images)

    with torch.no_grad(), evaluating(model), Calls(model, note):
        for start in range(0, len(images), _AT_ONCE):
            model(images[start : start + _AT_ONCE].clone())  # which some change in place
    return {name: each for name, each in found.items() if bool(each.isfinite().all())}


class MomentRefit:
    """Refits layers whose inputs are cut, for one profile after another, in closed form and without a forward pass.

    With second moments G of a layer's inputs in the full network, the weights W that read the cut inputs R go to the
    kept ones S: W_S + W_R G_RS (G_SS + r I)^-1, the least-squares solution of He et al. 2017 (arXiv 1707.06168) with a
    pull r towards the weights as they are. Shifts are left to BatchNorm, whose statistics are taken anew behind it.

    Args:
        model: The full network, in single precision; never changed. It may go to another device afterwards.
        table: Its channel groups.
        images: Normalized training images, (N, C, H, W); layers that they overflow in stay as cut.
    """

    def __init__(self, model: nn.Module, table: GroupTable, images: Tensor) -> None:
        self._model = model
        self._table = table
        self._moments = second_moments(model, readers(table), images)
        weights = dict(model.named_parameters())
        self._weights = {name: weights[name].detach().flatten(1).clone() for name in self._moments}

    def __call__(self, pruned: nn.Module, keep: Mapping[str, Tensor]) -> None:
        """Refits the network that was pruned to these channels, in place."""
        kept = kept_entries(self._model, self._table, keep)
        cut = dict(pruned.named_parameters())
        for name, moments in self._moments.items():
            columns = kept.get((name, 1))
            if columns is None or bool(columns.all()):
                continue
            stays = columns.repeat_interleave(len(moments) // len(columns))
            rows = kept.get((name, 0), slice(None))
            weights, across = self._weights[name][rows], moments[stays]
            among = across[:, stays]
            among.diagonal().add_((_RIDGE * among.diagonal().mean()).clamp_min(1e-30))
            change = torch.cholesky_solve(across[:, ~stays] @ weights[:, ~stays].T, torch.linalg.cholesky(among))
            cut[name].data = (weights[:, stays] + change.T).reshape(cut[name].shape).to(cut[name])
