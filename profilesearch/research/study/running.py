"""A study from its settings: the laboratory, the sections of its page, and rows that are measured again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from profilesearch.cli.console import Output, command_line, said_precision
from profilesearch.cli.workspace import Workspace
from profilesearch.errors import UsageError
from profilesearch.networks.names import folder_name
from profilesearch.research.study.experiments import EXPERIMENTS, experiment, not_recorded
from profilesearch.research.study.jobs import FamilySearch, FineTune, Job, Score, Sources
from profilesearch.research.study.lab import Lab, NotMeasured
from profilesearch.research.study.measuring import run_family, run_scores, run_search
from profilesearch.research.study.page import Entry, Section, read_entries, write_page
from profilesearch.research.study.settings import Studying
from profilesearch.research.study.tuning import run_finetune
from profilesearch.store import Store
from profilesearch.system.temporary import scratch_folder
from profilesearch.tasks.hardware import best_precision, open_device
from profilesearch.tasks.names import Precision
from profilesearch.tasks.pools import Member, check_unseen

_LEFT_OUT = ("--only", "--row", "--recorded", "--data-dir", "--workers", "--runs", "--device")
"""What picks a part of the study, or depends on the machine."""


def study(settings: Studying, words: Sequence[str]) -> None:
    """Does what `study` is told.

    Args:
        settings: Of the command.
        words: That it was given, for the page.
    """
    settings = replace(settings, precision=settings.precision or best_precision())
    output = Output.of(settings)
    open_device(settings.device)
    only = settings.experiments
    read_entries(settings.results, settings.arch)  # before anything is measured
    for keep in settings.sizes.keeps if settings.map_from else ():
        Store(settings.store).best(settings.map_from or "", keep, "macs", "")  # before a target is trained
    lab = open_lab(settings, output)
    if settings.row:
        take_again(lab, settings.row, output)
        return
    command = command_line("study", said_precision(words, str(settings.precision)), _LEFT_OUT)
    measured: list[str] = []
    for number, name in enumerate(only, 1):
        output.say(f"experiment: {name}")
        before = lab.taken
        section = section_of(lab, name, settings.recorded)
        output.say(f"  {section.verdict}")
        measured += [name] if lab.taken > before else []
        page = write(settings.results, lab, command, only[:number], measured)
    output.say(f"wrote {page}")
    output.result({"page": str(page), "experiments": only})


def open_lab(settings: Studying, output: Output) -> Lab:
    """Returns what takes the measurements: models loaded or trained, records read.

    Raises:
        UsageError: A model is given twice, or a target is in the pool.
    """
    workspace = Workspace(settings, output)
    targets = workspace.foreign(settings.target)  # before a pool is trained: a file may be wrong
    pool = workspace.pool(settings) if not settings.map_from else []
    if not targets:
        targets = [workspace.trained(workspace.names[0], max(settings.seeds) + 1)]
    members = (*pool, *targets)
    names = [member.name for member in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"{twice} is given twice; a target must not be in the pool")
    check_unseen(targets, pool)
    sources = Sources(
        settings.arch,
        members,
        workspace.data_dir,
        settings.runs / "study",
        tuple(workspace.asked.items()),
        cast(Precision, settings.precision),
        settings.device,
    )
    workers = settings.workers or torch.get_num_threads()
    folder = settings.results / folder_name(settings.arch)
    return Lab(
        sources,
        _names(pool),
        _names(targets),
        folder,
        settings.sizes,
        workers,
        output,
        settings.store,
        settings.map_from,
    )


def _names(members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(member.name for member in members)


def write(results: Path, lab: Lab, command: str, run: Sequence[str], measured: Sequence[str]) -> Path:
    """Writes the page: what was run, what else is on record for this command, and what other commands have left.

    A section that consists of records alone keeps the setting that it was measured in.
    """
    there = read_entries(results, lab.sources.architecture)
    pool, targets = (", ".join(f"{n} ({lab.member(n).data})" for n in names) for names in (lab.pool, lab.targets))
    setting = (
        f"Pool: {pool or 'none'}. Targets, which no search sees: {targets}. {lab.workers} worker process(es), "
        f"{lab.sources.precision}, PyTorch {torch.__version__.split('+')[0]}."
    )
    entries = []
    for name in EXPERIMENTS:
        entry = there.get(name)
        if name in run or entry is None or entry.command == command:
            section = None if lab.map_from and name not in run else _recorded(lab, name)
            same = entry is not None and entry.command == command and name not in measured
            entry = Entry(section, entry.setting if entry and same else setting, command) if section else entry
        entries += [entry] if entry else []
    return write_page(results, lab.sources.architecture, entries)


def section_of(lab: Lab, name: str, recorded: bool) -> Section:
    """Runs an experiment, or makes it of its records alone."""
    section = _recorded(lab, name) if recorded else experiment(name)(lab)
    if section is None:
        raise not_recorded(lab.folder, name)
    return section


def _recorded(lab: Lab, name: str) -> Section | None:
    """Returns an experiment from the records alone, for those budgets that are on record; or None."""
    was, sizes, lab.offline = lab.offline, lab.sizes, True

    def section(keeps: tuple[float, ...]) -> Section | None:
        lab.sizes = replace(sizes, keeps=keeps)
        try:
            return experiment(name)(lab)
        except NotMeasured:
            return None

    try:
        whole = section(sizes.keeps)
        there = tuple(keep for keep in sizes.keeps if whole is None and section((keep,)))
        return section(there) if there else whole
    finally:
        lab.offline, lab.sizes = was, sizes


def take_again(lab: Lab, row: str, output: Output) -> None:
    """Takes the measurements of a row again and shows them beside the recorded ones."""
    name, _, number = row.partition(".")
    section = section_of(lab, name, recorded=True)
    if int(number) > len(section.lines):
        raise UsageError(f"'{row}' is no row of {name}; its rows are {name}.1 to {name}.{len(section.lines)}")
    line = section.lines[int(number) - 1]
    rows, numbers = [], []
    for measurement in line.measurements:
        record, name = lab.recorded(measurement) or {}, lab.identity(measurement)
        for what, value in _again(lab, lab.used(measurement)).items():
            known = record.get(what, "")
            rows.append([name, what, known, f"{value:.4f}"])
            numbers.append([name, what, float(known) if known else None, round(value, 4)])
            output.say(" ".join(rows[-1]))
    output.table(f"{row}: {' | '.join(line.cells)}", ["measurement", "number", "recorded", "now"], rows)
    output.result({"row": row, "measurements": numbers})


def _again(lab: Lab, job: Job) -> dict[str, float]:
    """Takes one measurement anew, in this process, without records and ledger; returns its numbers."""
    with scratch_folder() as work:
        sources = replace(lab.sources, work=work)
        if isinstance(job, Score):
            return {"score": run_scores(sources, [job])[0]}
        if isinstance(job, FineTune):
            tuned = run_finetune(sources, job)
            return {"before": tuned.before, "after": tuned.after, "cost": tuned.cost}
        if isinstance(job, FamilySearch):
            costs = run_family(sources, job).own_costs
            return {f"own cost at {keep:g}": cost for keep, cost in zip(job.keeps, costs, strict=True)}
        found = run_search(sources, job)
        return {"search": found.search, "choose": found.choose, "fresh": found.fresh, "own_cost": found.own_cost}
