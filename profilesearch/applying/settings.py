"""What is asked of `apply`, and the network that it is asked for."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from profilesearch.networks.plan import Plan
from profilesearch.networks.reading import tensor_digest
from profilesearch.profiles import Profile
from profilesearch.system.folders import digest_of
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import best_precision
from profilesearch.tasks.pools import Member, tuning_recipe
from profilesearch.tasks.recipe import Recipe


@dataclass(frozen=True)
class Applying:
    """How a network is pruned and fine-tuned, and where the result goes.

    Attributes:
        arch: Name of the architecture.
        out: Folder of the result.
        criterion: Which channels stay.
        refit: How weights are fitted in closed form, or `none`.
        seed: Of all random choices.
        finetune: Epochs; 0 for none.
        lr: Peak learning rate.
        schedule: How it falls.
        label_smoothing: In [0, 1).
        distill: Weight of the unpruned model's outputs, in [0, 1].
        export: Formats to write too.
        against: Name or file of the profile to compare with, if any.
        card: Whether to write a model card, too.
    """

    arch: str
    out: Path
    criterion: str
    refit: str
    seed: int
    finetune: int
    lr: float
    schedule: str
    label_smoothing: float
    distill: float
    export: tuple[str, ...]
    against: str | None = None
    card: bool = False

    def recipe(self, data: DataSet) -> Recipe:
        """Returns how networks are fine-tuned on a data set.

        Raises:
            UsageError: A value makes no sense.
        """
        names = ("lr", "schedule", "distill", "label_smoothing", "seed")
        return tuning_recipe(data, self.finetune, **{name: getattr(self, name) for name in names})

    def record(self, data: DataSet, device: torch.device) -> dict[str, Any]:
        """Returns all that the fine-tuning depends on; its number of epochs alone where there is none."""
        if not self.finetune:
            return {"finetune": 0}
        recipe = replace(self.recipe(data), precision=best_precision(device))
        return {"finetune": self.finetune, **asdict(recipe)}

    def digest(self, data: DataSet, full: nn.Module, profile: Profile, rival: Profile | None) -> str:
        """Names a result by what it depends on."""
        return digest_of({
            **{name: value for name, value in asdict(self).items() if name not in ("out", "against", "card")},
            "weights": tensor_digest(full.state_dict()),
            "data": [data.name, data.train.digest, data.preparation],
            "profile": [profile.scope, dict(profile.keep)],
            **({"against": [rival.scope, dict(rival.keep)]} if rival else {}),
        })  # fmt: skip


@dataclass(frozen=True, eq=False)
class Subject:
    """The trained network that is pruned, and its images.

    Attributes:
        member: Where it is from.
        plan: The full network and its channel groups.
        data: What it classifies.
        learn: Training images that pruned networks may learn from.
    """

    member: Member
    plan: Plan
    data: DataSet
    learn: Images

    @property
    def network(self) -> nn.Module:
        """The full network."""
        return self.plan.network

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one input, (C, H, W)."""
        return self.plan.image_shape
