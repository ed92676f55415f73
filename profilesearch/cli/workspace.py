"""From options to a problem: data sets found, pools assembled or trained, budgets checked before any work."""

import argparse
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from profilesearch.cli.console import DATA_VARIABLE, Output, given_options
from profilesearch.errors import UsageError, choose
from profilesearch.measure.multiples import AUTO, best_multiple, multiple_times
from profilesearch.networks.architectures import build, check_architecture, stem_channels
from profilesearch.networks.checkpoints import entry_of, load_matched
from profilesearch.networks.criteria import CRITERIA, keep_channels, rank_channels
from profilesearch.networks.latency import LatencyModel, device_name, latency_error
from profilesearch.networks.plan import Plan
from profilesearch.networks.published import published_names, published_weights
from profilesearch.networks.rivals import rivals_of, taper
from profilesearch.networks.space import ProfileSpace
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import METRICS, SCOPES, Budget, Metric, Scope
from profilesearch.scoring.engines import Engine, open_engine
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.measures import MEASURES
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import STATISTICS, default_settings
from profilesearch.system.files import check_writable
from profilesearch.tasks.data import DataSet, is_present
from profilesearch.tasks.files import FileImages, for_network
from profilesearch.tasks.hardware import open_device
from profilesearch.tasks.pools import Member, example_shape, foreign_member, pool_path, train_member, trained_member
from profilesearch.tasks.sources import check_data, is_data, open_for, with_size

_PRICED = 5
"""Random profiles on which priced latency is held against the clock."""


def data_names(options: argparse.Namespace, output: Output) -> list[str]:
    """Returns the data sets to use, and says so when it falls back to the embedded one."""
    if options.data_dir is None and (options.download or Path("data").is_dir()):
        options.data_dir = Path("data")
    if options.data:
        return [check_data(name) for name in options.data]
    if is_present("cifar10", options.data_dir):
        return ["cifar10"]
    folder = options.data_dir or Path("data")
    option = "--upstream" if options.verb == "transfer" else "--data"
    command = f"python -m profilesearch.{options.verb} --arch {shlex.quote(options.arch)} {option} cifar10"
    rest = given_options(options.parser, options, without=("arch", "data", "upstream", "data_dir", "download"))
    output.say(
        f"CIFAR-10 is not in {folder}; going on with scikit-learn's digits. To use CIFAR-10, fetched or yours:\n"
        f"  {command} --data-dir {shlex.quote(str(folder))} --download{rest}\n"
        f"  {DATA_VARIABLE}=DIR {command}{rest}"
    )
    return ["digits"]


class Workspace:
    """Data sets and models that a command works with.

    Args:
        options: With the pool options.
        output: Where to talk to.

    Attributes:
        names: The data sets to use, as they were asked for.
        loaded: Data sets by both names, theirs and the one that they were asked for by.
        asked: What was asked for, by the data set's own name.

    Raises:
        UsageError: The architecture or a data set is unknown.
    """

    def __init__(self, options: argparse.Namespace, output: Output) -> None:
        check_architecture(options.arch)
        self._options = options
        self._output = output
        self._size: int | None = getattr(options, "image_size", None)
        self.names = [with_size(name, self._size) for name in data_names(options, output)]
        self.loaded: dict[str, DataSet] = {}
        self.asked: dict[str, str] = {}

    def data(self, name: str) -> DataSet:
        """Loads a data set once."""
        if name not in self.loaded:
            mean, std = (getattr(self._options, each, None) for each in ("mean", "std"))
            text = with_size(name, self._size)
            with self._output.progress(f"reading {text}"):
                data = open_for(self._options.arch, text, self._options.data_dir, self._options.download, mean, std)
            for line in data.left_out:
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
            own = _trained_here(entry)
            if own:
                to_train[place] = own
                continue
            name, separator, file = entry.partition("=")
            known = bool(separator) and is_data(name)
            data = self.data(name if known else self.names[0])
            where = file if known else entry
            published = where.rpartition("Weights.")[2]  # ResNet18_Weights.IMAGENET1K_V1, as torchvision writes it
            is_name = not entry_of(Path(where))[0].exists() and published in published_names(self._options.arch)
            path = published_weights(self._options.arch, published) if is_name else Path(where)
            matched = load_matched(self._options.arch, path)
            if matched.note:
                self._output.say(matched.note)
            if isinstance(data.train, FileImages):  # of ImageNet's folders, the network decides what they are called
                fitting = for_network(data, matched.classes)
                self.loaded |= {each: fitting for each, there in self.loaded.items() if there is data}
                data = fitting
            members[place] = foreign_member(self._options.arch, path, data)
        members |= {place: self.trained(*which) for place, which in to_train.items()}
        return [members[place] for place in range(len(checkpoints))]

    def trained(self, data: str, seed: int, **how: Any) -> Member:
        """Returns a member that we train ourselves, training it if it is missing; `how` is for `train_member`."""
        arch, folder = self._options.arch, self._options.pool_dir
        there = trained_member(arch, self.data(data), seed, folder)
        if there is not None:
            return there
        path = pool_path(folder, arch, self.data(data).own_name, seed)
        self._output.say(
            f"there is no {path} yet; training it once (if interrupted, it goes on where it was); --checkpoint FILE "
            "uses a trained model instead"
        )
        with self._output.progress(f"training on {data}, seed {seed}", 1) as move:
            how |= {"progress": move, "say": self._output.say, "device": open_device(self._options.device)}
            return train_member(arch, self.data(data), seed, folder, **how)

    def pool(self) -> list[Member]:
        """Returns the pool: the given checkpoints, or trained members of all data sets and seeds."""
        if self._options.checkpoint:
            members = self.foreign(self._options.checkpoint)
            seen = [member.name for member in members if member.trained_on == "all"]
            if seen:
                self._output.say(
                    f"{', '.join(seen)}: may have been trained on every training image, so searches score these on "
                    "images that they learned from"
                )
            return members
        return [self.trained(name, seed) for name in self.names for seed in self._options.seeds]

    def engine(self) -> Engine:
        """Starts the engine that the search options name."""
        options = self._options
        return open_engine(options.engine, options.workers, options.address)

    def problem(self, members: Sequence[Member], engine: Engine) -> Problem:
        """Returns the problem that the search options describe, scored by `engine`."""
        options = self._options
        ledger = Ledger(options.runs / "ledger.jsonl")
        if ledger.damaged:
            self._output.say(
                f"{ledger.damaged} damaged lines of the ledger are skipped; those scores are measured again"
            )
        device = open_device(options.device)
        settings = default_settings(options.images, options.criterion, options.seed, device)
        if options.statistics:
            settings = replace(settings, statistics=options.statistics)
        settings = replace(settings, measure=options.score, refit=options.refit_scores)
        data = {name: self.data(name) for name in {member.data for member in members}}
        budget = budget_of(options)
        return Problem(members, data, budget, settings, ledger, options.scope, options.multiple_of, engine, device)

    def check_budget(self) -> ProfileSpace:
        """Checks the budget on an untrained network, before any training or scoring, and prints what it means.

        Raises:
            UsageError: The budget is out of reach.
        """
        options = self._options
        self._check_search()
        open_device(options.device)
        choose("criterion", options.criterion, CRITERIA)
        choose("statistics", options.statistics or STATISTICS[0], STATISTICS)
        choose("score", options.score, MEASURES)
        data = self.data(self.names[0])
        files = self.foreign([entry for entry in options.checkpoint if not _trained_here(entry)])
        if files:
            network, data = files[0].load(), self.data(files[0].data)
        else:
            channels = stem_channels(options.arch, data.image_shape[0])
            network = build(options.arch, data.num_classes, channels)
        plan = Plan(options.arch, network, example_shape(network, data))
        if options.multiple_of == AUTO:
            options.multiple_of = self.fastest_multiple(plan, budget_of(options), options.scope)
        space = plan.space(budget_of(options), options.scope, options.multiple_of)
        feasibility(space, self._output)
        if isinstance(space.cost, LatencyModel):
            widths = space.sample(_PRICED, np.random.default_rng(0))
            order = rank_channels(network, space.table, "random")
            pruner = Pruner(network, space.table)
            networks = [pruner.prune(keep_channels(order, space.table, row)) for row in widths]
            error = latency_error(widths, space.cost, networks, plan.example)
            self._output.say(
                f"latency is that of one image on {device_name()}, priced from a table of measured layers; {_PRICED} "
                f"random profiles, really pruned, are {error:.0%} off it on average"
            )
        return space

    def _check_search(self) -> None:
        """Finds mistakes in what a search is told, before any work."""
        options = self._options
        if options.evaluations < 1:
            raise UsageError(f"a search needs at least 1 evaluation, got --evaluations {options.evaluations}")
        if options.workers < 0:
            raise UsageError(f"--workers must be at least 0, got {options.workers}")
        default_settings(options.images, options.criterion, options.seed)
        budget_of(options)
        for folder in (options.runs, options.pool_dir):
            check_writable(folder)
        Ledger(options.runs / "ledger.jsonl")

    def fastest_multiple(self, plan: Plan, budget: Budget, scope: Scope) -> int:
        """Returns the multiple of channels whose networks are fastest on the device, and shows how long each takes."""
        device = open_device(self._options.device)
        times = multiple_times(plan, budget, scope, device=device)
        chosen = best_multiple(times)
        rows = [[f"{multiple}", f"{one:.2f}", f"{many:.1f}"] for multiple, (one, many) in times.items()]
        head = ["multiple of", "ms for 1 image", "ms for 64"]
        self._output.table(f"networks of equal cost on {device_name(device)}; taking multiples of {chosen}", head, rows)
        return chosen


def _trained_here(checkpoint: str) -> tuple[str, int] | None:
    """Returns the data set and the seed of what is given as DATA:SEED; nothing for a file."""
    own = re.fullmatch("(.+):([0-9]+)", checkpoint, re.DOTALL)
    return (own[1], int(own[2])) if own and is_data(own[1]) else None


def budget_of(options: argparse.Namespace) -> Budget:
    """Returns the budget of the options.

    Raises:
        UsageError: An unknown metric or scope, a fraction outside (0, 1], or parameters twice.
    """
    choose("scope", options.scope, SCOPES)
    metric: Metric = choose("metric", options.metric, METRICS)  # type: ignore[assignment]
    return Budget(metric, options.keep, options.keep_params)


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
