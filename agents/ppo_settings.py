"""Hyperparameters of the search by PPO: read without torch, which takes seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real

from profilesearch.errors import UsageError
from profilesearch.scoring.names import TARGET_WEIGHT


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
        UsageError: One is no number of its kind, or out of its range.
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
            value, whole = getattr(self, name), isinstance(getattr(PpoSettings, name), int)
            number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                what = "a whole number " if whole else ""
                raise UsageError(f"{name} must be {what}in [{low:g}, {high:g}], got {value!r}")

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
