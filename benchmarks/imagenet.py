"""Do profiles serve a network that learned ImageNet, wherever they were found?

Cuts a network with its published ImageNet weights by each profile, refits it in closed form on a few images, and writes
a row: MACs, parameters, latency, 1,000-way accuracy on labelled images that nothing learned from, agreement
with the unpruned network on images of other classes, whose labels are not looked at. With --epochs, once more after a
distillation from the unpruned network, without labels. Rows that are there already are not measured again.

    python benchmarks/imagenet.py --calibration DIR --test DIR --unseen DIR --keep 0.7 0.5 --profile uniform widest \
        taper random:5 found.json --out rows.csv

A folder has one subfolder a class, named as ImageNet names it (n01440764); in no two may be the same image.
"""

import argparse
import copy
import csv
from contextlib import nullcontext
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from envs.policy import Policy
from profilesearch.deciding import Decision, Measures
from profilesearch.errors import UsageError
from profilesearch.looking import looked_at
from profilesearch.measure.intervals import accuracy_interval
from profilesearch.measure.speed import BATCHES, measure_speed
from profilesearch.networks.architectures import published_framing
from profilesearch.networks.checkpoints import load_network
from profilesearch.networks.criteria import MOST_SEEN, Batch, rank_channels
from profilesearch.networks.mapping import carry
from profilesearch.networks.names import AUTO, CRITERIA, REFITS
from profilesearch.networks.plan import Plan
from profilesearch.networks.published import published_weights
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget, Profile
from profilesearch.pruning import prune_ordered
from profilesearch.refitting import refit_weights
from profilesearch.system.allocator import keep_freed_memory
from profilesearch.tasks.contents import Contents
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.decoding import Framing
from profilesearch.tasks.files import FileImages, for_network, shuffled
from profilesearch.tasks.listing import ClassFolder, list_classes
from profilesearch.tasks.predicting import predictions
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.training import train

_CLASSES = 1000
_MEAN_STD = (0.5, 0.5, 0.5)
_KEY = ("network", "scope", "profile", "keep", "criterion", "refit", "epochs", "size")
_COLUMNS = (*_KEY, "macs", "params", "batch1", "batch64", "accuracy", "low", "high", "agreement", "from", "to")


def main() -> None:
    """Measures the rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--arch", default="timm:tf_efficientnet_lite0", help="profiles of its relatives are mapped to it"
    )
    parser.add_argument("--calibration", type=Path, required=True, help="500 of these refit the weights")
    parser.add_argument("--learn", type=Path, nargs="*", default=[], help="distilled on, beside those")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--unseen", type=Path, required=True)
    parser.add_argument("--profile", nargs="+", required=True, help="rivals, sensitivity, blend, random:N, files")
    parser.add_argument("--keep", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--scope", default="block", choices=("block", "all"), help="all: residual streams too")
    parser.add_argument("--refit", nargs="+", default=[AUTO], choices=REFITS[:-1])
    parser.add_argument("--criterion", nargs="+", default=["reconstruction"], choices=CRITERIA)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    keep_freed_memory()

    profiles = [each for given in options.profile for each in _names(given)]
    labels = [_label(each) for each in profiles]
    if len(set(labels)) < len(labels):
        parser.error("two of --profile have one name in the table; rename a file")
    _check_apart([options.calibration, *options.learn, options.test, options.unseen])
    bench = _Bench(options)
    bench.measure("unpruned", 1.0, ("none", "none"), 0, bench.full, [1.0, 1.0])
    for keep in options.keep:
        space = bench.plan.space(Budget("macs", keep), options.scope)
        for name in profiles:
            for how in product(options.criterion, options.refit):
                bench.cut(name, space, how)


class _Bench:
    """The network, its images, and the rows.

    Args:
        options: Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._shape = (3, options.image_size, options.image_size)
        self.full = load_network(options.arch, published_weights(options.arch, "IMAGENET1K_V1")).to(options.device)
        self.plan = Plan(options.arch, copy.deepcopy(self.full).cpu(), self._shape)
        self._calibration, self._learn, self._test, self._unseen = (
            _data(folders, options.image_size, options.arch)
            for folders in (
                [options.calibration], [options.calibration, *options.learn], [options.test], [options.unseen],
            )
        )  # fmt: skip
        self._agreed = predictions(self.full, self._unseen, self._unseen.train)
        self._table = _Table(options.out)
        self._orders: dict[str, dict[str, Tensor]] = {}

    def cut(self, name: str, space: ProfileSpace, how: tuple[str, str]) -> None:
        """Measures a profile, refitted and, where that is asked for, distilled."""
        keep, epochs, label = space.budget.keep, self._options.epochs, _label(name)
        if all(self._table.has(*self._key(label, keep, how, each)) for each in {0, epochs}):
            return
        order = self._order(how[0], space)
        looked = looked_at(self.plan, lambda _: order, self._seen, how[1], lambda _: nullcontext(), print)
        profile = _profile(self.plan, space, name, looked)
        pruned = prune_ordered(self.plan, profile, order)
        cost = [float(pruned.cost.relative(pruned.widths, metric)) for metric in ("macs", "params")]
        pruned.network.to(self._options.device)
        refit_weights(pruned, self.full, self._calibration, self._calibration.train, how[1])
        self.measure(label, keep, how, 0, pruned.network, cost)
        if epochs:
            recipe = Recipe(epochs, lr=self._options.lr, batch=64, weight_decay=1e-5, distill=1.0, temperature=2.0,
                            shift=self._options.image_size // 8)  # fmt: skip
            train(pruned.network, self._learn, self._learn.train, recipe, self.full, progress=_progress)
            self.measure(label, keep, how, epochs, pruned.network, cost)

    def _order(self, criterion: str, space: ProfileSpace) -> dict[str, Tensor]:
        if criterion not in self._orders:
            self._orders[criterion] = rank_channels(self.plan.network, space.table, criterion, 0, self._seen())
        return self._orders[criterion]

    def _seen(self) -> Batch:
        some = self._calibration.train[:MOST_SEEN]
        return self._calibration.normalize(some.pixels, 3), some.labels

    def measure(
        self, name: str, keep: float, how: tuple[str, str], epochs: int, network: nn.Module, cost: list[float]
    ) -> None:
        """Writes a row, unless it is there."""
        key = self._key(name, keep, how, epochs)
        if self._table.has(*key):
            return
        speed, whole = measure_speed([network, self.full], self._shape)
        row = [*key, *(f"{each:.4f}" for each in cost)]
        row += [f"{speed.part(whole, batch)[0]:.3f}" for batch in BATCHES]
        row += _right(network, self._test, self._test.train.labels) + _right(network, self._unseen, self._agreed)
        self._table.add(dict(zip(_COLUMNS, row, strict=True)))

    def _key(self, name: str, keep: float, how: tuple[str, str], epochs: int) -> tuple[str, ...]:
        options = self._options
        return (options.arch, options.scope, name, str(keep), *how, str(epochs), str(options.image_size))


def _progress(done: int, of: int, note: str) -> None:
    if done % 20 == 0:
        print(f"  {done} of {of}, {note}", flush=True)


def _data(folders: list[Path], size: int, architecture: str) -> DataSet:
    """Returns all images of some folders as a network takes them, with the labels of ImageNet's 1,000 classes.

    Raises:
        UsageError: A class folder is none of ImageNet's, so that no label of theirs is known.
    """
    found = [list_classes(folder) for folder in folders]
    classes = tuple(sorted({name for each in found for name in each.classes}))
    samples = [(path, classes.index(each.classes[label])) for each in found for path, label in each.samples]
    source = ClassFolder(folders[0], classes, tuple(samples), "")
    labels, framing = torch.tensor([label for _, label in samples]), Framing(*published_framing(architecture) or ())
    images = FileImages(source, labels, shuffled(len(samples)), size, framing=framing)
    none = images[torch.zeros(0, dtype=torch.int64)]
    name = "+".join(folder.name for folder in folders)
    data = DataSet(name, images, none, len(classes), _MEAN_STD, _MEAN_STD, flips=True, classes=classes)
    data = for_network(data, _CLASSES)
    if data.num_classes != _CLASSES:
        raise UsageError(f"{name} has class folders that ImageNet has not; name them as it does, such as n01440764")
    return data


def _check_apart(folders: list[Path]) -> None:
    """Refuses folders that have an image in common.

    Raises:
        UsageError: Two have one.
    """
    first: dict[str, Path] = {}
    for folder in folders:
        files = [path for path, _ in list_classes(folder).samples]
        for file, digest in zip(files, Contents(files).digests(range(len(files))), strict=True):
            other = first.setdefault(digest, folder)
            if other != folder:
                raise UsageError(f"{file} is an image of {other} too; take it out of one of them")


def _names(given: str) -> list[str]:
    rival, _, count = given.partition(":")
    return [f"{rival}:{seed}" for seed in range(int(count))] if count.isdigit() else [given]


def _label(name: str) -> str:
    return Path(name).stem if name.endswith((".json", ".safetensors")) else name


def _profile(plan: Plan, space: ProfileSpace, name: str, measures: Measures) -> Profile:
    """Returns a profile at a budget; one from a file is for another resolution or a relative, and so is projected."""
    if name.endswith(".safetensors"):
        return Policy.load(Path(name)).profile(space)
    if name.endswith(".json"):
        given = Profile.load(Path(name))
        given = given if given.architecture == plan.architecture else carry(given, plan)
        widths = space.project(space.table.ratios(given)[None])[0]
    else:
        rival, _, seed = name.partition(":")
        return Decision(rival, "").profile(space, int(seed or 0), measures)
    return space.profile(widths, {})


def _right(network: nn.Module, data: DataSet, wanted: Tensor) -> list[str]:
    part = float((predictions(network, data, data.train) == wanted).float().mean())
    return [f"{each:.4f}" for each in (part, *accuracy_interval(part, len(wanted)))]


class _Table:
    """Rows on disk, each known by its first cells."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = list(csv.DictReader(path.open())) if path.exists() else []
        self._known = {tuple(row[name] for name in _KEY) for row in rows}

    def has(self, *key: str) -> bool:
        return key in self._known

    def add(self, row: dict[str, str]) -> None:
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        print("  ".join(row.values()), flush=True)


if __name__ == "__main__":
    main()
