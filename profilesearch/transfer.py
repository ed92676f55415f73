"""`profilesearch transfer`: profiles, masks and tickets, compressed on one data set and carried to others."""

import sys
from collections.abc import Sequence

from profilesearch.cli.console import Output, command_line, run
from profilesearch.cli.options import said_precision
from profilesearch.cli.workspace import Workspace
from profilesearch.research.study.identities import check_identities
from profilesearch.research.study.records import Records
from profilesearch.research.transfers.about import read_commands, remember
from profilesearch.research.transfers.reach import feasible
from profilesearch.research.transfers.running import identities_of, measure_runs, runs_of, setting_of, write
from profilesearch.research.transfers.setting import ROWS
from profilesearch.research.transfers.settings import Transferring
from profilesearch.research.transfers.speeds import SPEEDS
from profilesearch.system.files import check_writable
from profilesearch.tasks.sources import check_data

_LEFT_OUT = ("--data-dir", "--workers", "--json", "--quiet")

parser = Transferring.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    settings = Transferring.read(words)
    output = Output.of(settings)
    settings.check()
    for folder in (settings.out, settings.pool_dir):
        check_writable(folder)
    read_commands(settings.out / "commands.json")  # before anything is trained
    records, _ = Records(settings.out / "rows.csv", ROWS), Records(settings.out / "speeds.csv", SPEEDS)
    workspace = Workspace(settings, output)
    for name in settings.downstream:
        workspace.data(check_data(name))
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
    command = command_line("transfer", said_precision(words, settings.precision), _LEFT_OUT)
    commands, ending = remember(settings.out / "commands.json", setting.identity, command)
    write(settings, setting, [row for row in records.rows() if setting.owns(row)], commands, ending, output)
    asked = [row for row in (records.get(each.identity) for each in runs) if row]
    output.result({"rows": asked, "skipped": list(skipped)})


if __name__ == "__main__":
    run(main)
