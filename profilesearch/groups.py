"""`profilesearch groups`: what can be pruned in an architecture, and what cannot, and why."""

from collections.abc import Sequence

from profilesearch.cli.console import run, work
from profilesearch.showing.settings import Grouping

parser = Grouping.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    work(Grouping.read(arguments), "profilesearch.showing.groups:groups")


if __name__ == "__main__":
    run(main)
