"""The vectorized twin: N episodes in lock step, whose finished profiles are scored together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.embedded import embedded_problem
from envs.episode import ANY, ONE, EpisodeBatch, Finished, View, rewards, with_keep
from envs.layerwise import default_weight, mixture_of
from envs.mixture import Case, Mixture, finished_info
from profilesearch.errors import UsageError, choose
from profilesearch.networks.cost import FloatArray
from profilesearch.scoring.problem import Problem

Arrays = NDArray[Any]
Evaluate = Callable[[Finished], FloatArray]


@dataclass
class _Played:
    """One of several environments whose episodes are of different cases, and so of different length."""

    case: Case
    episode: EpisodeBatch

    @classmethod
    def begin(cls, case: Case, view: View) -> "_Played":
        return cls(case, EpisodeBatch(case.problem.space, 1, view))


class LayerWiseVectorEnv(VectorEnv[Arrays, Arrays, Arrays]):
    """N copies of `LayerWiseEnv` that step together; see there for actions, observations and rewards.

    With one problem, all episodes end in the same step, which starts the next ones at once (same-step autoreset):
    `final_obs` and, of every episode, `widths`, `own_cost` and `accuracies` are in the infos, each with a mask, such as
    `_final_obs`, of the environments that it is about.

    With several, each episode ends when its architecture has no group left, and its environment draws the next case in
    that same step, while the others play on. Infos are then arrays of objects, None where no episode has ended.

    Args:
        num_envs: Number of episodes, N.
        problem: What to solve; the embedded one without it.
        target_weight: Of the reward's target term; by default 1, and 4 for several architectures.
        evaluate: Scores finished episodes of one problem, giving accuracies (N, M); the problem does where None.
            Searchers count and record evaluations here.
        keeps: Gives the keep fraction of the budget whenever N episodes of one problem start; the problem's own budget
            where None.
        problems: What to draw from, in place of a problem: one for each architecture, or a `Mixture`.
        view: What a policy for one problem sees.
        centre: Keep ratios that action 0 stands for in the episodes of one problem, shape (G,); uniform where None.
        render_mode: None; there is nothing to render.

    Raises:
        UsageError: There is no environment, or both a problem and several are given.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  Gymnasium's own form

    def __init__(
        self,
        num_envs: int = 1,
        problem: Problem | None = None,
        target_weight: float | None = None,
        evaluate: Evaluate | None = None,
        keeps: Callable[[], float] | None = None,
        problems: Sequence[Problem] | Mixture | None = None,
        view: View = ONE,
        centre: FloatArray | None = None,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise UsageError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs, self.render_mode = num_envs, render_mode
        self.mixture = mixture_of(problem, problems)
        self.view = view if self.mixture is None else ANY
        self.target_weight = default_weight(self.mixture) if target_weight is None else target_weight
        self._keeps, self._centre = keeps, centre
        self.single_observation_space: gymnasium.Space[Any] = spaces.Box(-1.0, 1.0, (len(self.view.names),), np.float32)
        self.single_action_space: gymnasium.Space[Any] = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._played: list[_Played] = []
        first = problem or embedded_problem() if self.mixture is None else next(iter(self.mixture.problems.values()))
        self._given = self.problem = first
        self._evaluate = evaluate
        self._episodes = EpisodeBatch(first.space, num_envs, self.view, centre)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Starts N episodes.

        Args:
            seed: Of what several problems are drawn by; of a list, the first.
            options: `{"keep": ...}` sets the budget of one problem, any others put back its own. With several, what the
                first N episodes shall be about: `architecture`, `keep`, `metric`.

        Raises:
            UsageError: An option is unknown, or a budget out of reach.
        """
        super().reset(seed=seed[0] if isinstance(seed, list) else seed)
        if self.mixture is not None:
            cases = [self.mixture.chosen(self.np_random, options or {}) for _ in range(self.num_envs)]
            self._played = [_Played.begin(case, self.view) for case in cases]
            return self._observe(), {}
        for name in options or {}:
            choose("reset option", name, ("keep",))
        if options is not None:
            self._set_keep(options.get("keep"))
        self._restart()
        return self._episodes.observe(), {}

    def step(self, actions: Arrays) -> tuple[Arrays, Arrays, Arrays, Arrays, dict[str, Any]]:
        """Decides one group in every episode; actions (N, 1)."""
        if self.mixture is not None:
            if not self._played:
                raise UsageError("there are no episodes; call reset() before step()")
            return self._step_apart(self.mixture, np.asarray(actions, dtype=np.float32).reshape(self.num_envs))
        self._episodes.act(np.asarray(actions).reshape(self.num_envs))
        never = np.zeros(self.num_envs, dtype=np.bool_)
        if not self._episodes.done:
            return self._episodes.observe(), np.zeros(self.num_envs), never, never.copy(), {}
        finished = self._episodes.finish()
        accuracies = self._evaluate(finished) if self._evaluate else self.problem.evaluate(finished.widths)
        values = rewards(self.problem, finished, accuracies, weight=self.target_weight)
        infos: dict[str, Any] = {
            "final_obs": self._episodes.observe(),
            "widths": finished.widths,
            "own_cost": finished.own_cost,
            "accuracies": accuracies,
        }
        infos |= {f"_{key}": ~never for key in infos}  # of which environments it is, as Gymnasium has it
        self._restart()
        return self._episodes.observe(), values, ~never, never, infos

    def _step_apart(
        self, mixture: Mixture, actions: NDArray[np.float32]
    ) -> tuple[Arrays, Arrays, Arrays, Arrays, dict[str, Any]]:
        """Does what `step` does where episodes are of different cases."""
        values, ended = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=np.bool_)
        infos: dict[str, Any] = {}
        for place, (played, action) in enumerate(zip(self._played, actions, strict=True)):
            case, episode = played.case, played.episode
            episode.act(action[None])
            if not episode.done:
                continue
            finished, ended[place] = episode.finish(), True
            accuracies = case.problem.evaluate(finished.widths)
            values[place] = case.rewards(accuracies, finished.own_cost, self.target_weight)[0]
            info = finished_info(case, finished.widths[0], float(finished.own_cost[0]), accuracies[0])
            for key, value in {"final_obs": episode.observe()[0], **info}.items():
                infos.setdefault(key, np.full(self.num_envs, None, dtype=object))[place] = value
                infos.setdefault(f"_{key}", np.zeros(self.num_envs, dtype=np.bool_))[place] = True
            self._played[place] = _Played.begin(mixture.draw(self.np_random), self.view)
        return self._observe(), values, ended, np.zeros(self.num_envs, dtype=np.bool_), infos

    def _observe(self) -> Arrays:
        return np.concatenate([played.episode.observe() for played in self._played])

    def _restart(self) -> None:
        if self._keeps is not None:
            self._set_keep(self._keeps())
        self._episodes.reset()

    def _set_keep(self, keep: float | None) -> None:
        self.problem = with_keep(self._given, keep)
        self._episodes = EpisodeBatch(self.problem.space, self.num_envs, self.view, self._centre)
