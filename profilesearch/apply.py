"""`profilesearch apply`: prunes a trained model with a stored profile."""

from collections.abc import Sequence

from profilesearch.applying.settings import Applying
from profilesearch.cli.console import run, work

parser = Applying.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    work(Applying.read(arguments), "profilesearch.applying.running:start")


if __name__ == "__main__":
    run(main)
