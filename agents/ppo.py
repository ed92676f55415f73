"""PPO over the pool: a policy that decides group by group, and whose deterministic profile is the product."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.base import Searcher, Trial
from agents.general import begin_with
from agents.sb3_vector import Sb3VectorEnv
from envs.episode import ANY, ONE, EpisodeBatch, Finished, View
from envs.policy import Policy
from envs.reward import TARGET_WEIGHT
from envs.vector import LayerWiseVectorEnv
from profilesearch.errors import UsageError
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.space import ProfileSpace


@dataclass(frozen=True)
class PpoSettings:
    """Hyperparameters of the search by PPO (Schulman et al. 2017, arXiv 1707.06347).

    The defaults were tuned on Gaussian processes that were fitted to thousands of recorded scores of ResNet-20 and
    ResNet-56, where a search takes seconds; docs/tuning.md has the table.

    Attributes:
        episodes: Episodes in lock step, between two updates of the policy.
        learning_rate: Of Adam.
        epochs: Passes over an update's steps, each in one batch.
        log_std: Logarithm of the policy's first standard deviation; an action is in [-1, 1].
        entropy: Weight of the entropy bonus.
        clip: Clipping range of the policy ratio.
        hidden: Units of each of the two hidden layers.
        target_weight: Of the reward's target term.

    Raises:
        UsageError: One is out of its range.
    """

    episodes: int = 8
    learning_rate: float = 3e-3
    epochs: int = 30
    log_std: float = -0.9
    entropy: float = 0.0
    clip: float = 0.2
    hidden: int = 64
    target_weight: float = TARGET_WEIGHT

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} must be in [{low:g}, {high:g}], got {getattr(self, name):g}")

    def changed(self) -> dict[str, float]:
        """Returns what is not as it is by default."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}


_RANGES: Mapping[str, tuple[float, float]] = {
    "episodes": (1, 1024),
    "learning_rate": (1e-9, 1),
    "epochs": (1, 1000),
    "log_std": (-20, 2),
    "entropy": (0, 10),
    "clip": (1e-3, 1),
    "hidden": (1, 4096),
    "target_weight": (0, 1000),
}


class PpoSearcher(Searcher):
    """Trains a policy; after every update, its deterministic profile is evaluated too.

    Args:
        settings: Hyperparameters.
        start: A policy for any network to start from, which gives the number of units too; from nothing where None.
    """

    name = "ppo"

    def __init__(self, settings: PpoSettings | None = None, start: Policy | None = None) -> None:
        self.settings = settings or PpoSettings()
        self.start = start

    def changed(self) -> dict[str, float | str]:
        """Returns the hyperparameters that are not as they are by default, and the policy that it starts from."""
        return {**self.settings.changed(), **({"start": self.start.digest} if self.start else {})}

    def propose(self, trial: Trial, seed: int) -> None:
        """Trains as long as a whole update fits; the last evaluations are draws of the final policy."""
        chosen = self.settings
        episodes = max(1, min(chosen.episodes, trial.evaluations - 1))
        updates = trial.evaluations // (episodes + 1)

        def evaluate(finished: Finished) -> FloatArray:
            return trial.evaluate(finished.widths, finished.own_cost)

        space = trial.problem.space
        view = ANY if self.start else ONE
        env = LayerWiseVectorEnv(episodes, trial.problem, chosen.target_weight, evaluate, view=view)
        policy = make_policy(env, chosen, seed, self.start)
        if updates and trial.evaluations > 1:
            policy.learn(updates * episodes * space.size, callback=_AfterUpdate(trial, view))
        if trial.left > 1:
            _evaluate(policy, trial, trial.left - 1, False, view)
        _evaluate(policy, trial, 1, True, view)


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
            gamma=1.0,
            gae_lambda=1.0,
            clip_range=settings.clip,
            ent_coef=settings.entropy,
            policy_kwargs={"log_std_init": settings.log_std, "net_arch": hidden},
            seed=seed,
            device="cpu",
        )
    if start is not None:
        begin_with(ppo, start)
    return ppo


def play(policy: PPO, space: ProfileSpace, count: int, deterministic: bool, view: View = ONE) -> Finished:
    """Lets a policy decide N profiles under the budget of `space`."""
    episodes = EpisodeBatch(space, count, view)
    while not episodes.done:
        actions, _ = policy.predict(episodes.observe(), deterministic=deterministic)
        episodes.act(np.asarray(actions).reshape(count))
    return episodes.finish()


def _evaluate(policy: PPO, trial: Trial, count: int, deterministic: bool, view: View) -> None:
    """Evaluates profiles of a policy: its deterministic one, or random draws."""
    finished = play(policy, trial.problem.space, count, deterministic, view)
    trial.evaluate(finished.widths, finished.own_cost, is_policy=deterministic)


class _AfterUpdate(BaseCallback):
    """Evaluates the deterministic profile after each update."""

    def __init__(self, trial: Trial, view: View) -> None:
        super().__init__()
        self._trial, self._view = trial, view

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:  # not before the first update
            assert isinstance(self.model, PPO)  # noqa: S101
            _evaluate(self.model, self._trial, 1, True, self._view)

    def _on_step(self) -> bool:
        return True
