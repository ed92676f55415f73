"""`profilesearch report`: what runs have found, as one page to look at."""

from collections.abc import Sequence

from profilesearch.cli.console import run, work
from profilesearch.showing.settings import Reporting

parser = Reporting.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    work(Reporting.read(arguments), "profilesearch.showing.report:write_report")


if __name__ == "__main__":
    run(main)
