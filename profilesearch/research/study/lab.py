"""The laboratory: hands measurements to worker processes, keeps every result, never takes one twice."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from profilesearch.cli.console import Output
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import load_matched
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.identity import network_identity
from profilesearch.networks.plan import Plan
from profilesearch.networks.reading import tensor_digest
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget
from profilesearch.research.study import rows
from profilesearch.research.study.cells import Table
from profilesearch.research.study.cutting import data_of
from profilesearch.research.study.identities import check_identities
from profilesearch.research.study.jobs import (
    FamilySearch,
    FineTune,
    Found,
    FoundFamily,
    Job,
    Score,
    Search,
    Sources,
    Tuned,
    Widths,
    identity,
)
from profilesearch.research.study.measuring import run_family, run_scores, run_search
from profilesearch.research.study.records import Records, Row
from profilesearch.research.study.rivals import elastic_of, run_elastic
from profilesearch.research.study.sizes import Sizes
from profilesearch.research.study.tuning import finetuned, unfinished
from profilesearch.research.study.workers import results
from profilesearch.scoring.problem import MOST
from profilesearch.tasks.pools import Member, example_shape
from profilesearch.tasks.splits import split

AnyJob = TypeVar("AnyJob", bound=Job)
CHUNK = 25
"""Scores that one task of a worker measures."""


class NotMeasured(Exception):  # noqa: N818  a state, not a mistake
    """A measurement is asked for that is not on record, while none may be taken."""


@dataclass
class Lab:
    """Takes measurements for experiments.

    Attributes:
        sources: Models and images.
        pool: Names of the members that searches see.
        targets: Names of the members that no search sees; the first is the subject of most fine-tunings.
        folder: Records of the architecture.
        sizes: How much to measure.
        workers: Processes; each has its share of the processor's threads.
        output: Progress.
        store: Folder of profiles, for those worth shipping.
        map_from: Architecture whose stored profiles are mapped onto this one instead of searching; or nothing.
        offline: Measure nothing; what is not on record raises `NotMeasured`.
        taken: How many tasks of measurements were taken, not read from the records.
    """

    sources: Sources
    pool: tuple[str, ...]
    targets: tuple[str, ...]
    folder: Path
    sizes: Sizes
    workers: int
    output: Output
    store: Path
    map_from: str | None = None
    offline: bool = False
    taken: int = 0

    def __post_init__(self) -> None:
        def records(name: str, table: Table) -> Records:
            return Records(self.folder / f"{name}.csv", table)

        self._profiles = records("profiles", rows.PROFILES)
        self._scores = records("scores", rows.SCORES)
        self._tuned = records("finetunes", rows.FINETUNES)
        self._found = records("searches", rows.SEARCHES)
        self._families = records("families", rows.FAMILIES)
        self._curves = records("curves", rows.CURVES)
        self._spaces: dict[Budget, ProfileSpace] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._check_models(records("models", rows.MODELS))
        groups = len(self._plan.table.within("block").channels)
        rows.check_profiles(self._profiles, groups, self._tuned, self._found, self._families)
        rows.check_curves(self._found, self._curves)

    @cached_property
    def _plan(self) -> Plan:
        member = self.sources.members[0]
        network = member.load()
        return Plan(member.architecture, network, example_shape(network, data_of(self.sources, member)))

    def space(self, keep: float) -> ProfileSpace:
        """Returns the profiles of the architecture under a budget of MACs."""
        budget = Budget("macs", keep)
        if budget not in self._spaces:
            self._spaces[budget] = self._plan.space(budget)
        return self._spaces[budget]

    def _check_models(self, known: Records) -> None:
        """Records go by names of models and data sets; what is behind a name must stay the same.

        Raises:
            UsageError: They changed.
        """
        for member in self.sources.members:
            digest = tensor_digest(load_matched(member.architecture, member.path).tensors)
            row = known.get(member.name)
            if row is not None and row["weights"] != digest:
                raise UsageError(
                    f"{member.path} has other weights than the {member.name} of the records in {self.folder}; give "
                    "another --results folder, or the old weights"
                )
            known.put({"model": member.name, "data": member.data, "weights": digest})
        found = {}
        for member in self.sources.members:
            data, network = data_of(self.sources, member), member.load()
            found[f"data set {member.data}"] = data.identity
            found[f"network {member.name}"] = network_identity(network, example_shape(network, data))
        check_identities(self.folder, found, "give another --results folder")

    @property
    def subject(self) -> str:
        """The target that most fine-tunings are about."""
        return self.targets[0]

    def member(self, name: str) -> Member:
        """Returns a member by name."""
        return self.sources.member(name)

    def table_of(self, architecture: str) -> GroupTable:
        """Returns the channel groups of a relative in scope `block`."""
        return Plan(architecture, build(architecture, 10), (3, 32, 32)).table.within("block")

    def test_images(self, name: str) -> int:
        """Returns the number of test images of a member's data set."""
        return self._there(name, "test")

    def used(self, job: AnyJob) -> AnyJob:
        """Returns a measurement with the number of images that it uses, where fewer are there than it asks for."""
        if isinstance(job, FineTune):
            return job
        if isinstance(job, Score):
            there = self._there(job.model, job.part)
            images = min(there, {"search": job.images, "test": there}.get(job.part, MOST))
        else:
            images = min(job.images, max(self._there(name, "search") for name in job.pool))
        return replace(job, images=images)

    def identity(self, job: AnyJob) -> str:
        """Names a measurement as the records do."""
        return identity(self.used(job), self.sources.precision)

    def _there(self, name: str, part: str) -> int:
        """Returns how many images of a part a member's data set has."""
        if (name, part) not in self._counts:
            member = self.member(name)
            data = data_of(self.sources, member)
            parts = split(data, member.split_seed)
            counts = {each: len(getattr(parts, each)) for each in ("search", "choose", "fresh")}
            self._counts |= {(name, each): count for each, count in {**counts, "test": len(data.test)}.items()}
        return self._counts[name, part]

    def figure(self, name: str, draw: Callable[[Path], None]) -> str:
        """Draws a figure beside the records; returns its path relative to the page."""
        path = self.folder / f"{name}.png"
        draw(path)
        return f"{self.folder.parent.name}/{self.folder.name}/{path.name}"

    def scores(self, jobs: Sequence[Score]) -> list[float]:
        """Measures scores; those on record are not taken again."""
        jobs = [self.used(job) for job in jobs]
        missing = self._missing(jobs, self._scores)
        elastic = {elastic_of(job) for job in missing if job.elastic}  # before two workers train the same
        self._work("elastic training", run_elastic, sorted(elastic, key=lambda job: job.elastic), lambda *_: None)
        tasks = []
        kind = lambda job: str(replace(job, widths=()))  # noqa: E731
        for _, group in groupby(sorted(missing, key=kind), kind):
            alike = list(group)
            most = 1 if alike[0].steps else CHUNK
            tasks += [alike[start : start + most] for start in range(0, len(alike), most)]

        def record(task: Sequence[Score], values: Sequence[float]) -> None:
            for job, value in zip(task, values, strict=True):
                self._scores.put(rows.of_score(job, value, self._name, self.sources.precision))

        self._work("scoring", run_scores, tasks, record)
        return [float(self._row(self._scores, job)["score"]) for job in jobs]

    def finetunes(self, jobs: Sequence[FineTune]) -> list[Tuned]:
        """Measures fine-tunings; those on record are not taken again."""

        def record(job: FineTune, tuned: Tuned) -> None:
            self._tuned.put(rows.of_finetune(job, tuned, self._name, self.sources.precision))
            unfinished(self.sources, job).remove_all()

        missing = self._missing(jobs, self._tuned)
        self._take("fine-tuning", finetuned(self.sources, missing, self.workers, self.output.say), len(missing), record)
        return [rows.as_tuned(job, self._row(self._tuned, job), self._widths) for job in jobs]

    def searches(self, jobs: Sequence[Search]) -> list[Found]:
        """Runs searches; those on record are not run again."""
        jobs = [self.used(job) for job in jobs]

        def record(job: Search, found: Found) -> None:
            for row in rows.of_curve(job, found, self.sources.precision):
                self._curves.put(row)
            self._found.put(rows.of_search(job, found, self.pool, self._name, self.sources.precision))

        self._work("searching", run_search, self._missing(jobs, self._found), record)
        curves = rows.as_curves(self._curves.rows())
        found = [(self._row(self._found, job), curves[self.identity(job)].values()) for job in jobs]
        return [rows.as_found(row, curve, self._widths) for row, curve in found]

    def families(self, jobs: Sequence[FamilySearch]) -> list[FoundFamily]:
        """Trains policies for a range of budgets; those on record are not trained again."""
        jobs = [self.used(job) for job in jobs]

        def record(job: FamilySearch, found: FoundFamily) -> None:
            self._families.put(rows.of_family(job, found, self._name, self.sources.precision))

        self._work("training families", run_family, self._missing(jobs, self._families), record)
        return [rows.as_family(self._row(self._families, job), self._widths) for job in jobs]

    def may(self, jobs: Sequence[Job]) -> bool:
        """Whether measurements that a page can do without may be asked for: all are on record, or may be taken."""
        return not self.offline or all(self.recorded(job) for job in jobs)

    def recorded(self, job: Job) -> Row | None:
        """Returns the recorded row of a measurement, or None."""
        name = self.identity(job)
        tables = (self._scores, self._tuned, self._found, self._families)
        return next((row for row in (table.get(name) for table in tables) if row), None)

    def _missing(self, jobs: Sequence[AnyJob], records: Records) -> list[AnyJob]:
        unique = {self.identity(job): job for job in jobs}
        missing = [job for name, job in unique.items() if records.get(name) is None]
        if missing and self.offline:
            raise NotMeasured
        return missing

    def _work(
        self,
        what: str,
        function: Callable[[Sources, Any], Any],
        tasks: Sequence[Any],
        record: Callable[[Any, Any], None],
    ) -> None:
        """Runs tasks in worker processes and records each result as it comes."""
        self._take(what, results(function, self.sources, tasks, self.workers), len(tasks), record)

    def _take(
        self, what: str, measured: Iterable[tuple[Any, Any]], count: int, record: Callable[[Any, Any], None]
    ) -> None:
        """Records each of `count` results as it comes."""
        if not count:
            return
        with self.output.progress(what, count) as move:
            for done, (task, result) in enumerate(measured, 1):
                record(task, result)
                self.taken += 1
                move(done, count, f"{done}/{count}")

    def _name(self, widths: Widths) -> str:
        """Names a profile by its hash, and keeps its widths."""
        name, written = rows.profile_name(widths)
        self._profiles.put({"profile": name, "widths": written})
        return name

    def _widths(self, name: str) -> Widths:
        return rows.recorded_widths(self._profiles[name])

    def _row(self, records: Records, job: Job) -> Row:
        row = records.get(self.identity(job))
        if row is None:
            raise NotMeasured
        return row
