"""Options that several commands share."""

import os
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, cast

from profilesearch.cli import ranges
from profilesearch.cli.console import DATA_VARIABLE
from profilesearch.cli.given import check_given
from profilesearch.cli.settings import Settings, at_home, option
from profilesearch.errors import UsageError, choose
from profilesearch.networks.names import CRITERIA
from profilesearch.profiles import METRICS, SCOPES, Budget, Metric, Scope
from profilesearch.scoring.names import ENGINES, LOCAL, MEASURES, NO_RAY, RAY, STATISTICS
from profilesearch.system.files import check_writable
from profilesearch.tasks.catalogue import NAMES, check_data, with_size
from profilesearch.tasks.names import PRECISIONS, check_device

_OWN = "of pixels in [0, 1], as the model was trained: one for all channels, or one for each"
_MODELS, _SEARCH, _ENGINE = "models", "search", "engine"

ARCH = (
    "architecture: one of ours such as resnet56, torchvision's such as mobilenet_v2, timm:NAME, or your own as "
    "module:callable",
    "NAME",
)
IMAGE_SIZE = (
    "height and width of all images, as NAME@N for each data set (default: their own; 224 for large ones from files)",
    "N",
    ranges.whole(1, 9999, unit="pixel"),
)
MEAN = option(
    f"{_OWN} (default: the data set's; ImageNet's for images from files, or what timm says of its network)",
    "VALUE",
    ranges.real(-1000, 1000),
)
STD = option("likewise, standard deviation", "VALUE", ranges.real(0, 1000, "least"))
DEVICE = "where networks run: cpu, or cuda", "NAME"
METRIC = f"cost: {' or '.join(METRICS)}", "NAME"
CRITERION = f"which channels stay: {', '.join(CRITERIA)}", "NAME"
KEEP_PARAMS = (
    "keep this part of the parameters as well, exactly (default: as many as come with --keep)",
    "FRACTION",
    ranges.share,
)
IMAGES = "held-out images that a score looks at", "N", ranges.whole(1, unit="image")
STORE = option("where profiles are kept", "DIR")
WORKERS = option("processes (default: one for each core)", "N", ranges.workers)
PRECISION = option(
    f"of forward passes: {' or '.join(PRECISIONS)}; rows in another one are other measurements, and none is taken for "
    "the other (default: the processor's best)",
    "NAME",
)


MULTIPLE_OF = (
    "widths are multiples of N; `auto` takes the one whose networks are fastest on --device",
    "N",
    ranges.whole_or_auto,
)


@dataclass(frozen=True)
class Sources:
    """Where models and images are from.

    Attributes:
        arch: The architecture.
        pool_dir: Folder of the members that are trained here.
        data: What was asked for, data set by data set; without any, CIFAR-10 where it is on disk, else digits.
        data_dir: Folder of the data sets.
        download: Whether a missing one is fetched.
        image_size: Height and width of all images; their own where None.
        mean: Of each channel, or of all; the data set's where None.
        std: Likewise.
        device: Where networks run.
    """

    arch: str
    pool_dir: Path
    data: tuple[str, ...] = ()
    data_dir: Path | None = None
    download: bool = False
    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    device: str = "cpu"


def _data_dir() -> Path | None:
    where = os.environ.get(DATA_VARIABLE)
    return Path(at_home(where)) if where else None


@dataclass(frozen=True, kw_only=True)
class OnModels(Settings):
    """What all commands are told that work on an architecture's models."""

    data_option: ClassVar[str] = "--data"

    arch: str = field(metadata=option(*ARCH))
    data_dir: Path | None = field(
        default_factory=_data_dir,
        metadata=option(f"folder of the data sets (default: ${DATA_VARIABLE}, or ./data if there is one)", "DIR"),
    )
    download: bool = field(default=False, metadata=option("fetch a missing data set into --data-dir"))

    @property
    def sources(self) -> Sources:
        """Where models and images are from."""
        told = vars(self)
        return Sources(**{each.name: told[each.name] for each in fields(Sources) if each.name in told})

    def validate(self) -> None:
        """Finds mistakes in the words alone.

        Raises:
            UsageError: A data set or a device is unknown, or an image size is given twice.
        """
        super().validate()
        check_device(self.sources.device)
        for name in self.sources.data:
            with_size(check_data(name), self.sources.image_size)


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """By which seed a command draws, where no other option says that."""

    seed: int = field(default=0, metadata=option("of all random choices", "N", ranges.seed))


@dataclass(frozen=True, kw_only=True)
class Pooled(OnModels):
    """Which trained models to use."""

    data: tuple[str, ...] = field(
        default=(),
        metadata=option(
            f"data sets: {', '.join(NAMES)}, or a folder with one subfolder a class; NAME@64 for images of 64 by 64 "
            "(default: cifar10 where it is on disk, else digits)",
            "NAME",
            group=_MODELS,
        ),
    )
    checkpoint: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "trained models to use as the pool; DATA=FILE where they belong to another data set than the first of "
            "--data, DATA:SEED for one that `pool` trains, torchvision's names such as IMAGENET1K_V1, FILE#ENTRY for "
            "one of several networks in a file, such as averaged weights; without any, the whole pool is trained",
            "FILE",
            group=_MODELS,
        ),
    )
    seeds: tuple[int, ...] = field(
        default=(0, 1), metadata=option("of members to train", "N", ranges.seed, group=_MODELS)
    )
    pool_dir: Path = field(default=Path("pools"), metadata=option("trained members", "DIR", group=_MODELS))
    image_size: int | None = field(default=None, metadata=option(*IMAGE_SIZE, group=_MODELS))
    device: str = field(default="cpu", metadata=option(*DEVICE, group=_MODELS))

    def validate(self) -> None:
        """Finds mistakes in the words, and files that are not there.

        Raises:
            UsageError: There is one.
        """
        super().validate()
        for given in self.checkpoint:
            check_given(given, self.arch, self.image_size)


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """How the images' pixels are normalized."""

    mean: tuple[float, ...] | None = field(default=None, metadata=MEAN)
    std: tuple[float, ...] | None = field(default=None, metadata=STD)


@dataclass(frozen=True, kw_only=True)
class Searching(Seeded, Normalized, Pooled):
    """What to search, and how to score it."""

    keep: float = field(
        default=0.5, metadata=option("budget: part of the cost to keep", "FRACTION", ranges.share, group=_SEARCH)
    )
    keep_params: float | None = field(default=None, metadata=option(*KEEP_PARAMS, group=_SEARCH))
    metric: str = field(default="macs", metadata=option(*METRIC, group=_SEARCH))
    scope: str = field(
        default="block", metadata=option("block, or all to prune residual streams too", "NAME", group=_SEARCH)
    )
    multiple_of: int | str = field(default=1, metadata=option(*MULTIPLE_OF, group=_SEARCH))
    evaluations: int = field(
        default=300,
        metadata=option("profiles that a search may score", "N", ranges.whole(1, unit="evaluation"), group=_SEARCH),
    )
    images: int = field(default=1000, metadata=option(*IMAGES, group=_SEARCH))
    statistics: str | None = field(
        default=None,
        metadata=option(
            "where BatchNorm takes its statistics from: sample (64 of the scored images, then folded), batch (the "
            "scored images, one pass), reestimate (training images, a second pass) or none (the full network's; "
            "useless but for showing that) (default: sample, and batch below 500 images)",
            "NAME",
            group=_SEARCH,
        ),
    )
    score: str = field(
        default=MEASURES[0],
        metadata=option(
            "what a score measures: accuracy; loss, as exp(-loss); or divergence, as exp(-divergence) from the "
            "unpruned network's outputs, which needs no labels",
            "NAME",
            group=_SEARCH,
        ),
    )
    refit_scores: bool = field(
        default=False,
        metadata=option(
            "score networks whose layers are first fitted in closed form, from second moments that are taken once",
            group=_SEARCH,
        ),
    )
    criterion: str = field(default="l1", metadata=option(*CRITERION, group=_SEARCH))
    runs: Path = field(default=Path("runs"), metadata=option("ledger, curves and pictures", "DIR", group=_SEARCH))
    engine: str = field(
        default=ENGINES[0],
        metadata=option(
            "where profiles are scored: local (this process), processes, or ray (needs the extra)",
            "NAME",
            group=_ENGINE,
        ),
    )
    workers: int = field(default=0, metadata=WORKERS | {"group": _ENGINE})
    address: str | None = field(
        default=None, metadata=option("of a running Ray cluster (default: start one here)", "HOST", group=_ENGINE)
    )

    @property
    def budget(self) -> Budget:
        """What pruned networks may cost.

        Raises:
            UsageError: An unknown metric, or parameters twice.
        """
        return budget_of(self.metric, self.keep, self.keep_params)

    @property
    def groups(self) -> Scope:
        """Which channel groups are touched.

        Raises:
            UsageError: The scope is unknown.
        """
        return scope_of(self.scope)

    def validate(self) -> None:
        """Finds mistakes in the words alone.

        Raises:
            UsageError: A name is unknown, the budget makes no sense, or an extra is missing.
        """
        super().validate()
        _ = self.budget, self.groups
        choose("criterion", self.criterion, CRITERIA)
        choose("statistics", self.statistics or STATISTICS[0], STATISTICS)
        choose("score", self.score, MEASURES)
        choose("engine", self.engine, ENGINES)
        if self.engine == RAY and find_spec(RAY) is None:
            raise UsageError(NO_RAY)
        if self.workers and self.engine == LOCAL:
            raise UsageError("--workers is for --engine processes or ray; the local one is this process alone")
        for folder in (self.runs, self.pool_dir):
            check_writable(folder)
        if self.address is not None and self.engine != RAY:
            raise UsageError(f"--address is for --engine ray, not for {self.engine}")


def budget_of(metric: str, keep: float, keep_params: float | None = None) -> Budget:
    """Returns a budget of what options say.

    Raises:
        UsageError: An unknown metric, a fraction outside (0, 1], or parameters twice.
    """
    return Budget(cast(Metric, choose("metric", metric, METRICS)), keep, keep_params)


def scope_of(name: str) -> Scope:
    """Returns a scope by name.

    Raises:
        UsageError: It is unknown.
    """
    return cast(Scope, choose("scope", name, SCOPES))
