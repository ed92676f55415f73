"""One policy for any network: PPO over many architectures, whose pools, budgets and metrics are drawn anew."""

import warnings

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from torch import nn

from agents.base import Progress
from agents.general_settings import GeneralSettings
from agents.learning import learning
from agents.sb3_vector import Sb3VectorEnv
from envs.mixture import Mixture
from envs.policy import Policy
from envs.vector import LayerWiseVectorEnv

_RECENT = 50


@learning()
def train_policy(
    mixture: Mixture,
    evaluations: int,
    seed: int = 0,
    settings: GeneralSettings | None = None,
    progress: Progress | None = None,
) -> Policy:
    """Trains one policy over all problems of a mixture.

    The result depends on the arguments alone: with the scores of an interrupted training in the problems' ledger, the
    same call replays them and goes on.

    Args:
        mixture: What episodes are drawn from.
        evaluations: How many profiles it scores, each on all members of an architecture's pool; a few more where
            several episodes end together, and those that give the scale of the rewards come on top.
        seed: Of all random choices.
        settings: Hyperparameters.
        progress: Called after every episode.

    Returns:
        The policy, with the number of scores behind it in what is said about it.

    Raises:
        UsageError: There are too few evaluations for one update.
    """
    chosen = settings or GeneralSettings()
    longest = max(problem.space.size for problem in mixture.problems.values())
    chosen.check_evaluations(evaluations)
    env = LayerWiseVectorEnv(chosen.environments, problems=mixture, target_weight=chosen.target_weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*mini-batch size.*")
        ppo = PPO(
            "MlpPolicy",
            Sb3VectorEnv(env),
            learning_rate=chosen.learning_rate,
            n_steps=chosen.steps,
            batch_size=chosen.steps * chosen.environments,
            n_epochs=chosen.epochs,
            gamma=1.0,
            gae_lambda=1.0,
            clip_range=chosen.clip,
            policy_kwargs={"log_std_init": chosen.log_std, "net_arch": [chosen.hidden] * 2},
            seed=seed,
            device="cpu",
        )
    ppo.set_logger(Logger(None, []))  # its own makes a folder for every training, and leaves it
    counted = _Counted(evaluations, progress)
    ppo.learn((evaluations + chosen.environments) * longest, callback=counted)
    return policy_of(ppo).with_about(scores=counted.scores)


def policy_of(ppo: PPO) -> Policy:
    """Returns the policy of a PPO as plain numbers."""
    return Policy(
        tuple((each.weight.detach().numpy().copy(), each.bias.detach().numpy().copy()) for each in _layers(ppo)), {}
    )


def begin_with(ppo: PPO, policy: Policy) -> None:
    """Gives a PPO of the same sizes the weights of a policy; what it holds for the value of a state stays as it is."""
    with torch.no_grad():
        for layer, (weight, bias) in zip(_layers(ppo), policy.layers, strict=True):
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))


def _layers(ppo: PPO) -> list[nn.Linear]:
    every = [*ppo.policy.mlp_extractor.policy_net, ppo.policy.action_net]
    return [layer for layer in every if isinstance(layer, nn.Linear)]


class _Counted(BaseCallback):
    """Ends the training after a number of episodes; counts scores, one for each member that a profile is scored on."""

    def __init__(self, evaluations: int, progress: Progress | None) -> None:
        super().__init__()
        self._evaluations, self._progress = evaluations, progress
        self._gains: list[float] = []
        self.scores = 0

    def _on_step(self) -> bool:
        ended = [info["gain"] for info in self.locals["infos"] if "gain" in info]
        self._gains += ended
        self.scores += sum(len(info["accuracies"]) for info in self.locals["infos"] if "gain" in info)
        if self._progress and ended:
            recent = self._gains[-_RECENT:]
            done = min(len(self._gains), self._evaluations)
            self._progress(done, self._evaluations, sum(recent) / len(recent))
        return len(self._gains) < self._evaluations
