"""`profilesearch compare`: searchers at equal cost and equal evaluations, on models that they did not see."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agents import PpoSearcher, TaperSearcher, searcher_names
from profilesearch.cli.console import Output, run
from profilesearch.cli.workspace import Workspace
from profilesearch.deciding import given_profile
from profilesearch.errors import UsageError, choose
from profilesearch.networks.rivals import CONTENDERS
from profilesearch.research.comparing import Comparing, compare
from profilesearch.scoring.engines import open_engine

_ALWAYS = (*CONTENDERS, TaperSearcher.name)
"""In every table, asked for or not."""

parser = Comparing.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    settings = Comparing.read(arguments)
    output = Output.of(settings)
    asked = [choose("searcher", name, searcher_names()) for name in settings.searchers]
    if settings.ppo and PpoSearcher.name not in asked:
        raise UsageError("--ppo is for the searcher ppo, which is not among --searchers")
    names = [*(name for name in asked if name not in _ALWAYS), TaperSearcher.name]
    stored = {str(path): given_profile(path, Path("profiles")) for path in settings.profile}
    workspace = Workspace(settings, output)
    settings = replace(settings, multiple_of=workspace.check_budget(settings).multiple)
    if settings.checkpoint and not settings.target:
        raise UsageError("name models that the search does not see with --target FILE")
    targets = workspace.foreign(settings.target)
    with open_engine(settings.engine, settings.workers, settings.address) as engine:
        compare(names, stored, targets, engine, settings, workspace, output)


if __name__ == "__main__":
    run(main)
