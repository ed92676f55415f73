"""The environment: one episode decides the keep ratio of every channel group, one group a step."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.embedded import embedded_problem
from envs.episode import ANY, ONE, EpisodeBatch, Finished, rewards, with_keep
from envs.mixture import Case, Mixture, finished_info
from profilesearch.errors import UsageError, choose
from profilesearch.scoring.names import MIXED_WEIGHT, TARGET_WEIGHT
from profilesearch.scoring.problem import Problem

Observation = NDArray[np.float32]


class LayerWiseEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """Layer-wise channel pruning as a Markov decision process.

    **Action**: one number in [-1, 1]: 0 keeps the group at the uniform ratio of the budget, -1 at the smallest ratio,
    1 at full width; linear in between.

    **Observation**: see `envs.episode.ONE`; the architecture, the budget and the past choices of the episode. It
    never shows the model or its data, so a deterministic policy yields one profile for all models.

    **Reward**: zero but for the last step, which scores the profile, projected onto the budget, on held-out images;
    see `envs.reward`.

    **Episode**: as many steps as there are groups; never truncated.

    **Info** at the last step: `widths` (G,), `own_cost`, `accuracies` (M,).

    `reset(options={"keep": 0.3, "model": "NAME"})` sets the budget and scores on one pool member instead of all, until
    the next reset with options. What those leave out is again as it was at first: the problem's budget, all members.

    **Several architectures**: with `problems`, every episode draws one of them, a budget and its metric. Observations
    are then `envs.episode.ANY`, which describes groups of any network alike; the accuracy in the reward is the gain
    over the uniform profile of the same cost, in standard deviations of random profiles there, so that episodes can be
    compared; and info has `architecture`, `keep` and `gain`, too. The options of a reset are then `architecture`,
    `keep` and `metric`: what shall not be drawn, for one episode.

    Args:
        problem: What to solve; without it, a ResNet-20 on scikit-learn's digits, which is trained once, in seconds, and
            kept in the user's cache.
        target_weight: Of the reward's target term; by default 1, and 4 for several architectures.
        render_mode: None; there is nothing to render.
        problems: What to draw from, in place of a problem: one for each architecture, or a `Mixture`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own form

    def __init__(
        self,
        problem: Problem | None = None,
        target_weight: float | None = None,
        render_mode: str | None = None,
        problems: Sequence[Problem] | Mixture | None = None,
    ) -> None:
        self.mixture = mixture_of(problem, problems)
        self.render_mode = render_mode
        self.view = ONE if self.mixture is None else ANY
        self.target_weight = default_weight(self.mixture) if target_weight is None else target_weight
        self.observation_space = spaces.Box(-1.0, 1.0, (len(self.view.names),), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._model: int | None = None
        self._case: Case | None = None
        first = problem or embedded_problem() if self.mixture is None else next(iter(self.mixture.problems.values()))
        self._given = self.problem = first
        self._episode = EpisodeBatch(self.problem.space, 1, self.view)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: For Gymnasium's own random generator, which draws among several problems; with one, the environment is
                deterministic.
            options: `keep` in (0, 1], or None for the problem's own; `model`, the name of a pool member, or None for
                all of them. With several problems: `architecture`, `keep` and `metric`, drawn where None.

        Raises:
            UsageError: An unknown option or model, or a keep fraction out of reach.
        """
        super().reset(seed=seed)
        if self.mixture is not None:
            self._case = self.mixture.chosen(self.np_random, options or {})
            self._start(self._case.problem)
        elif options is not None:
            for name in options:
                choose("reset option", name, ("keep", "model"))
            model = self._member(options.get("model"))
            self._start(with_keep(self._given, options.get("keep")))
            self._model = model
        self._episode.reset()
        return self._episode.observe()[0], {}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decides one group; returns observation, reward, terminated, truncated (never) and info."""
        if self._episode.done or (self.mixture is not None and self._case is None):
            raise UsageError("there is no episode, or it is over; call reset() before step()")
        self._episode.act(np.asarray(action, dtype=np.float32).reshape(1))
        if not self._episode.done:
            return self._episode.observe()[0], 0.0, False, False, {}
        value, info = self._end(self._episode.finish())
        return self._episode.observe()[0], value, True, False, info

    def _end(self, finished: Finished) -> tuple[float, dict[str, Any]]:
        """Scores a finished episode; returns its reward and info."""
        accuracies = self.problem.evaluate(finished.widths)
        own_cost = float(finished.own_cost[0])
        if self._case is not None:
            value = self._case.rewards(accuracies, finished.own_cost, self.target_weight)
            return float(value[0]), finished_info(self._case, finished.widths[0], own_cost, accuracies[0])
        value = rewards(self.problem, finished, accuracies, self._model, self.target_weight)
        return float(value[0]), {"widths": finished.widths[0], "own_cost": own_cost, "accuracies": accuracies[0]}

    def _start(self, problem: Problem) -> None:
        self.problem = problem
        self._episode = EpisodeBatch(problem.space, 1, self.view)

    def _member(self, name: str | None) -> int | None:
        if name is None:
            return None
        names = [member.name for member in self.problem.members]
        return names.index(choose("pool member", name, names))


def mixture_of(problem: Problem | None, problems: Sequence[Problem] | Mixture | None) -> Mixture | None:
    """Returns what episodes are drawn from; None for a single problem.

    Raises:
        UsageError: Both are given.
    """
    if problem is not None and problems is not None:
        raise UsageError("give problem=... for one architecture or problems=[...] for several, not both")
    return problems if problems is None or isinstance(problems, Mixture) else Mixture(problems)


def default_weight(mixture: Mixture | None) -> float:
    """Returns the weight of the reward's target term, in the units of its other term."""
    return TARGET_WEIGHT if mixture is None else MIXED_WEIGHT
