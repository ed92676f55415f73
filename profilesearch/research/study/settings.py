"""What `study` is told."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from profilesearch.cli import ranges
from profilesearch.cli.given import check_given
from profilesearch.cli.options import PRECISION, STORE, WORKERS, Pooled
from profilesearch.cli.settings import option
from profilesearch.errors import UsageError, choose
from profilesearch.networks.names import folder_name
from profilesearch.research.study.experiments import EXPERIMENTS, LONG, not_recorded
from profilesearch.research.study.sizes import QUICK, Sizes
from profilesearch.system.files import check_writable
from profilesearch.tasks.names import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class Studying(Pooled):
    """What `study` is told."""

    verb = "study"
    description = """\
Test the claims behind the project on real data, and write the page of results.

Each experiment consists of measurements: scores, searches, fine-tunings. Every one is recorded as soon as
it is taken, as a row of a CSV file in the results folder, and never taken twice: a study that was stopped,
even killed, goes on where it was when the same command is given again. The page is made of the records.

Models of the pool are seen by searches; targets are not."""
    epilog = """\
examples:
  profilesearch study --arch resnet20 --quick
  profilesearch study --arch resnet20 --data cifar10 --checkpoint a.th b.th cifar100:0 --target c.th
  profilesearch study --arch resnet20 ... --only ranks
  profilesearch study --arch resnet20 ... --row ranks.2

files:
  RESULTS/ARCH/*.csv, *.png   raw rows and figures
  RESULTS.md                  the page, for all architectures in the folder"""

    target: tuple[str, ...] = field(
        default=(), metadata=option("models that no search sees, given as for --checkpoint", "FILE")
    )
    map_from: str | None = field(
        default=None, metadata=option("relative whose stored profiles are mapped, instead of a search", "ARCH")
    )
    store: Path = field(default=Path("profiles"), metadata=STORE)
    only: tuple[str, ...] = field(
        default=(),
        metadata=option(f"experiments to run: {', '.join(EXPERIMENTS)} (default: all but {', '.join(LONG)})", "NAME"),
    )
    row: str | None = field(
        default=None, metadata=option("take the measurements of one row of the page again, and compare", "NAME")
    )
    recorded: bool = field(
        default=False, metadata=option("measure nothing: make the sections again of what is on record")
    )
    keeps: tuple[float, ...] = field(
        default=(),
        metadata=option("budgets of MACs (default: 0.3 0.5 0.7; quick: 0.5)", "FRACTION", ranges.share),
    )
    evaluations: int | None = field(
        default=None,
        metadata=option(
            f"of every searcher (default: {Sizes().evaluations}; quick: {QUICK.evaluations})",
            "N",
            ranges.whole(1, unit="evaluation"),
        ),
    )
    long_epochs: int | None = field(
        default=None,
        metadata=option(
            f"fine-tuning behind the headline (default: {Sizes().long_epochs})", "N", ranges.whole(1, unit="epoch")
        ),
    )
    profiles: int | None = field(
        default=None,
        metadata=option(
            f"of a budget, that truth fine-tunes to the end (default: {Sizes().truths}); more can be asked for later",
            "N",
            ranges.whole(4, unit="profile"),
        ),
    )
    quick: bool = field(default=False, metadata=option("tiny sizes, to see that everything runs"))
    precision: str | None = field(default=None, metadata=PRECISION)
    workers: int = field(default=0, metadata=WORKERS)
    results: Path = field(default=Path("results"), metadata=option("records and figures", "DIR"))
    runs: Path = field(default=Path("runs"), metadata=option("ledger, unfinished trainings", "DIR"))

    def validate(self) -> None:
        """Finds mistakes in the words alone.

        Raises:
            UsageError: A name is unknown, a folder cannot be written, or nothing is on record of what shall be.
        """
        super().validate()
        for given in self.target:
            check_given(given, self.arch, self.image_size)
        choose("precision", self.precision or PRECISIONS[0], PRECISIONS)
        _ = self.experiments
        for folder in (self.results, self.runs, self.store, self.pool_dir):
            check_writable(folder)
        if self.row:
            name, _, number = self.row.partition(".")
            choose("experiment", name, EXPERIMENTS)
            if not number.isdecimal() or not int(number):
                raise UsageError(f"'{self.row}' is no row; rows are called as on the page, such as {name}.1")
        if self.row or self.recorded:
            self._check_recorded()

    def _check_recorded(self) -> None:
        """Checks that anything was measured.

        Raises:
            UsageError: Nothing was, beyond which models there are.
        """
        asked = [self.row.partition(".")[0]] if self.row else self.experiments
        folder = self.results / folder_name(self.arch)
        if {path.stem for path in folder.glob("*.csv")} <= {"models"}:
            raise not_recorded(folder, asked[0])

    @property
    def experiments(self) -> list[str]:
        """Names of the experiments that are asked for.

        Raises:
            UsageError: One is unknown.
        """
        default = ["shipping"] if self.map_from else [name for name in EXPERIMENTS if name not in LONG]
        return [choose("experiment", name, EXPERIMENTS) for name in self.only or default]

    @property
    def sizes(self) -> Sizes:
        """How much is measured."""
        told = {
            "keeps": self.keeps or None,
            "evaluations": self.evaluations,
            "long_epochs": self.long_epochs,
            "truths": self.profiles,
        }
        changed: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
        return replace(QUICK if self.quick else Sizes(), **changed)
