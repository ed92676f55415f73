"""What `transfer` is told."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from profilesearch.cli import ranges
from profilesearch.cli.given import check_given
from profilesearch.cli.options import CRITERION, PRECISION, STORE, WORKERS, OnModels, Seeded, Sources
from profilesearch.cli.settings import option
from profilesearch.errors import UsageError, choose
from profilesearch.networks.names import CRITERIA, REFITS
from profilesearch.profiles import Metric
from profilesearch.research.transfers.carriable import carriable
from profilesearch.research.transfers.methods import METHODS
from profilesearch.research.transfers.ways import FINETUNES, LEVELS_OF, STARTS, Ways
from profilesearch.store import Store
from profilesearch.system.files import check_writable
from profilesearch.tasks.catalogue import check_data
from profilesearch.tasks.names import PRECISIONS

_WIDTH = max(map(len, METHODS))
_LISTED = "\n".join(f"  {name:{_WIDTH}}  {method.summary}" for name, method in METHODS.items())


def _level(text: str) -> float:
    """Reads a level as rows show it, so that both are the same number."""
    return float(f"{ranges.real(0, 1, 'least most')(text):g}")


@dataclass(frozen=True, kw_only=True)
class Transferring(Seeded, OnModels):
    """What `transfer` is told."""

    verb = "transfer"
    data_option = "--upstream"
    description = f"""\
Compress a network on one data set in several ways, carry each result to other data sets, and fine-tune it.

A level is the fraction of the weights that a method removes. Structured methods make tensors smaller; the
others set weights to zero, which stay zero while the network is fine-tuned. With --metric macs it is the
fraction of the multiply-adds, for structured methods alone. Every row is recorded as soon as
it is there; a comparison that was stopped goes on where it was when the same command is given again.

Methods:
{_LISTED}"""
    epilog = """\
examples:
  profilesearch transfer --arch resnet20 --upstream cifar10 --downstream cifar100 fashionmnist \\
      --method dense profile magnitude ticket-late --level 0.8 --finetune linear full

files, in --out:
  rows.csv                  a row for every fine-tuning
  speeds.csv                how long networks of each shape take, beside the source
  networks/                 compressed networks; only the first fine-tuning of each has to make it
  commands.json             the commands so far
  transfer.md, transfer.png tables with intervals, and the figure, of all rows from this source and these lengths of
                            training: a comparison may grow by several commands
  profile-LEVEL.json        the profile that was carried, with this evidence
                            (these three of a further setting in the same folder end with its name)"""

    upstream: str | None = field(
        default=None,
        metadata=option(
            "data set that networks are compressed on (default: cifar10 where it is on disk, else digits)", "NAME"
        ),
    )
    downstream: tuple[str, ...] = field(metadata=option("data sets that they are carried to", "NAME"))
    checkpoint: str | None = field(
        default=None,
        metadata=option("the trained source (default: the pool's, of --seed, trained if missing)", "FILE"),
    )
    method: tuple[str, ...] = field(default=(), metadata=option("see above (default: all)", "NAME"))
    level: tuple[float, ...] = field(default=(0.8,), metadata=option("the part to remove", "PART", _level))
    metric: str = field(default="params", metadata=option("what levels are of: params (weights), macs", "NAME"))
    finetune: tuple[str, ...] = field(
        default=("linear",),
        metadata=option("linear (the classifier), full, or none (the test images of --upstream)", "KIND"),
    )
    seeds: tuple[int, ...] = field(default=(0, 1, 2), metadata=option("of the fine-tuning", "N", ranges.seed))
    compressions: int = field(
        default=1,
        metadata=option(
            "networks that each method makes, from as many seeds; a fine-tuning takes that of its own seed modulo N "
            "(default: one network for all, so that intervals say nothing of other compressions)",
            "N",
            ranges.whole(1),
        ),
    )
    epochs: int | None = field(
        default=None,
        metadata=option("of full fine-tuning (default: 10; large images 150)", "N", ranges.whole(1, unit="epoch")),
    )
    upstream_epochs: int = field(
        default=5, metadata=option("of methods that start from the source", "N", ranges.whole(0))
    )
    scratch_epochs: int = field(
        default=40, metadata=option("of methods that start from random weights", "N", ranges.whole(1, unit="epoch"))
    )
    distill: float = field(
        default=Ways.distill,
        metadata=option(
            "weight of the source's answers in trainings upstream that start from it; 1 leaves labels out", "PART",
            ranges.real(0, 1),
        ),
    )  # fmt: skip
    start: str = field(
        default=Ways.start,
        metadata=option("what rigl, str and acdc start from: random (weights), or source, to train as long", "NAME"),
    )
    criterion: str = field(default=Ways.criterion, metadata=option(*CRITERION))
    refit: str = field(
        default=Ways.refit,
        metadata=option(
            "how profiles and their rivals fit their weights anew before they train: none, sequential, full, auto",
            "NAME",
        ),
    )
    map_from: str | None = field(
        default=None,
        metadata=option("relative whose stored profiles are mapped, instead of this network's own", "ARCH"),
    )
    pool_dir: Path = field(default=Path("pools"), metadata=option("trained sources", "DIR"))
    store: Path = field(default=Path("profiles"), metadata=STORE)
    precision: str | None = field(default=None, metadata=PRECISION)
    workers: int = field(default=0, metadata=WORKERS)
    out: Path = field(default=Path("transferred"), metadata=option("where results are written", "DIR"))

    @property
    def sources(self) -> Sources:
        """Where models and images are from: first those of the upstream data set."""
        return replace(super().sources, data=(self.upstream,) if self.upstream else ())

    @property
    def levels_of(self) -> Metric:
        """What levels are of."""
        return cast(Metric, self.metric)

    @property
    def ways(self) -> Ways:
        """How methods work upstream."""
        return Ways(self.distill, self.start, self.criterion, self.refit)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods: those that are asked for, else all that can remove what levels are of."""
        return self.method or self._able

    @property
    def _able(self) -> tuple[str, ...]:
        return tuple(name for name, method in METHODS.items() if self.metric == "params" or method.structured)

    def validate(self) -> None:
        """Finds mistakes before any work.

        Raises:
            UsageError: A name is unknown, a method cannot remove what levels are of, or no profile is stored for those
            that are asked for.
        """
        super().validate()
        if self.checkpoint is not None:
            check_given(self.checkpoint, self.arch)
        for name in self.downstream:
            check_data(name)
        choose("metric", self.metric, LEVELS_OF)
        choose("precision", self.precision or PRECISIONS[0], PRECISIONS)
        choose("start", self.start, STARTS)
        choose("criterion", self.criterion, CRITERIA)
        choose("refit", self.refit, REFITS)
        for method in self.methods:
            choose("method", method, METHODS)
            if method not in self._able:
                raise UsageError(
                    f"--metric macs is for smaller tensors, and {method} sets weights to zero; choose from "
                    f"{', '.join(self._able)}"
                )
        if all(method.startswith("profile") for method in self.methods):  # beside others, they are skipped
            carriable(Store(self.store), self.map_from or self.arch, self.levels_of)
        for folder in (self.out, self.pool_dir):
            check_writable(folder)
        for kind in self.finetune:
            choose("kind of fine-tuning", kind, FINETUNES)
        if "none" in self.finetune and any(name != self.upstream for name in self.downstream):
            raise UsageError(
                "--finetune none reads the source's own test images with its own classifier; give the --upstream data "
                "set as --downstream, and others in another command with the same --out"
            )
