"""What `train` and `compare` are told."""

from dataclasses import dataclass, field
from pathlib import Path

from agents.registry import LEARNING, OWN, check_told, searcher_names
from agents.storage_files import check_storage
from profilesearch.asked import given_profile
from profilesearch.cli import ranges
from profilesearch.cli.given import check_given
from profilesearch.cli.hyperparameters import PPO
from profilesearch.cli.options import STORE, Searching
from profilesearch.cli.settings import option
from profilesearch.errors import UsageError, choose
from profilesearch.networks.names import POLICY, check_rival
from profilesearch.research.calling import setting_name
from profilesearch.system.files import check_writable, regular_file
from profilesearch.system.naming import check_name, safe_name

_COMPARISON = "comparison"


@dataclass(frozen=True, kw_only=True)
class Training(Searching):
    """What `train` is told."""

    verb = "train"
    description = """\
Search a layer-wise channel pruning profile and store it.

The profile says which fraction of its channels every group of layers keeps, so that the whole network
keeps a given part of its cost. It is searched by PPO (or another searcher) over a pool of trained models
of the architecture: a candidate is pruned for real, BatchNorm takes new statistics, and its accuracy on
held-out training images is its score. Test images are never looked at.

Every score goes to a ledger at once. A search that was stopped, even killed, goes on where it was when
the same command is given again."""
    epilog = """\
examples:
  profilesearch train --arch resnet56
  profilesearch train --arch resnet56 --data cifar10 --checkpoint a.th b.safetensors --keep 0.3
  profilesearch train --arch resnet20 --data cifar10 cifar100 --seeds 0 1 2 --evaluations 1000

files:
  profiles/ARCH/NAME.json   the profile, with how it was found
  runs/ARCH/NAME/           profile.png, search.png, history.csv, result.json
  runs/ledger.jsonl         every score ever measured; may be deleted, at the price of measuring again"""

    searcher: str = field(default="ppo", metadata=option(f"one of {', '.join(searcher_names())}", "NAME"))
    ppo: tuple[str, ...] = field(default=(), metadata=PPO)
    start: str | None = field(
        default=None,
        metadata=option(
            "what ppo starts from: `policy`, the stored one for any network, or its FILE (default: from nothing)",
            "NAME",
        ),
    )
    storage: str | None = field(
        default=None,
        metadata=option(
            "of Optuna, for tpe and cmaes: sqlite:///FILE, a database's URL, or a journal's FILE; the same command on "
            "any number of machines then shares one search",
            "URL",
        ),
    )
    tensorboard: Path | None = field(
        default=None, metadata=option("write curves there while it runs (an extra)", "DIR")
    )
    store: Path = field(default=Path("profiles"), metadata=STORE)
    name: str | None = field(
        default=None, metadata=option("of the stored profile (default: from budget, data and searcher)", "NAME")
    )

    def profile_name(self, data: list[str]) -> str:
        """Returns what the profile is stored as: the name that was given, or one of budget, data, searcher and seed."""
        told = f"{self.searcher}{'-from-policy' if self.start else ''}{self.evaluations}-seed{self.seed}"
        return self.name or safe_name(f"{setting_name(self, data)}-{told}")

    def validate(self) -> None:
        """Finds mistakes in the words alone.

        Raises:
            UsageError: A name is unknown, the searcher has no use for what it is told, or a place cannot be written.
        """
        super().validate()
        choose("searcher", self.searcher, searcher_names())
        check_rival(self.searcher, self.budget)
        if self.name is not None:
            check_name(self.name)
        if self.searcher in OWN:
            check_told(self.searcher, self.ppo or None, self.start, self.storage)
        if self.start not in (None, POLICY):
            regular_file(str(self.start), "policy")
        if self.storage is not None:
            check_storage(self.storage)
        for folder in filter(None, (self.store, self.tensorboard)):
            check_writable(folder)


@dataclass(frozen=True, kw_only=True)
class Comparing(Searching):
    """What `compare` is told."""

    verb = "compare"
    description = """\
Compare searchers at equal cost and equal evaluations, on models that the search did not see.

Every searcher gets the same pool, budget and number of evaluations, and has its best profiles scored again
on other images. The winners are then scored, without fine-tuning, on all test images of the target models.
The table also has the unpruned model, the profiles that need no search (uniform, widest, and taper, whose
slope the pool chooses) and the median of random profiles, each with its parameters.

Searches are shared with `train` through the ledger: what was scored once is not scored again."""
    epilog = """\
examples:
  profilesearch compare --arch resnet56
  profilesearch compare --arch resnet56 --data cifar10 --checkpoint a.th b.safetensors --target c.safetensors
  profilesearch compare --arch resnet20 --searchers ppo random tpe cmaes --evaluations 1000 --repeats 3
  profilesearch compare --arch resnet56 --profile profiles/resnet56/mine.json --searchers random

files:
  runs/ARCH/compare-SETTINGS/   curves.png, result.json"""

    target: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "models that the search does not see, as for --checkpoint (default: one more trained member)",
            "FILE",
            group=_COMPARISON,
        ),
    )
    searchers: tuple[str, ...] = field(
        default=("ppo", "random", "exhaustive", "tpe", "cmaes", "sensitivity"),
        metadata=option(f"any of {', '.join(searcher_names())}", "NAME", group=_COMPARISON),
    )
    ppo: tuple[str, ...] = field(default=(), metadata=PPO | {"group": _COMPARISON})
    profile: tuple[Path, ...] = field(
        default=(),
        metadata=option("stored ones to include: files, or as `list` names them", "FILE", group=_COMPARISON),
    )
    repeats: int = field(
        default=1,
        metadata=option(
            "searches of each, from --seed upwards; one where the seed has no influence, as with exhaustive",
            "N",
            ranges.whole(1, 10**6),
            group=_COMPARISON,
        ),
    )
    random_sample: int = field(
        default=20, metadata=option("random profiles behind the median", "N", ranges.whole(1, 10**6), group=_COMPARISON)
    )

    def validate(self) -> None:
        """Finds mistakes in the words alone.

        Raises:
            UsageError: A name is unknown, or something is told to nobody.
        """
        super().validate()
        for given in self.target:
            check_given(given, self.arch, self.image_size)
        for name in self.searchers:
            choose("searcher", name, searcher_names())
        if self.ppo and set(self.searchers) <= OWN.keys() - {*LEARNING}:
            raise UsageError(f"--ppo is for {' and '.join(LEARNING)}, neither of which is among --searchers")
        for path in self.profile:
            given_profile(path, Path("profiles"))
        if self.checkpoint and not self.target:
            raise UsageError("name models that the search does not see with --target FILE")
