"""`profilesearch compare`: searchers at equal cost and equal evaluations, on models that they did not see."""

from collections.abc import Sequence

from profilesearch.cli.console import run, work
from profilesearch.research.settings import Comparing

parser = Comparing.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    work(Comparing.read(arguments), "profilesearch.research.comparing:compare")


if __name__ == "__main__":
    run(main)
