"""PPO over the pool: a policy that decides group by group, and whose deterministic profile is the product."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from agents.base import Searcher, Trial
from agents.general import begin_with
from agents.learning import learning
from agents.ppo_settings import PpoSettings
from agents.sb3_vector import Sb3VectorEnv
from envs.episode import ANY, ONE, EpisodeBatch, Finished
from envs.policy import Policy
from envs.vector import LayerWiseVectorEnv
from profilesearch.errors import UsageError
from profilesearch.networks.cost import FloatArray


class PpoSearcher(Searcher):
    """Trains a policy; after every update, its deterministic profile is evaluated too.

    Args:
        settings: Hyperparameters.
        start: A policy for any network to start from, which gives the number of units too; from nothing where None.

    Raises:
        UsageError: The settings have a number of units, too.
    """

    name = "ppo"
    narrower = 1.0
    """Factor on the first standard deviation that the settings give."""

    def __init__(self, settings: PpoSettings | None = None, start: Policy | None = None) -> None:
        self.settings = settings or PpoSettings()
        if start is not None and self.settings.hidden != PpoSettings.hidden:
            raise UsageError("a policy to start from has its own number of units; leave out hidden in `ppo`")
        self.start = start
        self.target_weight = self.settings.target_weight

    def changed(self) -> dict[str, float | str]:
        """Returns the hyperparameters that are not as they are by default, and the policy that it starts from."""
        return {**self.settings.changed(), **({"start": self.start.digest} if self.start else {})}

    @learning()
    def propose(self, trial: Trial, seed: int) -> None:
        """Trains as long as a whole update fits; the last evaluations are draws of the final policy."""
        view, centre = ANY if self.start else ONE, self.centre(trial)
        if not trial.left:
            return
        chosen = replace(self.settings, log_std=self.settings.log_std + math.log(self.narrower))
        episodes = max(1, min(chosen.episodes, trial.left - 1))
        updates = trial.left // (episodes + 1)

        def evaluate(finished: Finished) -> FloatArray:
            return trial.evaluate(finished.widths, finished.own_cost)

        space = trial.problem.space
        begin = partial(EpisodeBatch, space, view=view, centre=centre)
        env = LayerWiseVectorEnv(episodes, trial.problem, chosen.target_weight, evaluate, view=view, centre=centre)
        policy = make_policy(env, chosen, seed, self.start)
        if updates and trial.left > 1:
            policy.learn(updates * episodes * space.size, callback=_AfterUpdate(trial, begin))
        if trial.left > 1:
            _evaluate(policy, trial, begin(trial.left - 1), False)
        _evaluate(policy, trial, begin(1), True)

    def centre(self, trial: Trial) -> FloatArray | None:
        """Returns the keep ratios that the policy starts around, shape (G,); the uniform one where None."""
        return None


def make_policy(env: LayerWiseVectorEnv, settings: PpoSettings, seed: int, start: Policy | None = None) -> PPO:
    """Returns a policy, untrained or with what `start` knows, that updates once for every N finished episodes."""
    size = env.problem.space.size
    hidden = [len(bias) for _, bias in start.layers[:-1]] if start else [settings.hidden] * 2
    with warnings.catch_warnings():
        # An update of a single short episode is a small batch, and fine here.
        warnings.filterwarnings("ignore", message=".*mini-batch size.*")
        ppo = PPO(
            "MlpPolicy",
            Sb3VectorEnv(env),
            learning_rate=settings.learning_rate,
            n_steps=size,
            batch_size=max(2, size * env.num_envs),
            n_epochs=settings.epochs,
            normalize_advantage=size * env.num_envs > 1,  # a step alone has no spread
            gamma=1.0,
            gae_lambda=1.0,
            clip_range=settings.clip,
            ent_coef=settings.entropy,
            policy_kwargs={"log_std_init": settings.log_std, "net_arch": hidden},
            seed=seed,
            device="cpu",
        )
    ppo.set_logger(Logger(None, []))  # its own makes a folder for every training, and leaves it
    if start is not None:
        begin_with(ppo, start)
    return ppo


def play(policy: PPO, episodes: EpisodeBatch, deterministic: bool) -> Finished:
    """Lets a policy decide the profiles of N episodes that have just begun."""
    while not episodes.done:
        actions, _ = policy.predict(episodes.observe(), deterministic=deterministic)
        episodes.act(np.asarray(actions).reshape(episodes.count))
    return episodes.finish()


def _evaluate(policy: PPO, trial: Trial, episodes: EpisodeBatch, deterministic: bool) -> None:
    """Evaluates profiles of a policy: its deterministic one, or random draws."""
    finished = play(policy, episodes, deterministic)
    trial.evaluate(finished.widths, finished.own_cost, is_policy=deterministic)


class _AfterUpdate(BaseCallback):
    """Evaluates the deterministic profile after each update."""

    def __init__(self, trial: Trial, begin: Callable[[int], EpisodeBatch]) -> None:
        super().__init__()
        self._trial, self._begin = trial, begin

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:  # not before the first update
            assert isinstance(self.model, PPO)  # noqa: S101
            _evaluate(self.model, self._trial, self._begin(1), True)

    def _on_step(self) -> bool:
        return True
