"""How to train or fine-tune."""

import math
from dataclasses import dataclass
from typing import Literal

from profilesearch.errors import UsageError
from profilesearch.tasks.names import Precision


@dataclass(frozen=True)
class Recipe:
    """How to train or fine-tune.

    Attributes:
        epochs: Passes over the training images.
        lr: Peak learning rate of SGD with Nesterov momentum; it rises linearly over the first tenth of all steps, but
            for `steps`, which starts with it.
        batch: Images a step.
        momentum: Of SGD.
        weight_decay: On all parameters.
        schedule: How the learning rate falls to zero after its peak; `steps` divides it by ten after each third.
        label_smoothing: In [0, 1).
        distill: Weight in [0, 1] of the distance to the teacher's softened outputs (Hinton et al. 2015,
            arXiv 1503.02531); the labels have the rest. Ignored without a teacher.
        temperature: Of the softened outputs.
        shift: Largest random shift of the images, in pixels.
        small: Share of the epochs, the first ones, that see the images at three quarters of their size, for little
            more than half of the time (progressive resizing, as in Howard's entry to DAWNBench 2018).
        seed: Of order and augmentation.
        precision: Of the forward pass; the best of the device where None.
    """

    epochs: int
    lr: float = 0.1
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "linear", "steps"] = "cosine"
    label_smoothing: float = 0.0
    distill: float = 0.0
    temperature: float = 4.0
    shift: int = 4
    small: float = 0.0
    seed: int = 0
    precision: Precision | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or not 0 < self.lr < math.inf:
            raise UsageError(
                f"training needs at least 1 epoch, 2 images a batch and a positive learning rate, got "
                f"{self.epochs}, {self.batch} and {self.lr:g}"
            )
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.distill <= 1:
            raise UsageError(
                f"label smoothing must be in [0, 1) and the weight of distillation in [0, 1], got "
                f"{self.label_smoothing:g} and {self.distill:g}"
            )

    def rate(self, step: int, steps: int) -> float:
        """Returns the learning rate of a step out of `steps`."""
        if self.schedule == "steps":
            return self.lr * 0.1 ** (3 * step // steps)
        rise = max(1, steps // 10)
        if step < rise:
            return self.lr * (step + 1) / rise
        left = (steps - step) / (steps - rise)
        return self.lr * (left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)
