"""What `groups`, `list`, `pool` and `report` are told."""

from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from profilesearch.cli import ranges
from profilesearch.cli.options import ARCH, KEEP_PARAMS, STORE, Normalized, Pooled
from profilesearch.cli.settings import Settings, option
from profilesearch.errors import UsageError
from profilesearch.networks.names import entry_of, folder_name
from profilesearch.system.files import check_writable, regular_file
from profilesearch.tasks.catalogue import parts_of


@dataclass(frozen=True, kw_only=True)
class Grouping(Settings):
    """What `groups` is told."""

    verb = "groups"
    description = """\
Show the channel groups of an architecture: which layers keep the same channels, how wide they are, what share
of the cost vanishes with each, and which layers are out of scope, with the reason.

Scope 'block' leaves the residual streams alone; scope 'all' prunes them too. Untrained weights are enough."""
    epilog = """\
examples:
  profilesearch groups --arch resnet56
  profilesearch groups --arch resnet56 --image-size 32 --classes 10 --keep 0.5 --keep-params 0.5
  profilesearch groups --arch mobilenet_v2 --image-size 64 --classes 10
  profilesearch groups --arch timm:resnet18d
  profilesearch groups --arch mypackage.models:small_net
  profilesearch groups --families

files: none is written"""

    arch: str | None = field(default=None, metadata=option(*ARCH))
    keep: float | None = field(
        default=None, metadata=option("also show what a budget of multiply-adds means", "FRACTION", ranges.share)
    )
    keep_params: float | None = field(default=None, metadata=option(*KEEP_PARAMS))
    families: bool = field(default=False, metadata=option("one line for one of each of torchvision's families"))
    image_size: int | None = field(
        default=None,
        metadata=option("height and width (default: the architecture's)", "PIXELS", ranges.whole(1, 16384)),
    )
    channels: int = field(default=3, metadata=option("of the images", "N", ranges.whole(1, 4096)))
    classes: int = field(default=1000, metadata=option("outputs", "N", ranges.whole(1, 10**6)))

    def validate(self) -> None:
        """Finds mistakes in the words alone.

        Raises:
            UsageError: Two options exclude each other, or one needs another.
        """
        super().validate()
        if bool(self.arch) == self.families:
            raise UsageError("give either --arch NAME or --families")
        if self.keep is None and self.keep_params is not None:
            raise UsageError("--keep-params is the second metric of a budget; give --keep as well")


@dataclass(frozen=True, kw_only=True)
class Listing(Settings):
    """What `list` is told."""

    verb = "list"
    description = """\
List the stored profiles, your own and those that come with the installation, with their evidence.

Gain is accuracy over the uniform profile of the same cost, in points, on models that the search did not
see: the mean of the evidence, and where its 95 % intervals reach. `apply` takes what your own search found
for its network or data set, then the profile whose interval there begins highest.

A damaged file is named, and the others are listed."""
    epilog = """\
examples:
  profilesearch list
  profilesearch list --arch resnet56 --evidence"""

    arch: str | None = field(default=None, metadata=option("of this architecture alone", "NAME"))
    store: Path = field(default=Path("profiles"), metadata=STORE)
    evidence: bool = field(default=False, metadata=option("one line for every measurement"))
    check: bool = field(default=False, metadata=option("end with exit code 2 if a file is damaged"))


@dataclass(frozen=True, kw_only=True)
class Pooling(Normalized, Pooled):
    """What `pool` is told."""

    verb = "pool"
    description = """\
Train the missing members of a pool, once, and list them.

A pool is several trained models of one architecture, on one or more data sets and from several seeds.
Members learn on nine tenths of the training images (six on digits); searches score on the others.
Training resumes after an interruption. Checkpoints from elsewhere join by path."""
    epilog = """\
examples:
  profilesearch pool --arch resnet20 --data cifar10 cifar100 --seeds 0 1 2
  profilesearch pool --arch resnet56 --data cifar10 --checkpoint resnet56.th cifar100=other.safetensors
  profilesearch pool --arch resnet56 --data cifar100 --start resnet56.th --epochs 15 --lr 0.1
  profilesearch pool --arch resnet20 --data cifar100 --list

files:
  pools/ARCH/DATA-seedN.safetensors"""

    epochs: int | None = field(
        default=None,
        metadata=option("of training (default: 40, and 30 on digits)", "N", ranges.whole(1, unit="epoch")),
    )
    lr: float | None = field(
        default=None,
        metadata=option("peak learning rate (default: 0.2, and 0.05 on digits)", "RATE", ranges.real(0, 1000, "least")),
    )
    start: Path | None = field(
        default=None,
        metadata=option("weights of another task to start from; the classifier starts anew", "FILE"),
    )
    list: bool = field(default=False, metadata=option("list what is there, train nothing"))

    def validate(self) -> None:
        """Finds mistakes in the words, and places that are missing or cannot be written.

        Raises:
            UsageError: There is one.
        """
        super().validate()
        if self.list:
            return
        if self.start is not None and not self._perhaps_trained:
            regular_file(entry_of(self.start)[0], "checkpoint")
        check_writable(self.pool_dir)

    @property
    def _perhaps_trained(self) -> bool:
        """Whether there is a file for each member, as far as that can be said before any data set is read."""
        folder = self.pool_dir / folder_name(self.arch)
        names = [f"{escape(Path(parts_of(each)[0]).resolve().name)}[-@]" for each in self.data] or [""]
        files = (folder.glob(f"{name}*seed{seed}.safetensors") for name in names for seed in self.seeds)
        return all(map(any, files))

    @property
    def recipe(self) -> dict[str, Any]:
        """What of the training is not as it is by default."""
        given = {"epochs": self.epochs, "lr": self.lr}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Reporting(Settings):
    """What `report` is told."""

    verb = "report"
    description = """\
Write what runs have found into one HTML page that opens from disk, without a network.

It shows profiles as bars over the network, the curves of searches, accuracy against cost with 95 % intervals,
before / after tables, and the sections of a study with its rank correlations."""
    epilog = """\
examples:
  profilesearch report runs/resnet56/macs0.5-cifar10-ppo300-seed0
  profilesearch report runs/resnet56/* applied profiles/resnet56/*.json -o report.html
  profilesearch report docs/results/resnet20 -o study.html

files:
  report.html   self-contained: pictures inside, nothing fetched"""

    runs: tuple[Path, ...] = field(
        metadata=option("folders that train, compare, apply or study wrote; profiles", "RUN", flags=())
    )
    output: Path = field(default=Path("report.html"), metadata=option("the page", "FILE", flags=("-o", "--output")))

    def validate(self) -> None:
        """Finds out whether the page can be written.

        Raises:
            UsageError: It cannot.
        """
        super().validate()
        if self.output.is_dir():
            raise UsageError(f"{self.output} is a folder; name the page in it, such as {self.output / 'report.html'}")
        check_writable(self.output.parent)
