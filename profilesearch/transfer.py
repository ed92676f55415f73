"""`profilesearch transfer`: profiles, masks and tickets, compressed on one data set and carried to others."""

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch

from profilesearch.cli import ranges
from profilesearch.cli.console import Output, command_line, parser_for, run
from profilesearch.cli.options import add_precision_option, said_precision
from profilesearch.cli.workspace import Workspace
from profilesearch.errors import UsageError, choose
from profilesearch.networks.identity import network_identity
from profilesearch.research.study.identities import check_identities
from profilesearch.research.study.records import Records, Row
from profilesearch.research.study.workers import results
from profilesearch.research.transfers.about import NAMES, describe, profiles_with_evidence, read_commands, remember
from profilesearch.research.transfers.downstream import LINEAR_EPOCHS, default_epochs
from profilesearch.research.transfers.figure import draw
from profilesearch.research.transfers.methods import METHODS, from_random
from profilesearch.research.transfers.page import HEAD, Page, grouped, table_of
from profilesearch.research.transfers.reach import feasible, out_of_reach
from profilesearch.research.transfers.setting import FINETUNES, ROWS, Run, Setting, carry, compress, source_identity
from profilesearch.research.transfers.speeds import SPEEDS, measure, times
from profilesearch.research.transfers.upstream import source_epochs
from profilesearch.system.files import check_writable, write_text
from profilesearch.tasks.hardware import DTYPES
from profilesearch.tasks.pools import Member, example_shape
from profilesearch.tasks.sources import check_data

DESCRIPTION = """\
Compress a network on one data set in several ways, carry each result to other data sets, and fine-tune it.

A level is the fraction of the weights that a method removes. Structured methods make tensors smaller; the
others set weights to zero, which stay zero while the network is fine-tuned. With --metric macs it is the
fraction of the multiply-adds, for structured methods alone. Every row is recorded as soon as
it is there; a comparison that was stopped goes on where it was when the same command is given again.

Methods:
{methods}"""
EPILOG = """\
examples:
  profilesearch transfer --arch resnet20 --upstream cifar10 --downstream cifar100 fashionmnist \\
      --method dense profile magnitude ticket-late --level 0.8 --finetune linear full

files, in --out:
  rows.csv                  a row for every fine-tuning
  speeds.csv                how long networks of each shape take, beside the source
  networks/                 compressed networks; only the first fine-tuning of each has to make it
  commands.json             the commands so far
  transfer.md, transfer.png tables with intervals, and the figure, of all rows from this source and these lengths of
                            training: a comparison may grow by several commands
  profile-LEVEL.json        the profile that was carried, with this evidence
                            (these three of a further setting in the same folder end with its name)"""
_LEFT_OUT = ("--data-dir", "--workers", "--json", "--quiet")


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    width = max(map(len, METHODS))
    methods = "\n".join(f"  {name:{width}}  {method.summary}" for name, method in METHODS.items())
    made = parser_for("transfer", DESCRIPTION.format(methods=methods), EPILOG)
    made.add_argument(
        "--upstream",
        metavar="NAME",
        help="data set that networks are compressed on (default: cifar10 where it is on disk, else digits)",
    )
    made.add_argument(
        "--downstream", nargs="+", required=True, metavar="NAME", help="data sets that they are carried to"
    )
    made.add_argument(
        "--checkpoint", metavar="FILE", help="the trained source (default: the pool's, of --seed, trained if missing)"
    )
    made.add_argument("--method", nargs="+", metavar="NAME", help="see above (default: all)")
    made.add_argument("--level", nargs="+", type=_level, default=[0.8], metavar="PART", help="the part to remove")
    made.add_argument("--metric", default="params", metavar="NAME", help="what levels are of: params (weights), macs")
    made.add_argument("--finetune", nargs="+", default=["linear"], metavar="KIND", help="linear (the classifier), full")
    made.add_argument("--seeds", nargs="+", type=ranges.seed, default=[0, 1, 2], metavar="N", help="of the fine-tuning")
    made.add_argument(
        "--compressions",
        type=ranges.whole(1),
        default=1,
        metavar="N",
        help="networks that each method makes, from as many seeds; a fine-tuning takes that of its own seed modulo N "
        "(default: one network for all, so that intervals say nothing of other compressions)",
    )
    made.add_argument(
        "--epochs",
        type=ranges.whole(1, unit="epoch"),
        metavar="N",
        help="of full fine-tuning (default: 10; large images 150)",
    )
    made.add_argument(
        "--upstream-epochs", type=ranges.whole(0), default=5, metavar="N", help="of methods that start from the source"
    )
    made.add_argument(
        "--scratch-epochs",
        type=ranges.whole(1, unit="epoch"),
        default=40,
        metavar="N",
        help="of methods that start from random weights",
    )
    made.add_argument("--pool-dir", type=Path, default=Path("pools"), metavar="DIR", help="trained sources")
    made.add_argument("--store", type=Path, default=Path("profiles"), metavar="DIR", help="where profiles are kept")
    add_precision_option(made)
    made.add_argument(
        "--workers", type=ranges.workers, default=0, metavar="N", help="processes (default: one for each core)"
    )
    made.add_argument("--out", type=Path, default=Path("transferred"), metavar="DIR", help="where results are written")
    made.set_defaults(device="cpu")
    return made


def _level(text: str) -> float:
    """Reads a level as rows show it, so that both are the same number."""
    return float(f"{ranges.real(0, 1, 'least most')(text):g}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    output = Output.of(options)
    _check(options)
    for folder in (options.out, options.pool_dir):
        check_writable(folder)
    read_commands(options.out / "commands.json")  # before anything is trained
    records, _ = Records(options.out / "rows.csv", ROWS), Records(options.out / "speeds.csv", SPEEDS)
    options.data = [options.upstream] if options.upstream else None
    workspace = Workspace(options, output)
    options.upstream = workspace.names[0]
    for name in options.downstream:
        workspace.data(check_data(name))
    own = options.checkpoint is None
    source = workspace.trained(options.upstream, options.seed) if own else workspace.foreign([options.checkpoint])[0]
    setting = _setting(options, workspace, source)
    check_identities(options.out, _identities(setting), "give another --out folder")
    recorded = [float(row["level"]) for row in records.rows() if row["method"].startswith("profile")]
    setting, reachable, skipped = feasible(setting, options.method, options.level, recorded)
    for each in skipped:
        output.say(f"skipping {each}")
    runs = _runs(options, workspace, setting, reachable)
    _measure(options, setting, runs, records, output)
    command = command_line("transfer", said_precision(words, options), _LEFT_OUT)
    commands, ending = remember(options.out / "commands.json", setting.identity, command)
    _write(options, setting, [row for row in records.rows() if setting.owns(row)], commands, ending, output)
    asked = [row for row in (records.get(each.identity) for each in runs) if row]
    output.result({"rows": asked, "skipped": list(skipped)})


def _check(options: argparse.Namespace) -> None:
    """Finds mistakes before any work."""
    choose("metric", options.metric, NAMES)
    choose("precision", options.precision, DTYPES)
    able = [name for name, method in METHODS.items() if options.metric == "params" or method.structured]
    options.method = options.method or able
    for method in options.method:
        choose("method", method, METHODS)
        if method not in able:
            raise UsageError(f"--metric macs is for smaller tensors, and {method} sets weights to zero; "
                             f"choose from {', '.join(able)}")  # fmt: skip
    for kind in options.finetune:
        choose("kind of fine-tuning", kind, FINETUNES)


def _setting(options: argparse.Namespace, workspace: Workspace, source: Member) -> Setting:
    numbers = options.upstream_epochs, options.scratch_epochs, options.seed
    upstream, identity = workspace.data(options.upstream).name, source_identity(source, *numbers, options.metric)
    folders = {upstream: workspace.asked[upstream]} | dict(workspace.asked)
    work = options.out / "networks" / f"{identity}-{options.precision}"
    return Setting(
        source,
        identity,
        tuple(folders.items()),
        options.data_dir,
        options.store,
        *numbers,
        work,
        options.metric,
        options.precision,
    )


def _identities(setting: Setting) -> dict[str, str]:
    """Returns the identities of the comparison's data sets, and of its source's network."""
    network, upstream = setting.source.load(), setting.data(setting.folders[0][0])
    source = network_identity(network, example_shape(network, upstream))
    images = {f"data set {name}": setting.data(name).identity for name, _ in setting.folders[1:]}
    return {f"data set {upstream.name}, upstream": upstream.identity, **images, f"source {setting.identity}": source}


def _runs(
    options: argparse.Namespace, workspace: Workspace, setting: Setting, reachable: Sequence[tuple[str, float]]
) -> list[Run]:
    runs: list[Run] = []
    for asked in options.downstream:
        data = workspace.data(asked)
        for kind in options.finetune:
            epochs = LINEAR_EPOCHS if kind == "linear" else options.epochs or default_epochs(data)
            for seed, (method, level) in product(options.seeds, reachable):
                made = options.seed + (0 if method == "dense" else seed % options.compressions)
                carried = setting.profile(method, level)
                runs.append(
                    Run(
                        setting.identity, method, level, carried, data.name, kind, epochs, seed, made, setting.precision
                    )
                )
    return runs


def _measure(
    options: argparse.Namespace, setting: Setting, runs: Sequence[Run], records: Records, output: Output
) -> None:
    """Compresses and carries what is not on record, in worker processes."""
    workers = options.workers or torch.get_num_threads()
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
        with output.progress(what, len(todo)) as move:
            for done, (_, rows) in enumerate(results(function, setting, todo, min(workers, len(todo))), 1):
                for row in rows or ():
                    records.put(row)
                    setting.unfinished(row["id"]).remove_all()
                move(done, len(todo), f"{done}/{len(todo)}")


def _together(runs: Sequence[Run]) -> list[list[Run]]:
    """Puts linear fine-tunings that differ in the seed alone together, since they share the features."""
    groups: dict[object, list[Run]] = {}
    for each in runs:
        network = each.method, each.level, each.compression, each.downstream
        groups.setdefault(network if each.finetune == "linear" else each.identity, []).append(each)
    return list(groups.values())


def _write(
    options: argparse.Namespace,
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
                       options.out / "speeds.csv")  # fmt: skip
    draw(tables, options.out / figure_file, NAMES[setting.metric])
    unequal = from_random() if setting.scratch < setting.epochs + source_epochs(setting.source) else ()
    about = list(describe(setting, rows))
    if unequal:
        about.append(
            f"Methods from random weights ({', '.join(unequal)}) had fewer epochs than the source, so they are shown "
            "but not held against the others."
        )
    skipped = out_of_reach(setting, rows, options.method, options.level)
    taken = times(measured)
    devices = " and ".join(dict.fromkeys(row["device"] for row in measured.values()))
    page = Page(commands, setting.source.architecture, " ".join(about), figure_file, skipped, unequal, taken, devices)
    write_text(options.out / page_file, page.markdown(rows))
    for (downstream, finetune), methods in tables.items():
        output.table(f"{downstream}, {finetune}", HEAD, table_of(methods, taken))
    for name, profile in profiles_with_evidence(setting, rows):
        profile.save(options.out / f"{name}{ending}.json")
    output.say(f"wrote rows.csv, {page_file} and {figure_file} in {options.out}")


if __name__ == "__main__":
    run(main)
