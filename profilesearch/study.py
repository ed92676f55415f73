"""`profilesearch study`: tests the claims behind the project on real data, and writes the page of results."""

import sys
from collections.abc import Sequence

from profilesearch.cli.console import Output, command_line, run
from profilesearch.cli.options import said_precision
from profilesearch.errors import choose
from profilesearch.research.study.page import read_entries
from profilesearch.research.study.running import open_lab, section_of, take_again, write
from profilesearch.research.study.settings import Studying
from profilesearch.store import Store
from profilesearch.system.files import check_writable
from profilesearch.tasks.hardware import DTYPES, open_device

_LEFT_OUT = ("--only", "--row", "--recorded", "--data-dir", "--workers", "--runs", "--device")
"""What picks a part of the study, or depends on the machine."""

parser = Studying.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    words = sys.argv[1:] if arguments is None else arguments
    settings = Studying.read(words)
    output = Output.of(settings)
    for folder in (settings.results, settings.runs, settings.store, settings.pool_dir):
        check_writable(folder)
    choose("precision", settings.precision, DTYPES)
    open_device(settings.device)
    only = settings.experiments
    read_entries(settings.results, settings.arch)  # before anything is measured
    for keep in settings.sizes.keeps if settings.map_from else ():
        Store(settings.store).best(settings.map_from or "", keep, "macs", "")  # before a target is trained
    lab = open_lab(settings, output)
    if settings.row:
        take_again(lab, settings.row, output)
        return
    command = command_line("study", said_precision(words, settings.precision), _LEFT_OUT)
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


if __name__ == "__main__":
    run(main)
