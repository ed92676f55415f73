"""The environment: one episode decides the keep ratio of every channel group, one group a step."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.embedded import embedded_problem
from envs.episode import FEATURES, EpisodeBatch, rewards, with_keep
from envs.reward import TARGET_WEIGHT
from profilesearch.errors import UsageError, choose
from profilesearch.scoring.problem import Problem

Observation = NDArray[np.float32]


class LayerWiseEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """Layer-wise channel pruning as a Markov decision process.

    **Action**: one number in [-1, 1]: 0 keeps the group at the uniform ratio of the budget, -1 at the smallest ratio,
    1 at full width.

    **Observation**: see `envs.episode.FEATURES`; the architecture, the budget and the past choices of the episode. It
    never shows the model or its data, so a deterministic policy yields one profile for all models.

    **Reward**: zero but for the last step, which scores the profile, projected onto the budget, on held-out images;
    see `envs.reward`.

    **Episode**: as many steps as there are groups; never truncated.

    **Info** at the last step: `widths` (G,), `own_cost`, `accuracies` (M,).

    `reset(options={"keep": 0.3, "model": "NAME"})` sets the budget and scores on one pool member instead of all, until
    the next reset with options. What those leave out is again as it was at first: the problem's budget, all members.

    Args:
        problem: What to solve; without it, a ResNet-20 on scikit-learn's digits, which is trained once, in seconds, and
            kept in the user's cache.
        target_weight: Of the reward's target term.
        render_mode: None; there is nothing to render.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own form

    def __init__(
        self, problem: Problem | None = None, target_weight: float = TARGET_WEIGHT, render_mode: str | None = None
    ) -> None:
        self._given = self.problem = problem or embedded_problem()
        self.render_mode = render_mode
        self.target_weight = target_weight
        self.observation_space = spaces.Box(-1.0, 1.0, (len(FEATURES),), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._model: int | None = None
        self._episode = EpisodeBatch(self.problem.space, 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: For Gymnasium's own random generator; the environment is deterministic.
            options: `keep` in (0, 1], or None for the problem's own; `model`, the name of a pool member, or None for
                all of them.

        Raises:
            UsageError: An unknown option or model, or a keep fraction out of reach.
        """
        super().reset(seed=seed)
        if options is not None:
            for name in options:
                choose("reset option", name, ("keep", "model"))
            model = self._member(options.get("model"))
            self.problem = with_keep(self._given, options.get("keep"))
            self._model = model
            self._episode = EpisodeBatch(self.problem.space, 1)
        self._episode.reset()
        return self._episode.observe()[0], {}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decides one group; returns observation, reward, terminated, truncated (never) and info."""
        if self._episode.done:
            raise UsageError("the episode is over; call reset() before step()")
        self._episode.act(np.asarray(action, dtype=np.float32).reshape(1))
        if not self._episode.done:
            return self._episode.observe()[0], 0.0, False, False, {}
        finished = self._episode.finish()
        accuracies = self.problem.evaluate(finished.widths)
        value = rewards(self.problem, finished, accuracies, self._model, self.target_weight)
        info = {
            "widths": finished.widths[0],
            "own_cost": float(finished.own_cost[0]),
            "accuracies": accuracies[0],
        }
        return self._episode.observe()[0], float(value[0]), True, False, info

    def _member(self, name: str | None) -> int | None:
        if name is None:
            return None
        names = [member.name for member in self.problem.members]
        return names.index(choose("pool member", name, names))
