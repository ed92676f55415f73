"""The reward: keep the accuracy, and land on the asked compression by yourself."""

import numpy as np

from profilesearch.networks.cost import FloatArray
from profilesearch.scoring.names import TARGET_WEIGHT


def reward(fitness: FloatArray, own_cost: FloatArray, keep: float, weight: float = TARGET_WEIGHT) -> FloatArray:
    """Reward of finished episodes.

    Accuracy is measured on the profile projected onto the budget, so that no policy is paid for keeping more. The
    target term looks at the policy's own, unprojected cost: it is two-sided, zero on the budget, and drives the policy
    to the asked compression by itself. This form is our own; the source (Venkatesan et al. 2020, arXiv 2004.14584)
    names the aim, an expected compression.

    Args:
        fitness: Accuracy relative to the unpruned model, shape (N,).
        own_cost: Relative cost of the profile as the policy chose it, in (0, 1], shape (N,).
        keep: The budget, in (0, 1].
        weight: Of the target term; 0 leaves accuracy alone.

    Returns:
        Rewards, shape (N,).
    """
    return fitness - weight * np.abs(own_cost / keep - 1)
