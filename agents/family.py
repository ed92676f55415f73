"""One policy for every budget: PPO with the budget drawn anew for each update, and shown to the policy."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from stable_baselines3 import PPO

from agents.learning import learning
from agents.ppo import make_policy, play
from agents.ppo_settings import PpoSettings
from envs.episode import EpisodeBatch, Finished
from envs.vector import LayerWiseVectorEnv
from profilesearch.errors import UsageError
from profilesearch.evidence import provenance
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Profile
from profilesearch.scoring.problem import Problem
from profilesearch.system.amounts import LARGEST_SEED, whole_number

KEEPS = (0.2, 0.9)
"""Budgets that a family is trained for, as fractions of the cost."""


@dataclass(frozen=True, eq=False)
class Family:
    """A policy that has a profile for every budget in a range.

    Attributes:
        policy: What was trained.
        evaluations: How many profiles its training scored.
    """

    policy: PPO
    evaluations: int

    def profile(self, space: ProfileSpace) -> Profile:
        """Returns the policy's deterministic profile under the budget of `space`."""
        found = provenance({"searcher": "family", "evaluations": self.evaluations})
        return space.profile(self.finished(space).widths[0], found)

    def finished(self, space: ProfileSpace) -> Finished:
        """Returns the widths of that profile, (1, G), and what the policy's own choice costs before the projection."""
        return play(self.policy, EpisodeBatch(space, 1), deterministic=True)


@learning()
def search_family(
    problem: Problem,
    evaluations: int,
    seed: int = 0,
    keeps: tuple[float, float] = KEEPS,
    settings: PpoSettings | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Family:
    """Trains one policy for a range of budgets.

    All episodes of an update share one budget, drawn uniformly, so that their rewards can be compared with each other.

    Args:
        problem: What to solve; its budget gives the metric.
        evaluations: How many profiles may be scored; whole updates are made of them.
        seed: Of all random choices.
        keeps: Smallest and largest keep fraction.
        settings: Hyperparameters.
        progress: Called after every update with evaluations done, evaluations in all, and the best fitness so far.

    Raises:
        UsageError: There are too few evaluations for one update, a number is none, or a budget is out of reach.
    """
    chosen = settings or PpoSettings()
    evaluations, seed = whole_number("evaluations", evaluations, 1), whole_number("seed", seed, 0, LARGEST_SEED)
    for keep in keeps:
        problem.with_budget(replace(problem.space.budget, keep=keep))  # out of reach is refused before any work
    if keeps[0] > keeps[1]:
        raise UsageError(f"keeps must be the smallest and the largest fraction, got {keeps[0]:g} and {keeps[1]:g}")
    updates = evaluations // chosen.episodes
    if updates < 1:
        raise UsageError(f"a family needs at least {chosen.episodes} evaluations, got {evaluations}")
    random = np.random.default_rng([seed, 2])
    best, done = -np.inf, 0

    def evaluate(finished: Finished) -> FloatArray:
        nonlocal best, done
        accuracies = problem.evaluate(finished.widths)
        best, done = max(best, float(problem.fitness(accuracies).max())), done + len(finished.widths)
        if progress:
            progress(done, updates * chosen.episodes, best)
        return accuracies

    env = LayerWiseVectorEnv(
        chosen.episodes, problem, chosen.target_weight, evaluate, lambda: float(random.uniform(*keeps))
    )
    policy = make_policy(env, chosen, seed)
    policy.learn(updates * chosen.episodes * problem.space.size)
    return Family(policy, done)
