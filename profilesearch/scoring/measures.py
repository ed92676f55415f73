"""What a score measures of a pruned network's outputs; each in [0, 1], where higher is better."""

import torch
from torch import Tensor
from torch.nn import functional

from profilesearch.scoring.names import Measure


def measured(measure: Measure, outputs: Tensor, labels: Tensor, full: Tensor | None = None) -> float:
    """Returns what a measure makes of class scores.

    `accuracy`: the part of the images that are classified correctly. `loss`: exp(-cross entropy), the geometric mean of
    the probabilities of the right classes. `divergence`: exp(-Kullback-Leibler divergence) from the full network's
    probabilities, which needs no labels; 1 where both agree.

    Args:
        measure: Which.
        outputs: Class scores (N, C) of the pruned network.
        labels: Right classes (N,).
        full: Class scores (N, C) of the full network, for `divergence`.

    Returns:
        A number in [0, 1]; 0 where the scores are not finite.
    """
    if measure == "accuracy":
        return int((outputs.argmax(dim=1) == labels).sum()) / len(labels)
    if measure == "loss":
        distance = functional.cross_entropy(outputs.float(), labels)
    else:
        assert full is not None  # noqa: S101  the caller's matter
        one, other = (functional.log_softmax(each.float(), dim=1) for each in (outputs, full))
        distance = functional.kl_div(one, other, reduction="batchmean", log_target=True)
    value = float(torch.exp(-distance.double()))
    return min(value, 1.0) if value == value else 0.0  # noqa: PLR0124  NaN
