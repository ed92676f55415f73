"""`profilesearch policy`: one policy for any network; shows what it decides, trains it, measures it."""

from collections.abc import Sequence

from profilesearch.cli.console import Output, run
from profilesearch.research.policy.running import evaluate, measure_stored, problems_of, show, train
from profilesearch.research.policy.settings import Policing
from profilesearch.scoring.engines import open_engine

parser = Policing.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    settings = Policing.read(arguments)
    settings.check()
    output = Output.of(settings)
    if settings.action == "show":
        show(settings, output)
        return
    with open_engine(settings.engine, settings.workers, settings.address) as engine:
        problems = problems_of(settings, output, engine)
        {"train": train, "evaluate": evaluate, "measure": measure_stored}[settings.action](settings, problems, output)


if __name__ == "__main__":
    run(main)
