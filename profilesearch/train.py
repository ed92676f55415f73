"""`profilesearch train`: searches a profile over a pool of trained models and stores it."""

from collections.abc import Sequence

from profilesearch.applying.settings import Applying
from profilesearch.cli.console import run, work
from profilesearch.research.settings import Training

parser = Training.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    work(Training.read(arguments), "profilesearch.research.pool_search:train", Applying)


if __name__ == "__main__":
    run(main)
