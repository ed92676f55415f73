"""What is asked of `apply`."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from profilesearch.asked import check_scope, given_profile
from profilesearch.cli import ranges
from profilesearch.cli.given import check_given
from profilesearch.cli.options import (
    CRITERION,
    DEVICE,
    IMAGE_SIZE,
    KEEP_PARAMS,
    MEAN,
    METRIC,
    MULTIPLE_OF,
    STD,
    STORE,
    OnModels,
    Seeded,
    budget_of,
    scope_of,
)
from profilesearch.cli.settings import Settings, option
from profilesearch.errors import UsageError, choose
from profilesearch.networks.names import CRITERIA, NAMED, REFITS, UNIFORM, check_rival, other_rival
from profilesearch.profiles import SCOPES, Budget, Scope
from profilesearch.scoring.names import DIVERGENCE
from profilesearch.system.files import check_writable
from profilesearch.system.folders import check_place

FORMATS = ("onnx", "pt2")
"""Of exported files."""
UNSAID = ("json", "quiet")
"""Options that suggested commands leave out."""
_PROFILE, _TUNING = "profile", "fine-tuning"


@dataclass(frozen=True, kw_only=True)
class Applying(Seeded, OnModels):
    """What `apply` is told: how a network is pruned and fine-tuned, and where the result goes."""

    verb = "apply"
    description = """\
Prune a trained model with a stored profile: no search, a smaller network at once.

Channels are removed for real, the weights that are left are refitted in closed form on a few training images, and the
network is fine-tuned if asked (with distillation from the unpruned model). The file that is written rebuilds itself:

  from profilesearch import load_pruned
  network = load_pruned("applied/pruned.safetensors")"""
    epilog = """\
examples:
  profilesearch apply --arch resnet56 --checkpoint resnet56.th --data cifar10 --keep 0.5
  profilesearch apply --arch resnet56 --checkpoint resnet56.th --data cifar10 --profile my.json --finetune 10
  torchrun --nproc-per-node 2 -m profilesearch.apply --arch resnet56 --checkpoint resnet56.th --finetune 10
  profilesearch apply --arch resnet56 --checkpoint resnet56.th --data cifar10 --finetune 10 --against uniform
  profilesearch apply --arch resnet18 --checkpoint mine.safetensors --data photos/ --finetune 10 --export onnx

files, in --out, which appears whole (an earlier result of other settings there moves to DIR-2, ...):
  pruned.safetensors   weights and how to rebuild the network
  against.safetensors  with --against, the rival's network
  pruned.onnx, .pt2    with --export, each read back and compared
  profile.json         the profile, with this result as evidence
  report.json          before and after
  result.html          all of it to look at, with the test images whose class changed
  README.md            with --card, the model card
  profile.png          the widths"""

    data: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "the model's data set, or a folder with one subfolder a class; NAME@64 for images of 64 by 64 (default: "
            "cifar10, else digits)",
            "NAME",
            nargs=1,
        ),
    )
    checkpoint: str | None = field(
        default=None,
        metadata=option(
            "the trained model: a file, or a name such as IMAGENET1K_V1 (default: the pool's, seed 0)", "FILE"
        ),
    )
    pool_dir: Path = field(default=Path("pools"), metadata=option("trained members", "DIR"))
    image_size: int | None = field(default=None, metadata=option(*IMAGE_SIZE))
    mean: tuple[float, ...] | None = field(default=None, metadata=MEAN)
    std: tuple[float, ...] | None = field(default=None, metadata=STD)
    profile: str | None = field(
        default=None,
        metadata=option(
            "a profile file, a stored one as `list` names it, or one that needs no search: "
            f"{', '.join(NAMED)}; else the best stored one for what follows, and where none fits it the policy for any "
            "network if that has the evidence for it, blend otherwise:",
            "NAME",
            group=_PROFILE,
        ),
    )
    against: str | None = field(
        default=None,
        metadata=option(
            "another profile, such as `uniform`: made with the same recipe and seed, and set beside it with a verdict",
            "NAME",
            group=_PROFILE,
        ),
    )
    keep: float = field(
        default=0.5, metadata=option("part of the cost to keep", "FRACTION", ranges.share, group=_PROFILE)
    )
    keep_params: float | None = field(default=None, metadata=option(*KEEP_PARAMS, group=_PROFILE))
    metric: str = field(default="macs", metadata=option(*METRIC, group=_PROFILE))
    scope: str | None = field(
        default=None,
        metadata=option(
            "block, or all to prune residual streams too; no stored profile of the other is taken (default: the stored "
            "one's, and where none fits block, or all if block cannot be cut so far)",
            "NAME",
            group=_PROFILE,
        ),
    )
    store: Path = field(default=Path("profiles"), metadata=STORE | {"group": _PROFILE})
    map_by_position: bool = field(
        default=False,
        metadata=option(
            "let --profile be of a relative, another depth or width of the family: stages go to stages, groups take "
            "the ratio at their relative place, and the result is projected onto the budget",
            group=_PROFILE,
        ),
    )
    multiple_of: int | str = field(default=1, metadata=option(*MULTIPLE_OF, group=_PROFILE))
    criterion: str = field(default="reconstruction", metadata=option(*CRITERION, group=_PROFILE))
    refit: str = field(
        default=REFITS[0],
        metadata=option(
            "how layers are fitted in closed form to what they gave before the cut: sequential (on what the refitted "
            "layers before them give), full (on what the full network's gave), auto (whichever of these, or of no fit, "
            "with new BatchNorm statistics or without, is closest to the full network on other training images), or "
            "none, which re-estimates BatchNorm alone",
            "NAME",
            group=_PROFILE,
        ),
    )
    finetune: int = field(default=0, metadata=option("0: no fine-tuning", "EPOCHS", ranges.whole(0), group=_TUNING))
    lr: float = field(
        default=0.02, metadata=option("peak learning rate", "RATE", ranges.real(0, 1000, "least"), group=_TUNING)
    )
    schedule: str = field(default="cosine", metadata=option("cosine or linear", "NAME", group=_TUNING))
    label_smoothing: float = field(
        default=0.0, metadata=option("in [0, 1)", "PART", ranges.real(0, 1, "most"), group=_TUNING)
    )
    distill: float = field(
        default=0.5, metadata=option("of the unpruned model's outputs", "WEIGHT", ranges.real(0, 1), group=_TUNING)
    )
    device: str = field(default="cpu", metadata=option(*DEVICE))
    export: tuple[str, ...] = field(
        default=(), metadata=option("also write: onnx (needs the extra), pt2 (torch.export)", "NAME")
    )
    card: bool = field(
        default=False, metadata=option("also write a model card, README.md, as Hugging Face's hub reads")
    )
    out: Path = field(default=Path("applied"), metadata=option("where the results are written", "DIR"))

    @property
    def budget(self) -> Budget:
        """What the pruned network may cost, where no profile file says it."""
        return budget_of(self.metric, self.keep, self.keep_params)

    @property
    def groups(self) -> Scope:
        """Which channel groups profiles touch that need no search."""
        return scope_of(self.scope or SCOPES[0])

    def validate(self) -> None:
        """Finds mistakes before any work.

        Raises:
            UsageError: A name is unknown, the budget makes no sense, or a folder cannot be written.
        """
        super().validate()
        choose("criterion", self.criterion, CRITERIA)
        choose("refit", self.refit, REFITS)
        _ = self.groups, self.budget
        if self.profile is not None and self.profile not in NAMED:
            check_scope(given_profile(self.profile, self.store), self.scope)
        if self.against is not None and self.against not in NAMED:
            given_profile(self.against, self.store)
        check_rival(self.profile or UNIFORM, self.budget)
        if self.against and self.against == self.profile:
            raise UsageError(
                f"--against {self.against} is the very profile that is applied; name another one, such as "
                f"--against {other_rival(self.against)}"
            )
        choose("schedule", self.schedule, ("cosine", "linear"))
        self._check_tuning()
        for kind in self.export:
            choose("format", kind, FORMATS)
        check_place(self.out)
        if self.checkpoint is None:
            check_writable(self.pool_dir)
        else:
            check_given(self.checkpoint, self.arch, self.image_size)

    def _check_tuning(self) -> None:
        """Checks that there is a fine-tuning where something is told of it.

        Raises:
            UsageError: There is none.
        """
        told = [e.name for e in fields(self) if e.metadata["group"] == _TUNING and getattr(self, e.name) != e.default]
        if told and not self.finetune:
            raise UsageError(f"--{told[0].replace('_', '-')} is for fine-tuning; give --finetune EPOCHS as well")

    def command(self, **changed: Any) -> str:
        """Returns the command that these settings are of, with other values for some."""
        return f"python -m profilesearch.{self.verb}{self.words(vars(self) | changed, UNSAID)}"

    def search_command(self, searching: type[Settings], **changed: Any) -> str:
        """Returns the command that searches a profile on the same network, whose scores see what is done to it here.

        Args:
            searching: Settings of the command that searches.
            changed: Other values for some.
        """
        files = (self.checkpoint,) if self.checkpoint else ()
        seen = {"refit_scores": True, "score": DIVERGENCE} if self.refit != "none" else {}
        values = vars(self) | {"checkpoint": files} | seen | changed
        return f"python -m profilesearch.{searching.verb}{searching.words(values, UNSAID)}"
