"""A comparison of what transfers, from its settings: what is measured, in worker processes, and what is written."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import cast

import torch

from profilesearch.cli.console import Output, command_line, said_precision
from profilesearch.cli.workspace import Workspace
from profilesearch.networks.identity import network_identity
from profilesearch.research.study.cells import values
from profilesearch.research.study.identities import check_identities
from profilesearch.research.study.records import Records, Row
from profilesearch.research.study.workers import results
from profilesearch.research.transfers.about import (
    describe,
    profiles_with_evidence,
    read_commands,
    remember,
    unequal_methods,
)
from profilesearch.research.transfers.downstream import LINEAR_EPOCHS, default_epochs
from profilesearch.research.transfers.figure import draw
from profilesearch.research.transfers.page import HEAD, Page, grouped, table_of
from profilesearch.research.transfers.reach import feasible, out_of_reach
from profilesearch.research.transfers.setting import ROWS, Run, Setting, carry, compress, source_identity
from profilesearch.research.transfers.settings import Transferring
from profilesearch.research.transfers.speeds import SPEEDS, measure, times
from profilesearch.research.transfers.ways import LEVELS_OF
from profilesearch.system.files import write_text
from profilesearch.system.progress import Progress
from profilesearch.tasks.hardware import best_precision
from profilesearch.tasks.names import Precision
from profilesearch.tasks.pools import Member, example_shape

_FINE = 1000
"""Steps of a bar for each network."""
_LEFT_OUT = ("--data-dir", "--workers", "--json", "--quiet")


def transfer(settings: Transferring, words: Sequence[str]) -> None:
    """Does what `transfer` is told.

    Args:
        settings: Of the command.
        words: That it was given, for the page.
    """
    settings = replace(settings, precision=settings.precision or best_precision())
    output = Output.of(settings)
    read_commands(settings.out / "commands.json")  # before anything is trained
    records, _ = Records(settings.out / "rows.csv", ROWS), Records(settings.out / "speeds.csv", SPEEDS)
    workspace = Workspace(settings, output)
    for name in settings.downstream:
        workspace.data(name)
    file, upstream = settings.checkpoint, workspace.names[0]
    source = workspace.trained(upstream, settings.seed) if file is None else workspace.foreign([file])[0]
    setting = setting_of(settings, workspace, source)
    check_identities(settings.out, identities_of(setting), "give another --out folder")
    recorded = [float(row["level"]) for row in records.rows() if row["method"].startswith("profile")]
    setting, reachable, skipped = feasible(setting, settings.methods, settings.level, recorded)
    for each in skipped:
        output.say(f"skipping {each}")
    runs = runs_of(settings, workspace, setting, reachable)
    measure_runs(settings, setting, runs, records, output)
    command = command_line("transfer", said_precision(words, str(settings.precision)), _LEFT_OUT)
    commands, ending = remember(settings.out / "commands.json", setting.identity, command)
    write(settings, setting, [row for row in records.rows() if setting.owns(row)], commands, ending, output)
    asked = [row for row in (records.get(each.identity) for each in runs) if row]
    output.result({"rows": [values(ROWS, row) for row in asked], "skipped": list(skipped)})


def setting_of(settings: Transferring, workspace: Workspace, source: Member) -> Setting:
    """Returns what all measurements of the comparison share."""
    metric, asked = settings.levels_of, workspace.names[0]
    numbers = settings.upstream_epochs, settings.scratch_epochs, settings.seed
    upstream, identity = workspace.data(asked).name, source_identity(source, *numbers, metric, settings.ways)
    folders = {upstream: workspace.asked[upstream]} | dict(workspace.asked)
    work = settings.out / "networks" / f"{identity}-{settings.precision}"
    return Setting(
        source,
        identity,
        tuple(folders.items()),
        workspace.data_dir,
        settings.store,
        *numbers,
        work,
        metric,
        cast(Precision, settings.precision),
        ways=settings.ways,
        map_from=settings.map_from,
    )


def identities_of(setting: Setting) -> dict[str, str]:
    """Returns the identities of the comparison's data sets, of the setting's upstream, and of its source's network."""
    network, upstream = setting.source.load(), setting.data(setting.folders[0][0])
    source = network_identity(network, example_shape(network, upstream))
    images = {f"data set {name}": setting.data(name).identity for name, _ in setting.folders[1:]}
    learned = {f"data set upstream of {setting.identity}": upstream.identity}  # its name is in no row
    known = {f"data set {upstream.name}, upstream": upstream.identity, **learned, **images}
    return {**known, f"source {setting.identity}": source}


def runs_of(
    settings: Transferring, workspace: Workspace, setting: Setting, reachable: Sequence[tuple[str, float]]
) -> list[Run]:
    """Returns every fine-tuning that is asked for, of the methods and levels that can be reached."""
    runs: list[Run] = []
    for asked in settings.downstream:
        data = workspace.data(asked)
        for kind in settings.finetune:
            epochs = (
                0 if kind == "none" else LINEAR_EPOCHS if kind == "linear" else settings.epochs or default_epochs(data)
            )
            seeds = _first_of_each(settings) if kind == "none" else settings.seeds
            for seed, (method, level) in product(seeds, reachable):
                made = settings.seed + (0 if method == "dense" else seed % settings.compressions)
                carried = setting.profile(method, level)
                runs.append(
                    Run(
                        setting.identity, method, level, carried, data.name, kind, epochs, seed, made, setting.precision
                    )
                )
    return list(dict.fromkeys(runs))


def _first_of_each(settings: Transferring) -> list[int]:
    """Returns a seed for each compression: what is not fine-tuned depends on nothing else."""
    first = {seed % settings.compressions: seed for seed in reversed(settings.seeds)}
    return sorted(first.values(), key=settings.seeds.index)


def measure_runs(
    settings: Transferring, setting: Setting, runs: Sequence[Run], records: Records, output: Output
) -> None:
    """Compresses and carries what is not on record, in worker processes."""
    workers = settings.workers or torch.get_num_threads()
    missing = [each for each in runs if records.get(each.identity) is None]
    networks = {(each.method, each.level, each.compression): None for each in missing}
    wanted = [key for key in networks if not setting.network(*key).exists()]
    tickets: dict[int, list[tuple[str, float, int]]] = {}  # those of a seed share their rounds
    for key in wanted:
        if key[0].startswith("ticket"):
            tickets.setdefault(key[2], []).append(key)
    tasks = [*tickets.values(), *([key] for key in wanted if not key[0].startswith("ticket"))]
    for what, function, todo in (("compressing", compress, tasks), ("carrying", carry, _together(missing))):
        if not todo:
            continue
        done = 0
        with output.progress(what, len(todo)) as move:

            def watch(further: float, move: Progress = move, total: int = len(todo)) -> None:
                move(round((done + further) * _FINE), total * _FINE, f"{done}/{total}")  # noqa: B023

            for _, rows in results(function, setting, todo, min(workers, len(todo)), watch):
                for row in rows or ():
                    records.put(row)
                    setting.unfinished(row["id"]).remove_all()
                done += 1


def _together(runs: Sequence[Run]) -> list[list[Run]]:
    """Puts linear fine-tunings that differ in the seed alone together, since they share the features."""
    groups: dict[object, list[Run]] = {}
    for each in runs:
        network = each.method, each.level, each.compression, each.downstream
        groups.setdefault(network if each.finetune == "linear" else each.identity, []).append(each)
    return list(groups.values())


def write(
    settings: Transferring,
    setting: Setting,
    rows: Sequence[Row],
    commands: Sequence[str],
    ending: str,
    output: Output,
) -> None:
    """Times the networks, writes page, figure and the profiles' evidence, and prints the tables.

    `ending` is that of the files' names.
    """
    page_file, figure_file = f"transfer{ending}.md", f"transfer{ending}.png"
    tables = grouped(rows)
    measured = measure(setting, list(dict.fromkeys(key for table in tables.values() for key in table)),
                       settings.out / "speeds.csv")  # fmt: skip
    draw(tables, settings.out / figure_file, LEVELS_OF[setting.metric])
    unequal, why = unequal_methods(setting)
    skipped = out_of_reach(setting, rows, settings.methods, settings.level)
    taken = times(measured)
    devices = " and ".join(dict.fromkeys(row["device"] for row in measured.values()))
    page = Page(
        commands,
        setting.source.architecture,
        " ".join(filter(None, [*describe(setting, rows), why])),
        figure_file,
        skipped,
        unequal,
        taken,
        devices,
        setting.ways,
    )
    write_text(settings.out / page_file, page.markdown(rows))
    for (downstream, finetune), methods in tables.items():
        output.table(f"{downstream}, {finetune}", HEAD, table_of(methods, taken))
    for name, profile in profiles_with_evidence(setting, rows):
        profile.save(settings.out / f"{name}{ending}.json")
    output.say(f"wrote rows.csv, {page_file} and {figure_file} in {settings.out}")
