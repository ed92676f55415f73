"""How far networks are from the full one once they are cut by one profile or another, and refitted."""

import math

from torch import Tensor, nn

from profilesearch.networks.names import AUTO
from profilesearch.pruning import Pruned
from profilesearch.refitting import JUDGES, Refitted, distance, outputs_of, refit_on
from profilesearch.system.progress import Progress
from profilesearch.tasks.hardware import device_of


class Judge:
    """Says how far a network's outputs are from the full one's once it is cut and refitted.

    The first is refitted in whichever way is closest, see `refit_on`, and those of other profiles in that one or by a
    plain fit: which ways are good hangs on the network far more than on the profile.

    Args:
        model: The full network; never changed.
        images: Normalized images, (N, C, H, W), ten or more; outputs are compared on a fifth, which no fit looks at.
        inputs: As for `refit_on`.
    """

    def __init__(self, model: nn.Module, images: Tensor, inputs: str = AUTO) -> None:
        few = min(JUDGES, len(images) // 5)
        self._model, self._learn, self._judge = model, images[:-few], images[-few:]
        self._way: str | Refitted = inputs

    def __call__(self, pruned: Pruned, progress: Progress | None = None) -> float:
        """Refits a pruned network, on any device, in place; returns the distance.

        Args:
            pruned: Cut from the full network.
            progress: As for `refit_weights`.
        """
        pruned.network.to(device_of(self._model))
        refitted = refit_on(pruned, self._model, self._learn, self._way, progress=progress)
        far = distance(outputs_of(pruned.network, self._judge), outputs_of(self._model, self._judge))
        if self._way == AUTO and math.isfinite(far):
            self._way = refitted
        return far


def judged_by(refit: str) -> str:
    """Returns the refit that profiles are judged by where a network is refitted like this; `auto` where it is not."""
    return AUTO if refit == "none" else refit
