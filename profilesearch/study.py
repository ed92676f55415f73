"""`profilesearch study`: tests the claims behind the project on real data, and writes the page of results."""

import sys
from collections.abc import Sequence

from profilesearch.cli.console import run, work
from profilesearch.research.study.settings import Studying

parser = Studying.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    words = sys.argv[1:] if arguments is None else arguments
    work(Studying.read(words), "profilesearch.research.study.running:study", words)


if __name__ == "__main__":
    run(main)
