"""`profilesearch study`: tests the claims behind the project on real data, and writes the page of results."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from profilesearch.cli import ranges
from profilesearch.cli.console import Output, command_line, parser_for, run
from profilesearch.cli.options import add_pool_options, add_precision_option, said_precision
from profilesearch.cli.workspace import Workspace
from profilesearch.errors import UsageError, choose
from profilesearch.networks.architectures import folder_name
from profilesearch.research.study import EXPERIMENTS, LONG
from profilesearch.research.study.jobs import Sources
from profilesearch.research.study.lab import Lab, NotMeasured
from profilesearch.research.study.page import Entry, Section, read_entries, write_page
from profilesearch.research.study.sizes import QUICK, Sizes
from profilesearch.store import Store
from profilesearch.system.files import check_writable
from profilesearch.tasks.hardware import DTYPES, open_device
from profilesearch.tasks.pools import Member, check_unseen

DESCRIPTION = """\
Test the claims behind the project on real data, and write the page of results.

Each experiment consists of measurements: scores, searches, fine-tunings. Every one is recorded as soon as
it is taken, as a row of a CSV file in the results folder, and never taken twice: a study that was stopped,
even killed, goes on where it was when the same command is given again. The page is made of the records.

Models of the pool are seen by searches; targets are not."""
EPILOG = """\
examples:
  profilesearch study --arch resnet20 --quick
  profilesearch study --arch resnet20 --data cifar10 --checkpoint a.th b.th cifar100:0 --target c.th
  profilesearch study --arch resnet20 ... --only ranks
  profilesearch study --arch resnet20 ... --row ranks.2

files:
  RESULTS/ARCH/*.csv, *.png   raw rows and figures
  RESULTS.md                  the page, for all architectures in the folder"""

_LEFT_OUT = ("--only", "--row", "--recorded", "--data-dir", "--workers", "--runs", "--device")
"""What picks a part of the study, or depends on the machine."""


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    made = parser_for("study", DESCRIPTION, EPILOG)
    add_pool_options(made)
    made.add_argument(
        "--target", nargs="+", default=[], metavar="FILE", help="models that no search sees, given as for --checkpoint"
    )
    made.add_argument(
        "--map-from", metavar="ARCH", help="relative whose stored profiles are mapped, instead of a search"
    )
    made.add_argument("--store", type=Path, default=Path("profiles"), metavar="DIR", help="where profiles are kept")
    made.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help=f"experiments to run: {', '.join(EXPERIMENTS)} (default: all but {', '.join(LONG)})",
    )
    made.add_argument("--row", metavar="NAME", help="take the measurements of one row of the page again, and compare")
    made.add_argument(
        "--recorded", action="store_true", help="measure nothing: make the sections again of what is on record"
    )
    made.add_argument(
        "--keeps",
        nargs="+",
        type=ranges.share,
        metavar="FRACTION",
        help="budgets of MACs (default: 0.3 0.5 0.7; quick: 0.5)",
    )
    made.add_argument(
        "--evaluations",
        type=ranges.whole(1, unit="evaluation"),
        metavar="N",
        help=f"of every searcher (default: {Sizes().evaluations}; quick: 40)",
    )
    made.add_argument(
        "--long-epochs",
        type=ranges.whole(1, unit="epoch"),
        metavar="N",
        help=f"fine-tuning behind the headline (default: {Sizes().long_epochs})",
    )
    made.add_argument(
        "--profiles",
        type=ranges.whole(4, unit="profile"),
        metavar="N",
        help=f"of a budget, that truth fine-tunes to the end (default: {Sizes().truths}); more can be asked for later",
    )
    made.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    add_precision_option(made)
    made.add_argument(
        "--workers", type=ranges.workers, default=0, metavar="N", help="processes (default: one for each core)"
    )
    made.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="records and figures")
    made.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="ledger, unfinished trainings")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(words)
    output = Output.of(options)
    for folder in (options.results, options.runs, options.store, options.pool_dir):
        check_writable(folder)
    choose("precision", options.precision, DTYPES)
    open_device(options.device)
    every = [name for name in EXPERIMENTS if name not in LONG]
    default = ["shipping"] if options.map_from else every
    only = [choose("experiment", name, EXPERIMENTS) for name in options.only or default]
    sizes = _sizes(options)
    read_entries(options.results, options.arch)  # before anything is measured
    for keep in sizes.keeps if options.map_from else ():
        Store(options.store).best(options.map_from, keep, "macs", "")  # before a target is trained
    lab = _lab(options, sizes, output)
    if options.row:
        _again(lab, options.row, output)
        return
    command = command_line("study", said_precision(words, options), _LEFT_OUT)
    measured: list[str] = []
    for number, name in enumerate(only, 1):
        output.say(f"experiment: {name}")
        before = lab.taken
        section = _section(lab, name, options.recorded)
        output.say(f"  {section.verdict}")
        measured += [name] if lab.taken > before else []
        page = _write(options.results, lab, command, only[:number], measured)
    output.say(f"wrote {page}")
    output.result({"page": str(page), "experiments": only})


def _sizes(options: argparse.Namespace) -> Sizes:
    sizes = QUICK if options.quick else Sizes()
    if options.keeps:
        sizes = replace(sizes, keeps=tuple(options.keeps))
    if options.evaluations is not None:
        sizes = replace(sizes, evaluations=options.evaluations)
    if options.long_epochs is not None:
        sizes = replace(sizes, long_epochs=options.long_epochs)
    if options.profiles is not None:
        sizes = replace(sizes, truths=options.profiles)
    return sizes


def _lab(options: argparse.Namespace, sizes: Sizes, output: Output) -> Lab:
    workspace = Workspace(options, output)
    targets = workspace.foreign(options.target)  # before a pool is trained: a file may be wrong
    pool = workspace.pool() if not options.map_from else []
    if not targets:
        targets = [workspace.trained(workspace.names[0], max(options.seeds) + 1)]
    members = (*pool, *targets)
    names = [member.name for member in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"{twice} is given twice; a target must not be in the pool")
    check_unseen(targets, pool)
    sources = Sources(
        options.arch,
        members,
        options.data_dir,
        options.runs / "study",
        tuple(workspace.asked.items()),
        options.precision,
        options.device,
    )
    workers = options.workers or torch.get_num_threads()
    folder = options.results / folder_name(options.arch)
    return Lab(sources, _names(pool), _names(targets), folder, sizes, workers, output, options.store, options.map_from)


def _names(members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(member.name for member in members)


def _write(results: Path, lab: Lab, command: str, run: Sequence[str], measured: Sequence[str]) -> Path:
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


def _section(lab: Lab, name: str, recorded: bool) -> Section:
    """Runs an experiment, or makes it of its records alone."""
    section = _recorded(lab, name) if recorded else EXPERIMENTS[name](lab)
    if section is None:
        raise _not_recorded(lab, name)
    return section


def _not_recorded(lab: Lab, name: str) -> UsageError:
    return UsageError(f"'{name}' is not on record in {lab.folder}; run it first with --only {name}")


def _recorded(lab: Lab, name: str) -> Section | None:
    """Returns an experiment from the records alone, for those budgets that are on record; or None."""
    was, sizes, lab.offline = lab.offline, lab.sizes, True

    def section(keeps: tuple[float, ...]) -> Section | None:
        lab.sizes = replace(sizes, keeps=keeps)
        try:
            return EXPERIMENTS[name](lab)
        except NotMeasured:
            return None

    try:
        whole = section(sizes.keeps)
        there = tuple(keep for keep in sizes.keeps if whole is None and section((keep,)))
        return section(there) if there else whole
    finally:
        lab.offline, lab.sizes = was, sizes


def _again(lab: Lab, row: str, output: Output) -> None:
    """Takes the measurements of a row again and shows them beside the recorded ones."""
    name, _, number = row.partition(".")
    section = _recorded(lab, choose("experiment", name, EXPERIMENTS))
    if section is None:
        raise _not_recorded(lab, name)
    if not number.isdigit() or not 1 <= int(number) <= len(section.lines):
        raise UsageError(f"'{row}' is no row of {name}; its rows are {name}.1 to {name}.{len(section.lines)}")
    line = section.lines[int(number) - 1]
    rows = []
    for measurement in line.measurements:
        record = lab.recorded(measurement) or {}
        for what, value in lab.measure_again(lab.used(measurement)).items():
            rows.append([lab.identity(measurement), what, record.get(what, ""), f"{value:.4f}"])
            output.say(" ".join(rows[-1]))
    output.table(f"{row}: {' | '.join(line.cells)}", ["measurement", "number", "recorded", "now"], rows)
    output.result({"row": row, "measurements": rows})


if __name__ == "__main__":
    run(main)
