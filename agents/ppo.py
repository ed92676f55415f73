"""PPO over the pool: a policy that decides group by group, and whose deterministic profile is the product."""

import warnings
from dataclasses import dataclass

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from agents.base import Searcher, Trial
from agents.sb3_vector import Sb3VectorEnv
from envs.episode import EpisodeBatch, Finished
from envs.reward import TARGET_WEIGHT
from envs.vector import LayerWiseVectorEnv
from profilesearch.networks.cost import FloatArray


@dataclass(frozen=True)
class PpoSettings:
    """Hyperparameters of the search by PPO (Schulman et al. 2017, arXiv 1707.06347).

    Attributes:
        episodes: Episodes in lock step, between two updates of the policy.
        learning_rate: Of Adam.
        epochs: Passes over an update's steps.
        minibatches: Parts that the steps of an update are cut into.
        log_std: Logarithm of the policy's first standard deviation; an action is in [-1, 1].
        entropy: Weight of the entropy bonus.
        clip: Clipping range of the policy ratio.
        hidden: Units of each of the two hidden layers.
        target_weight: Of the reward's target term.
    """

    episodes: int = 16
    learning_rate: float = 1e-3
    epochs: int = 10
    minibatches: int = 4
    log_std: float = -0.7
    entropy: float = 0.0
    clip: float = 0.2
    hidden: int = 64
    target_weight: float = TARGET_WEIGHT


class PpoSearcher(Searcher):
    """Trains a policy; after every update, its deterministic profile is evaluated too.

    Args:
        settings: Hyperparameters.
    """

    name = "ppo"

    def __init__(self, settings: PpoSettings | None = None) -> None:
        self.settings = settings or PpoSettings()

    def propose(self, trial: Trial, seed: int) -> None:
        """Trains as long as a whole update fits; the last evaluations are draws of the final policy."""
        chosen = self.settings
        episodes = max(1, min(chosen.episodes, trial.evaluations - 1))
        updates = trial.evaluations // (episodes + 1)

        def evaluate(finished: Finished) -> FloatArray:
            return trial.evaluate(finished.widths, finished.own_cost)

        space = trial.problem.space
        env = LayerWiseVectorEnv(episodes, trial.problem, chosen.target_weight, evaluate)
        with warnings.catch_warnings():
            # Batches that do not divide the steps of an update evenly are fine here.
            warnings.filterwarnings("ignore", message=".*mini-batch size.*")
            policy = self._policy(env, space.size * episodes, seed)
            if updates and trial.evaluations > 1:
                policy.learn(updates * episodes * space.size, callback=_AfterUpdate(trial))
        if trial.left > 1:
            play(policy, trial, trial.left - 1, deterministic=False)
        play(policy, trial, 1, deterministic=True)

    def _policy(self, env: LayerWiseVectorEnv, steps: int, seed: int) -> PPO:
        chosen = self.settings
        return PPO(
            "MlpPolicy",
            Sb3VectorEnv(env),
            learning_rate=chosen.learning_rate,
            n_steps=env.problem.space.size,
            batch_size=max(2, -(-steps // chosen.minibatches)),
            n_epochs=chosen.epochs,
            gamma=1.0,
            gae_lambda=1.0,
            clip_range=chosen.clip,
            ent_coef=chosen.entropy,
            policy_kwargs={"log_std_init": chosen.log_std, "net_arch": [chosen.hidden] * 2},
            seed=seed,
            device="cpu",
        )


def play(policy: BaseAlgorithm, trial: Trial, count: int, deterministic: bool) -> None:
    """Evaluates profiles of a policy: its deterministic one, or random draws."""
    episodes = EpisodeBatch(trial.problem.space, count)
    while not episodes.done:
        actions, _ = policy.predict(episodes.observe(), deterministic=deterministic)
        episodes.act(np.asarray(actions).reshape(count))
    finished = episodes.finish()
    trial.evaluate(finished.widths, finished.own_cost, is_policy=deterministic)


class _AfterUpdate(BaseCallback):
    """Evaluates the deterministic profile after each update."""

    def __init__(self, trial: Trial) -> None:
        super().__init__()
        self._trial = trial

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:  # not before the first update
            play(self.model, self._trial, 1, deterministic=True)

    def _on_step(self) -> bool:
        return True
