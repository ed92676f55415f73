"""`profilesearch transfer`: profiles, masks and tickets, compressed on one data set and carried to others."""

import sys
from collections.abc import Sequence

from profilesearch.cli.console import run, work
from profilesearch.research.transfers.settings import Transferring

parser = Transferring.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    words = sys.argv[1:] if arguments is None else arguments
    work(Transferring.read(words), "profilesearch.research.transfers.running:transfer", words)


if __name__ == "__main__":
    run(main)
