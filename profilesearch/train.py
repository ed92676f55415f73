"""`profilesearch train`: searches a profile over a pool of trained models and stores it."""

from collections.abc import Sequence
from dataclasses import replace

from profilesearch.cli.baseline import state_pool
from profilesearch.cli.console import Output, run
from profilesearch.cli.watching import check_tensorboard
from profilesearch.cli.workspace import Workspace
from profilesearch.networks.architectures import folder_name
from profilesearch.networks.rivals import check_rival
from profilesearch.research.pool_search import Training, search
from profilesearch.scoring.engines import open_engine
from profilesearch.store import check_name
from profilesearch.system.files import check_writable

parser = Training.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    settings = Training.read(arguments)
    output = Output.of(settings)
    settings.make_searcher()  # finds mistakes
    check_rival(settings.searcher, settings.budget)
    check_tensorboard(settings.tensorboard)
    for folder in (settings.store, *filter(None, [settings.tensorboard])):
        check_writable(folder)
    workspace = Workspace(settings, output)
    for each in (folder_name(settings.arch), *([] if settings.name is None else [settings.name])):
        check_name(each)
    settings = replace(settings, multiple_of=workspace.check_budget(settings).multiple)
    name = settings.profile_name(workspace.names)
    with open_engine(settings.engine, settings.workers, settings.address) as engine:
        problem = workspace.problem(workspace.pool(settings), engine, settings)
        state_pool(output, problem, workspace.data)
        search(problem, settings, name, output)


if __name__ == "__main__":
    run(main)
