"""What `policy` is told."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from agents.general_settings import GeneralSettings
from profilesearch.cli import ranges
from profilesearch.cli.given import check_given
from profilesearch.cli.options import ARCH, IMAGES, STORE, Searching
from profilesearch.cli.settings import option
from profilesearch.errors import UsageError, choose
from profilesearch.networks.names import AUTO, POLICY
from profilesearch.research.policy.families import family_of
from profilesearch.research.policy.sizes import Sizes
from profilesearch.scoring.names import MIXED_METRICS, OVER_MEMBERS
from profilesearch.system.files import check_writable, regular_file
from profilesearch.system.naming import check_name

ACTIONS = ("show", "train", "evaluate", "measure")
_MEASURED = ("evaluate", "measure")
_HOW = "policy"
_MACHINE = ("runs", "store", "pool_dir", "data_dir", "quiet", "json")
"""What recorded commands leave out: it depends on the machine."""


@dataclass(frozen=True, kw_only=True)
class Policing(Searching):
    """What `policy` is told."""

    verb = "policy"
    description = """\
Show what one policy for any network decides; train it; measure it on families that it did not see.

  policy --arch NAME   decides a profile in a moment, for a network of any kind, trained or not, and shows it
  policy train         trains a policy over the architectures of --pool: every episode draws one of them and a budget
  policy evaluate      trains one without each family in turn, and holds what it decides there against rivals
  policy measure       holds what the stored policy decides for --pool, of families that it did not see, against rivals

The policy sees what a layer is (its size, kernel, place, role) and the budget, never a weight or an image. A profile
is worth what it gains over the same part of every layer, in standard deviations of random profiles, on held-out
training images. Test images are never looked at. A training that was stopped, even killed, goes on where it was when
the same command is given again: every score is in a ledger."""
    epilog = """\
examples:
  profilesearch policy --arch shufflenet_v2_x1_0 --keep 0.5
  profilesearch policy train --pool resnet20 vgg_tiny mobilenet_v2_tiny --data digits --evaluations 400
  profilesearch policy train --pool resnet20=a.th resnet20=b.th vgg_tiny=cifar10:0 --data cifar10
  profilesearch policy evaluate --pool resnet20 vgg_tiny mobilenet_v2_tiny --data digits --evaluations 400

files:
  STORE/policy/NAME.safetensors   the policy, with its architectures, settings, total scores and evidence
  RUNS/policy/NAME.json           rows of `evaluate`, which the policy of the same settings takes as its evidence;
                                  NAME-as-applied.json with --as-applied, which it takes before the others;
                                  NAME-without-FAMILY.json with --leave-out, and NAME-equal-params.json with
                                  --equal-params, which give it none
  RUNS/policy/ARCH.png            the picture of what is shown"""

    action: str = field(
        default=ACTIONS[0], metadata=option(f"one of {', '.join(ACTIONS)}", "ACTION", flags=(), nargs="?")
    )
    arch: str = field(default="", metadata=option(f"whose profile is shown; {ARCH[0]}", ARCH[1]))
    pool: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "architectures to learn on: NAME for members that `pool` trains, or NAME=CHECKPOINT, as often as there are "
            "checkpoints, each as for --checkpoint of `train`",
            "SPEC",
        ),
    )
    seeds: tuple[int, ...] = field(default=(0,), metadata=option("of members to train", "N", ranges.seed, group=_HOW))
    evaluations: int = field(
        default=2000,
        metadata=option("profiles that the training may score", "N", ranges.whole(1, unit="evaluation"), group=_HOW),
    )
    images: int = field(default=500, metadata=option(*IMAGES, group=_HOW))
    objective: str = field(
        default="mean", metadata=option(f"over members: {', '.join(OVER_MEMBERS)}", "NAME", group=_HOW)
    )
    name: str = field(default="any", metadata=option("of the stored policy", "NAME", group=_HOW))
    store: Path = field(default=Path("profiles"), metadata=STORE)
    leave_out: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "evaluate: families that are left out (default: each in turn); several commands then share the work, and "
            "the whole one takes their scores",
            "FAMILY",
            group=_HOW,
        ),
    )
    keeps: tuple[float, ...] = field(
        default=(0.3, 0.5, 0.7), metadata=option("measured: budgets", "FRACTION", ranges.share, group=_HOW)
    )
    draws: int = field(
        default=100, metadata=option("measured: random profiles of a budget", "N", ranges.whole(1), group=_HOW)
    )
    search: int = field(
        default=300,
        metadata=option(
            "measured: evaluations of a PPO search on the left-out architecture itself; 0 for none",
            "N",
            ranges.whole(0),
            group=_HOW,
        ),
    )

    equal_params: bool = field(
        default=False,
        metadata=option(
            "measured: all profiles have uniform's parameters besides, network by network, so that none is ahead by "
            "keeping more; widest is left out, of which there is none then",
            group=_HOW,
        ),
    )

    as_applied: bool = field(
        default=False,
        metadata=option(
            "measured: profiles are judged by what `apply` makes of them, every layer refitted, without fine-tuning; "
            "with the blend beside, which `apply` takes; --criterion reconstruction chooses channels as it does",
            group=_HOW,
        ),
    )

    @property
    def command(self) -> str:
        """The command that was given, but for what depends on the machine."""
        return f"python -m profilesearch.policy {self.action}{self.words(vars(self), _MACHINE)}"

    @property
    def file(self) -> Path:
        """Where the policy is stored."""
        return self.store / POLICY / f"{self.name}.safetensors"

    @property
    def architectures(self) -> dict[str, list[str]]:
        """The checkpoints of each architecture of the pool, none where members are trained here.

        Raises:
            UsageError: The pool is empty, or an architecture is given with and without checkpoints.
        """
        if not self.pool:
            raise UsageError("give --pool NAME... with the architectures to learn on, such as resnet20 vgg_tiny")
        parts = [spec.partition("=") for spec in self.pool]
        found = {name: [file for each, _, file in parts if each == name and file] for name, _, _ in parts}
        for name, separator, file in parts:
            if not name or bool(separator) != bool(file):
                raise UsageError(f"--pool takes NAME or NAME=CHECKPOINT, got '{name}{separator}{file}'")
            if not separator and found[name]:
                raise UsageError(
                    f"--pool has {name} with a checkpoint and without; DATA:SEED names a member that is trained here"
                )
        return found

    @property
    def sizes(self) -> Sizes:
        """How much is measured."""
        return Sizes(self.keeps, self.draws, self.search, self.equal_params, self.as_applied)

    def validate(self) -> None:
        """Finds mistakes before any work.

        Raises:
            UsageError: There is one.
        """
        super().validate()
        choose("action", self.action, ACTIONS)
        choose("objective", self.objective, OVER_MEMBERS)
        check_name(self.name)
        if self.leave_out and self.action != "evaluate":
            raise UsageError(f"--leave-out is for `policy evaluate`, not for `policy {self.action}`")
        if self.keep_params is not None or self.multiple_of == AUTO:
            raise UsageError(
                "a policy has budgets of one metric, and widths of a given --multiple-of; leave the other out (`policy "
                "evaluate` has --equal-params)"
            )
        self._check_measured()
        check_writable(self.store)
        self._check_action()

    def _check_measured(self) -> None:
        """Refuses ways to measure where nothing is measured, and equal parameters where they are equal already.

        Raises:
            UsageError: So it is.
        """
        for name in ("equal_params", "as_applied"):
            if getattr(self, name) and self.action not in _MEASURED:
                raise UsageError(
                    f"--{name.replace('_', '-')} is for `policy evaluate` and `policy measure`, not for {self.action}"
                )
        if self.equal_params and self.metric == "params":
            raise UsageError("--metric params has equal parameters already; leave out --equal-params, or --metric")

    def _check_action(self) -> None:
        """Finds mistakes in what is told to one of the actions.

        Raises:
            UsageError: There is one.
        """
        if self.action == "show":
            if not self.arch:
                raise UsageError(
                    "give --arch NAME, the network whose profile is shown; or `policy train`, `policy evaluate`"
                )
            return
        shown = [name for name in ("arch", "checkpoint", "keep") if getattr(self, name) != _defaults()[name]]
        if shown:
            raise UsageError(
                f"--{shown[0]} is for what `policy` shows; `policy {self.action}` takes architectures and checkpoints "
                "from --pool, and draws its budgets, or has them from --keeps"
            )
        for arch, checkpoints in self.architectures.items():
            for checkpoint in checkpoints:
                check_given(checkpoint, arch, self.image_size)
        if self.action == "measure":
            regular_file(self.file, "policy")
            return
        choose("metric for several architectures", self.metric, MIXED_METRICS)
        GeneralSettings().check_evaluations(self.evaluations)
        families = sorted(set(map(family_of, self.architectures)))
        if self.action == "evaluate" and len(families) < 3:
            raise UsageError(f"the pool has the families {', '.join(families)} alone; leaving one out needs three")
        for name in self.leave_out:
            choose("family of the pool", name, families)


def _defaults() -> dict[str, Any]:
    return {each.name: each.default for each in fields(Policing)}
