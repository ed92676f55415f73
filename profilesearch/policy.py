"""`profilesearch policy`: one policy for any network; shows what it decides, trains it, measures it."""

from collections.abc import Sequence

from profilesearch.cli.console import run, work
from profilesearch.research.policy.settings import Policing

parser = Policing.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    work(Policing.read(arguments), "profilesearch.research.policy.running:policy")


if __name__ == "__main__":
    run(main)
