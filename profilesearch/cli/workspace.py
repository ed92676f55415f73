"""From options to a problem: data sets found, pools assembled or trained, budgets checked before any work."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import numpy as np

from profilesearch.cli.console import DATA_VARIABLE, Output
from profilesearch.cli.given import file_given, trained_here
from profilesearch.cli.options import OnModels, Pooled, Searching
from profilesearch.errors import UsageError, choose
from profilesearch.measure.multiples import best_multiple, multiple_times
from profilesearch.networks.architectures import build, check_architecture, stem_channels
from profilesearch.networks.checkpoints import load_matched
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.latency import LatencyModel, device_name, latency_error
from profilesearch.networks.names import AUTO, entry_of
from profilesearch.networks.plan import Plan
from profilesearch.networks.published import published_names, published_weights
from profilesearch.networks.rivals import rivals_of, taper
from profilesearch.networks.space import ProfileSpace
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import Budget, Scope
from profilesearch.scoring.engines import Engine
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.names import Measure, Statistics
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.catalogue import check_data, taken, with_size
from profilesearch.tasks.data import DataSet, is_present
from profilesearch.tasks.files import FileImages, for_network
from profilesearch.tasks.hardware import open_device
from profilesearch.tasks.pools import Member, example_shape, foreign_member, pool_path, train_member, trained_member
from profilesearch.tasks.sources import open_for

_PRICED = 5
"""Random profiles on which priced latency is held against the clock."""


class Workspace:
    """Data sets and models that a command works with.

    Args:
        settings: Of the command.
        output: Where to talk to.

    Attributes:
        data_dir: Folder of the data sets; `data` where none is named and there is one.
        names: The data sets to use, as they were asked for.
        loaded: Data sets by both names, theirs and the one that they were asked for by.
        asked: What was asked for, by the data set's own name.

    Raises:
        UsageError: The architecture or a data set is unknown.
    """

    def __init__(self, settings: OnModels, output: Output) -> None:
        self._sources = settings.sources
        check_architecture(self._sources.arch)
        self._output = output
        self.data_dir = self._sources.data_dir
        if self.data_dir is None and (self._sources.download or Path("data").is_dir()):
            self.data_dir = Path("data")
        self.names = [with_size(name, self._sources.image_size) for name in self._data_names(settings)]
        self.loaded: dict[str, DataSet] = {}
        self.asked: dict[str, str] = {}
        self._labelled: dict[str, tuple[Path, int]] = {}
        self._noted = {""}

    def _data_names(self, settings: OnModels) -> list[str]:
        """Returns the data sets to use, and says so when it falls back to the embedded one."""
        if self._sources.data:
            return [check_data(name) for name in self._sources.data]
        if is_present("cifar10", self.data_dir):
            return ["cifar10"]
        folder = self.data_dir or Path("data")
        command = f"python -m profilesearch.{settings.verb} --arch {shlex.quote(settings.arch)}"
        command += f" {settings.data_option} cifar10"
        rest = settings.words(vars(settings), without=("arch", "data", "upstream", "data_dir", "download"))
        self._output.say(
            f"CIFAR-10 is not in {folder}; going on with scikit-learn's digits. To use CIFAR-10, fetched or yours:\n"
            f"  {command} --data-dir {shlex.quote(str(folder))} --download{rest}\n"
            f"  {DATA_VARIABLE}=DIR {command}{rest}"
        )
        return ["digits"]

    def data(self, name: str) -> DataSet:
        """Loads a data set once."""
        if name not in self.loaded:
            sources = self._sources
            text = with_size(name, sources.image_size)
            with self._output.progress(f"reading {text}"):
                data = open_for(sources.arch, text, self.data_dir, sources.download, sources.mean, sources.std)
            for line in filter(None, (taken(text, self.data_dir), *data.remarks)):
                self._output.say(line)
            known = self.loaded.get(data.name)
            if known is not None and known.identity != data.identity:  # another folder of the same name
                data = data.told_apart()
            self.loaded[name] = self.loaded[data.name] = data
            self.asked[data.name] = text
        return self.loaded[name]

    def foreign(self, checkpoints: Sequence[str]) -> list[Member]:
        """Makes pool members of checkpoints.

        Args:
            checkpoints: FILE or DATA=FILE, where FILE may be the name of torchvision's published weights; or DATA:SEED
                for one that is trained here.
        """
        members: dict[int, Member] = {}
        to_train = {}  # after all files are read, since one may be wrong
        for place, entry in enumerate(checkpoints):
            own = trained_here(entry)
            if own:
                to_train[place] = own
                continue
            name, file = file_given(entry)
            data, path = self.data(name or self.names[0]), self._file_of(file)
            matched = load_matched(self._sources.arch, path)
            if matched.note not in self._noted:  # a file is read again after the budget's check
                self._noted.add(matched.note)
                self._output.say(matched.note)
            if isinstance(data.train, FileImages):  # of ImageNet's folders, the network decides what they are called
                data = self._labelled_for(data, path, matched.classes)
            members[place] = foreign_member(self._sources.arch, path, data)
        members |= {place: self.trained(*which) for place, which in to_train.items()}
        return [members[place] for place in range(len(checkpoints))]

    def _labelled_for(self, data: DataSet, path: Path, classes: int) -> DataSet:
        """Returns a folder's images as a network calls them, for all that comes.

        Raises:
            UsageError: Another network calls them otherwise.
        """
        fitting = for_network(data, classes)
        other, known = self._labelled.setdefault(data.name, (path, classes))
        if known != classes and (fitting is not data or classes == len(data.classes)):
            raise UsageError(f"{other} tells {known:,} classes apart, {path} {classes:,}; give them in two commands")
        self.loaded |= {each: fitting for each, there in self.loaded.items() if there is data}
        return fitting

    def _file_of(self, where: str) -> Path:
        """Returns a checkpoint's file; published weights go by name."""
        arch, path = self._sources.arch, Path(where)
        if entry_of(path)[0].exists():
            return path
        names = published_names(arch)
        published = where.rpartition("Weights.")[2]  # ResNet18_Weights.IMAGENET1K_V1, as torchvision writes it
        if published in names:
            return published_weights(arch, published)
        if get_close_matches(published.upper(), names, 1):
            choose("file or published weights", where, names)
        return path

    def present(self, data: str, seed: int) -> Member | None:
        """Returns a member that we have trained already, or None."""
        return trained_member(self._sources.arch, self.data(data), seed, self._sources.pool_dir)

    def trained(self, data: str, seed: int, **how: Any) -> Member:
        """Returns a member that we train ourselves, training it if it is missing; `how` is for `train_member`."""
        arch, folder = self._sources.arch, self._sources.pool_dir
        path = pool_path(folder, arch, self.data(data).own_name, seed)
        self._labelled.setdefault(self.data(data).name, (path, self.data(data).num_classes))
        there = self.present(data, seed)
        if there is not None:
            return there
        self._output.say(
            f"there is no {path} yet; training it once (if interrupted, it goes on where it was); --checkpoint FILE "
            "uses a trained model instead"
        )
        with self._output.progress(f"training on {data}, seed {seed}", 1) as move:
            how |= {"progress": move, "say": self._output.say, "device": open_device(self._sources.device)}
            return train_member(arch, self.data(data), seed, folder, **how)

    def pool(self, settings: Pooled) -> list[Member]:
        """Returns the pool: the given checkpoints, or trained members of all data sets and seeds."""
        if settings.checkpoint:
            members = self.foreign(settings.checkpoint)
            seen = [member.name for member in members if member.trained_on == "all"]
            if seen:
                self._output.say(
                    f"{', '.join(seen)}: may have been trained on every training image, so searches score these on "
                    "images that they learned from"
                )
            return members
        return [self.trained(name, seed) for name in self.names for seed in settings.seeds]

    def problem(self, members: Sequence[Member], engine: Engine, settings: Searching) -> Problem:
        """Returns the problem that the settings describe, scored by `engine`."""
        ledger = Ledger(settings.runs / "ledger.jsonl")
        if ledger.damaged:
            self._output.say(
                f"{ledger.damaged} damaged lines of the ledger are skipped; those scores are measured again"
            )
        device = open_device(settings.device)
        score = default_settings(settings.images, settings.criterion, settings.seed, device)
        if settings.statistics:
            score = replace(score, statistics=cast(Statistics, settings.statistics))
        score = replace(score, measure=cast(Measure, settings.score), refit=settings.refit_scores)
        data = {name: self.data(name) for name in {member.data for member in members}}
        multiple = int(settings.multiple_of)
        return Problem(members, data, settings.budget, score, ledger, settings.groups, multiple, engine, device)

    def check_budget(self, settings: Searching) -> ProfileSpace:
        """Checks the budget on an untrained network, before any training or scoring, and prints what it means.

        Returns:
            The profiles under it; with `multiple_of` auto, their widths are of the multiple that is fastest.

        Raises:
            UsageError: The budget is out of reach, or something else makes no sense.
        """
        _check_search(settings)
        data = self.data(self.names[0])
        files = self.foreign([entry for entry in settings.checkpoint if not trained_here(entry)])
        if files:
            network, data = files[0].load(), self.data(files[0].data)
        else:
            channels = stem_channels(settings.arch, data.image_shape[0])
            network = build(settings.arch, data.num_classes, channels)
        plan = Plan(settings.arch, network, example_shape(network, data))
        budget, scope = settings.budget, settings.groups
        auto = settings.multiple_of == AUTO
        multiple = self.fastest_multiple(plan, budget, scope) if auto else int(settings.multiple_of)
        space = plan.space(budget, scope, multiple)
        feasibility(space, self._output)
        if isinstance(space.cost, LatencyModel):
            self._check_prices(plan, space, space.cost)
        return space

    def _check_prices(self, plan: Plan, space: ProfileSpace, cost: LatencyModel) -> None:
        """Holds priced latency against the clock, and says how far it is off."""
        widths = space.sample(_PRICED, np.random.default_rng(0))
        order = rank_channels(plan.network, space.table, "random")
        pruner = Pruner(plan.network, space.table)
        networks = [pruner.prune(keep_channels(order, space.table, row)) for row in widths]
        error = latency_error(widths, cost, networks, plan.example)
        self._output.say(
            f"latency is that of one image on {device_name()}, priced from a table of measured layers; {_PRICED} "
            f"random profiles, really pruned, are {error:.0%} off it on average"
        )

    def fastest_multiple(self, plan: Plan, budget: Budget, scope: Scope) -> int:
        """Returns the multiple of channels whose networks are fastest on the device, and shows how long each takes."""
        device = open_device(self._sources.device)
        times = multiple_times(plan, budget, scope, device=device)
        chosen = best_multiple(times)
        rows = [[f"{multiple}", f"{one:.2f}", f"{many:.1f}"] for multiple, (one, many) in times.items()]
        head = ["multiple of", "ms for 1 image", "ms for 64"]
        self._output.table(f"networks of equal cost on {device_name(device)}; taking multiples of {chosen}", head, rows)
        return chosen


def _check_search(settings: Searching) -> None:
    """Finds mistakes in what a search is told, before any work."""
    default_settings(settings.images, settings.criterion, settings.seed)
    Ledger(settings.runs / "ledger.jsonl")
    open_device(settings.device)


def feasibility(space: ProfileSpace, output: Output) -> None:
    """Prints what the smallest, the full and those profiles cost that need no search."""
    low, high = space.reach()
    title = (
        f"{space.architecture}: {space.size} channel groups in scope '{space.scope}'; "
        f"budget {space.budget.keep:.1%} of the {space.budget.metric}, reachable {low:.1%} to {high:.1%}"
    )
    if space.budget.keep_params is not None:
        least, most = space.reach_params()
        title += f", and {space.budget.keep_params:.1%} of the params, reachable there {least:.1%} to {most:.1%}"
    rivals = {**rivals_of(space), "taper": taper(space)}
    rows = []
    for name, widths in {"smallest": space.ends[0], **rivals, "full": space.ends[1]}.items():
        rows.append([
            name,
            f"{(widths / space.table.channels).mean():.3f}",
            f"{space.cost.macs(widths) / 1e6:.2f} M",
            space.params_text(widths),
            f"{space.relative(widths):.2%}",
        ])  # fmt: skip
    output.table(title, ["profile", "mean keep ratio", "MACs", "parameters", f"of the {space.budget.metric}"], rows)
