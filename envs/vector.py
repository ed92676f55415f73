"""The vectorized twin: N episodes in lock step, whose finished profiles are scored together."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.embedded import embedded_problem
from envs.episode import FEATURES, EpisodeBatch, Finished, rewards, with_keep
from envs.reward import TARGET_WEIGHT
from profilesearch.errors import choose
from profilesearch.networks.cost import FloatArray
from profilesearch.scoring.problem import Problem

Arrays = NDArray[Any]
Evaluate = Callable[[Finished], FloatArray]


class LayerWiseVectorEnv(VectorEnv[Arrays, Arrays, Arrays]):
    """N copies of `LayerWiseEnv` that step together; see there for actions, observations and rewards.

    All episodes end in the same step, which starts the next ones at once (same-step autoreset): `final_obs` and, of
    every episode, `widths`, `own_cost` and `accuracies` are in the infos.

    Args:
        num_envs: Number of episodes, N.
        problem: What to solve; the embedded one without it.
        target_weight: Of the reward's target term.
        evaluate: Scores finished episodes, giving accuracies (N, M); the problem does where None. Searchers count
            and record evaluations here.
        keeps: Gives the keep fraction of the budget whenever N episodes start; the problem's own budget where None.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  Gymnasium's own form

    def __init__(
        self,
        num_envs: int = 1,
        problem: Problem | None = None,
        target_weight: float = TARGET_WEIGHT,
        evaluate: Evaluate | None = None,
        keeps: Callable[[], float] | None = None,
    ) -> None:
        self.num_envs = num_envs
        self._given = self.problem = problem or embedded_problem()
        self.target_weight = target_weight
        self._keeps = keeps
        self._evaluate = evaluate or (lambda finished: self.problem.evaluate(finished.widths))
        self.single_observation_space: gymnasium.Space[Any] = spaces.Box(-1.0, 1.0, (len(FEATURES),), np.float32)
        self.single_action_space: gymnasium.Space[Any] = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._episodes = EpisodeBatch(self.problem.space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Starts N episodes; `options={"keep": ...}` sets their budget, any others put back the problem's own."""
        for name in options or {}:
            choose("reset option", name, ("keep",))
        if options is not None:
            self._set_keep(options.get("keep"))
        self._restart()
        return self._episodes.observe(), {}

    def step(self, actions: Arrays) -> tuple[Arrays, Arrays, Arrays, Arrays, dict[str, Any]]:
        """Decides one group in every episode; actions (N, 1)."""
        self._episodes.act(np.asarray(actions).reshape(self.num_envs))
        never = np.zeros(self.num_envs, dtype=np.bool_)
        if not self._episodes.done:
            return self._episodes.observe(), np.zeros(self.num_envs), never, never.copy(), {}
        finished = self._episodes.finish()
        accuracies = self._evaluate(finished)
        values = rewards(self.problem, finished, accuracies, weight=self.target_weight)
        infos: dict[str, Any] = {
            "final_obs": self._episodes.observe(),
            "widths": finished.widths,
            "own_cost": finished.own_cost,
            "accuracies": accuracies,
        }
        self._restart()
        return self._episodes.observe(), values, ~never, never, infos

    def _restart(self) -> None:
        if self._keeps is not None:
            self._set_keep(self._keeps())
        self._episodes.reset()

    def _set_keep(self, keep: float | None) -> None:
        self.problem = with_keep(self._given, keep)
        self._episodes = EpisodeBatch(self.problem.space, self.num_envs)
