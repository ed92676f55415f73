"""`profilesearch pool`: trains the missing members of a pool, and lists them."""

from collections.abc import Sequence

from profilesearch.cli.console import run, work
from profilesearch.showing.settings import Pooling

parser = Pooling.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    work(Pooling.read(arguments), "profilesearch.showing.members:pool")


if __name__ == "__main__":
    run(main)
