"""Hyperparameters of the training of one policy for any network: read without torch, which takes seconds."""

from dataclasses import dataclass

from profilesearch.errors import UsageError
from profilesearch.scoring.names import MIXED_WEIGHT


@dataclass(frozen=True)
class GeneralSettings:
    """Hyperparameters of PPO (Schulman et al. 2017, arXiv 1707.06347) over many architectures.

    Attributes:
        environments: Episodes in lock step; they end at different times.
        steps: Steps of each between two updates.
        learning_rate: Of Adam.
        epochs: Passes over an update's steps, each in one batch.
        log_std: Logarithm of the policy's first standard deviation; an action is in [-1, 1].
        clip: Clipping range of the policy ratio.
        hidden: Units of each of the two hidden layers.
        target_weight: Of the reward's target term, in spreads of random profiles.
    """

    environments: int = 8
    steps: int = 32
    learning_rate: float = 2e-3
    epochs: int = 20
    log_std: float = -0.9
    clip: float = 0.2
    hidden: int = 32
    target_weight: float = MIXED_WEIGHT

    def check_evaluations(self, evaluations: int) -> None:
        """Checks that a training may score one profile of each episode.

        Raises:
            UsageError: There are too few evaluations for one update.
        """
        if evaluations < self.environments:
            raise UsageError(
                f"a policy needs at least {self.environments} evaluations, since it plays that many episodes at a "
                f"time; got {evaluations}"
            )
