"""`profilesearch list`: the stored profiles, with their evidence."""

from collections.abc import Sequence

from profilesearch.cli.console import run, work
from profilesearch.showing.settings import Listing

parser = Listing.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    work(Listing.read(arguments), "profilesearch.showing.stored:show_stored")


if __name__ == "__main__":
    run(main)
