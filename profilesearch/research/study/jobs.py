"""The measurements that experiments are made of: scores, fine-tunings, searches and families, with what each gives."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from profilesearch.errors import choose
from profilesearch.scoring.names import Measure, Statistics
from profilesearch.tasks.names import Precision
from profilesearch.tasks.pools import Member

Widths = tuple[int, ...]
Refit = Literal["none", "moments"]


@dataclass(frozen=True)
class Sources:
    """Where measurements find models and images.

    Attributes:
        architecture: Of all models.
        members: Pool and targets.
        data_dir: Folder of the data sets.
        work: Folder of the ledger and of unfinished trainings.
        folders: Name and folder of the data sets that are folders.
        precision: Of forward passes: rows in another one are other measurements.
        device: Where trainings run.
    """

    architecture: str
    members: tuple[Member, ...]
    data_dir: Path | None
    work: Path
    folders: tuple[tuple[str, str], ...] = ()
    precision: Precision = "fp32"
    device: str = "cpu"

    def member(self, name: str) -> Member:
        """Returns a member by name.

        Raises:
            UsageError: There is none.
        """
        names = [member.name for member in self.members]
        return self.members[names.index(choose("model", name, names))]


@dataclass(frozen=True)
class Score:
    """A score to measure: of one profile on one model.

    Attributes:
        model: Name of the member to prune.
        part: Which of its images are scored.
        widths: The profile.
        images: That are scored at most.
        statistics: See `ScoreSettings`, as for the next three.
        criterion: Which channels stay.
        measure: What is measured.
        refit: Whether weights are refitted first, by `moments`.
        elastic: Steps of elastic training that the model's weights have behind them; see `Elastic`.
        sandwich: Whether each of these steps saw the widest and the narrowest network, too.
        steps: Of distillation that the pruned network gets before it is scored.
    """

    model: str
    part: str
    widths: Widths
    images: int = 1000
    statistics: Statistics = "batch"
    criterion: str = "l1"
    measure: Measure = "accuracy"
    refit: Refit = "none"
    elastic: int = 0
    sandwich: bool = False
    steps: int = 0


@dataclass(frozen=True)
class FineTune:
    """A fine-tuning to measure.

    Attributes:
        model: Name of the member to prune.
        widths: The profile; empty where Torch-Pruning's global threshold chooses the widths.
        keep: Fraction of the MACs, for the global threshold alone.
        criterion: Which channels stay.
        epochs: Of fine-tuning.
        lr: Peak learning rate.
        distill: Weight of the unpruned model's outputs.
        seed: Of the `random` criterion, order and augmentation.
        refit: How weights are refitted before, see `refit`; or none, which re-estimates BatchNorm's statistics.
    """

    model: str
    widths: Widths
    keep: float = 0.0
    criterion: str = "l1"
    epochs: int = 1
    lr: float = 0.02
    distill: float = 0.0
    seed: int = 0
    refit: str = "none"


@dataclass(frozen=True)
class Tuned:
    """What a fine-tuning measured, on all test images: accuracy before and after, and the relative MACs."""

    before: float
    after: float
    cost: float
    widths: Widths


@dataclass(frozen=True)
class Search:
    """A search to run; at most `images` of each pool member are scored, and `target_weight` is PPO's."""

    searcher: str
    pool: tuple[str, ...]
    keep: float
    evaluations: int
    seed: int
    images: int
    target_weight: float = 1.0


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        widths: The winner on fresh images.
        search: Its fitness on search images.
        choose: Its fitness on the images that chose it among several, and so too high on average.
        fresh: Its fitness on images that chose nothing; NaN where it was not taken.
        policy: Widths of the policy's own profile; empty for searchers without a policy.
        own_cost: The policy's own, unprojected cost, after the last update.
        curve: After each evaluation: fitness, own cost, and 1 for a policy's deterministic profile.
    """

    widths: Widths
    search: float
    choose: float
    fresh: float
    policy: Widths
    own_cost: float
    curve: tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class FamilySearch:
    """One policy to train for a range of budgets, and the budgets at which its profiles are wanted."""

    pool: tuple[str, ...]
    keeps: tuple[float, ...]
    evaluations: int
    seed: int
    images: int


@dataclass(frozen=True)
class FoundFamily:
    """Deterministic profiles of a family, and the policy's own, unprojected costs; one for each budget."""

    widths: tuple[Widths, ...]
    own_costs: tuple[float, ...]


Job = Score | FineTune | Search | FamilySearch
ADDED: dict[str, Any] = {
    "measure": "accuracy", "refit": "none", "elastic": 0, "sandwich": False, "steps": 0,
}  # fmt: skip
"""What measurements did not say once, with what was meant: where it is that, their names stay."""
_MISTAKEN = ("train", "choose", "fresh")
"""Parts that were scored on search images once: their scores have other names since, and are taken again."""


def identity(job: Job, precision: Precision) -> str:
    """Names a measurement by a hash of all that it depends on, but the models' weights."""
    about = {name: value for name, value in asdict(job).items() if name not in ADDED or value != ADDED[name]}
    if isinstance(job, Score) and job.part in _MISTAKEN:
        about["part"] = f"the model's own {job.part}"
    text = json.dumps([type(job).__name__, about, precision], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
