"""`profilesearch apply`: prunes a trained model with a stored profile."""

from collections.abc import Sequence

from profilesearch.applying.running import apply
from profilesearch.applying.settings import Applying
from profilesearch.cli.console import Output, run
from profilesearch.research.pool_search import Training
from profilesearch.tasks.hardware import open_device
from profilesearch.tasks.parallel import joined

parser = Applying.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    settings = Applying.read(arguments)
    settings.check()
    with joined(open_device(settings.device)) as world:
        apply(settings, Output.of(settings, quiet=not world.leads), world, Training)


if __name__ == "__main__":
    run(main)
