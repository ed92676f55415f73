"""The profile by which a pool loses least, if what single groups lose adds up: measured; and PPO that starts there."""

import numpy as np

from agents.base import Searcher, Trial
from agents.ppo import PpoSearcher
from agents.ppo_settings import PpoSettings
from envs.policy import Policy
from profilesearch.errors import UsageError
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.criteria import MOST_SEEN, rank_channels
from profilesearch.scoring.problem import Problem
from profilesearch.sensitivity import group_losses, sensitive
from profilesearch.tasks.inputs import arranged


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


class PpoSensitivitySearcher(PpoSearcher):
    """PPO that starts at the profile of `SensitivitySearcher`, its first evaluation, and tries what is near it.

    To learn what is left to gain over a policy that is there already is called residual policy learning (Silver et al.
    2018, arXiv 1812.06298).
    """

    name = "ppo-sensitivity"
    narrower = 0.4

    def __init__(self, settings: PpoSettings | None = None, start: Policy | None = None) -> None:
        if start is not None:
            raise UsageError(f"{self.name} starts from what the pool loses; leave out `start`, or search with ppo")
        super().__init__(settings)

    def centre(self, trial: Trial) -> FloatArray:
        """Returns the keep ratios of that profile, shape (G,), once it is evaluated."""
        space = trial.problem.space
        widths = sensitive(space, pool_losses(trial.problem))
        trial.evaluate(widths[None])
        return np.asarray(widths / space.table.channels)


def pool_losses(problem: Problem) -> FloatArray:
    """Returns what the members' outputs lose by each group on average, shape (G, len(RATIOS)); see `group_losses`.

    Channels are chosen as the problem's scores do; the images are of those that the members learned from.
    """
    criterion, seed = problem.settings.criterion, problem.settings.seed
    losses = []
    for network, table, images, labels in problem.seen(MOST_SEEN):
        seen = arranged(network, images)
        order = rank_channels(network, table, criterion, seed, (seen, labels))
        losses.append(group_losses(network, table, order, seen))
    return np.asarray(np.mean(losses, axis=0))
