"""The profile by which a pool loses least, if what single groups lose adds up: measured, not searched."""

import numpy as np

from agents.base import Searcher, Trial
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.criteria import MOST_SEEN, rank_channels
from profilesearch.scoring.problem import Problem
from profilesearch.sensitivity import group_losses, sensitive


class SensitivitySearcher(Searcher):
    """Cuts each group of each member alone, and keeps most where the members' outputs lose most: one evaluation.

    On top of that it costs three cut networks for each group and member, refitted in closed form, on a hundred images;
    no label is looked at. What several members lose on average serves networks that were not measured.
    """

    name = "sensitivity"
    seeded = False

    def propose(self, trial: Trial, seed: int) -> None:
        """Evaluates the profile; the seed has no influence."""
        trial.evaluate(sensitive(trial.problem.space, pool_losses(trial.problem))[None])


def pool_losses(problem: Problem) -> FloatArray:
    """Returns what the members' outputs lose by each group on average, shape (G, len(RATIOS)); see `group_losses`.

    Channels are chosen as the problem's scores do; the images are of those that the members learned from.
    """
    criterion, seed = problem.settings.criterion, problem.settings.seed
    losses = []
    for network, table, images, labels in problem.learned(MOST_SEEN):
        order = rank_channels(network, table, criterion, seed, (images, labels))
        losses.append(group_losses(network, table, order, images))
    return np.asarray(np.mean(losses, axis=0))
