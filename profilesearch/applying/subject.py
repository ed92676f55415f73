"""The network that `apply` is asked for, how it is fine-tuned, and what its result depends on."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from profilesearch.applying.settings import Applying
from profilesearch.evidence import AtHand
from profilesearch.networks.criteria import MOST_SEEN, Batch
from profilesearch.networks.identity import weights_digest
from profilesearch.networks.plan import Plan
from profilesearch.networks.reading import tensor_digest
from profilesearch.profiles import Profile, Scope
from profilesearch.system.folders import digest_of
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import best_precision
from profilesearch.tasks.inputs import arranged
from profilesearch.tasks.pools import Member, tuning_recipe
from profilesearch.tasks.recipe import Recipe

_DEPENDS_ON = (
    "arch", "criterion", "refit", "seed", "finetune", "lr", "schedule", "label_smoothing", "distill", "export",
)  # fmt: skip
"""Settings that the networks of a result, or their files, depend on by themselves."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The trained network that is pruned, and its images.

    Attributes:
        member: Where it is from.
        plan: The full network and its channel groups.
        data: What it classifies.
        learn: Training images that pruned networks may learn from.
        orders: Of the channels of each group, by scope, once found: every profile takes the same.
    """

    member: Member
    plan: Plan
    data: DataSet
    learn: Images
    orders: dict[Scope, dict[str, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def network(self) -> nn.Module:
        """The full network."""
        return self.plan.network

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one input, (C, H, W)."""
        return self.plan.image_shape

    @property
    def here(self) -> AtHand:
        """By which profiles' files are read."""
        digest = self.data.folder_digest
        return AtHand(self.data.name, self.member.name, digest, weights_digest(self.network))

    def sample(self) -> Batch:
        """Returns the training images that criteria look at, normalized, and their labels."""
        some = self.learn[:MOST_SEEN]
        return arranged(self.network, self.data.normalize(some.pixels, self.shape[0])), some.labels


def tuning(settings: Applying, data: DataSet) -> Recipe:
    """Returns how networks are fine-tuned on a data set.

    Raises:
        UsageError: A value makes no sense.
    """
    names = ("lr", "schedule", "distill", "label_smoothing", "seed")
    return tuning_recipe(data, settings.finetune, **{name: getattr(settings, name) for name in names})


def record_of(settings: Applying, data: DataSet, device: torch.device) -> dict[str, Any]:
    """Returns all that the fine-tuning depends on; its number of epochs alone where there is none."""
    if not settings.finetune:
        return {"finetune": 0}
    recipe = replace(tuning(settings, data), precision=best_precision(device))
    return {"finetune": settings.finetune, **asdict(recipe)}


def result_digest(settings: Applying, data: DataSet, full: nn.Module, profile: Profile, rival: Profile | None) -> str:
    """Names a result by what it depends on."""
    return digest_of({
        **{name: getattr(settings, name) for name in _DEPENDS_ON},
        "weights": tensor_digest(full.state_dict()),
        "data": [data.name, data.train.digest, data.preparation],
        "profile": [profile.scope, dict(profile.keep)],
        **({"against": [rival.scope, dict(rival.keep)]} if rival else {}),
    })  # fmt: skip
