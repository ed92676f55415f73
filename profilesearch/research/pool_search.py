"""A search over a pool of trained models, its profile stored: what `train` does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from agents import Result, Searcher, make_searcher
from agents.provenance import describe
from profilesearch.cli.baseline import state_pool
from profilesearch.cli.console import Output
from profilesearch.cli.hyperparameters import ppo_settings
from profilesearch.cli.settings import Settings
from profilesearch.cli.watching import Curves, check_tensorboard
from profilesearch.cli.workspace import Workspace
from profilesearch.deciding import started
from profilesearch.errors import UsageError
from profilesearch.evidence import Provenance
from profilesearch.measure.reaching import rows_off
from profilesearch.networks.groups import IntArray
from profilesearch.networks.names import folder_name
from profilesearch.networks.rivals import rivals_of
from profilesearch.research.searched import save_run, store_safely
from profilesearch.research.settings import Training
from profilesearch.scoring.engines import open_engine
from profilesearch.scoring.names import SHOWN
from profilesearch.scoring.problem import Problem
from profilesearch.system.naming import check_name


def train(settings: Training, applying: type[Settings]) -> None:
    """Does what `train` is told.

    Args:
        settings: What that is.
        applying: Settings of the command that uses a profile, which is suggested at the end.

    Raises:
        UsageError: Something does not fit together.
    """
    output, searcher = Output.of(settings), searcher_of(settings)
    check_tensorboard(settings.tensorboard)
    workspace = Workspace(settings, output)
    check_name(folder_name(settings.arch))
    settings = replace(settings, multiple_of=workspace.check_budget(settings).multiple)
    name = settings.profile_name(workspace.names)
    with open_engine(settings.engine, settings.workers, settings.address) as engine:
        problem = workspace.problem(workspace.pool(settings), engine, settings)
        state_pool(output, problem, workspace.data)
        path = search(problem, searcher, settings, name, output)
    member = problem.members[0]
    told: dict[str, Any] = {each: getattr(settings, each) for each in ("arch", "data_dir", "mean", "std")}
    told |= {"data": (workspace.asked[member.data],), "checkpoint": str(member.path), "profile": str(path)}
    command = f"python -m profilesearch.{applying.verb}{applying.words(told)}"
    output.say(f"use it, on {member.name} or a network of yours:\n    {command}")


def searcher_of(settings: Training) -> Searcher:
    """Returns the searcher that is asked for.

    Raises:
        UsageError: There is none of this name, or it has no use for what it is told.
    """
    ppo = ppo_settings(settings.ppo) if settings.ppo else None
    start = started(settings.start, settings.store) if settings.start else None
    return make_searcher(settings.searcher, settings.storage, ppo, start)


def search(problem: Problem, searcher: Searcher, settings: Training, name: str, output: Output) -> Path:
    """Searches, stores the profile, and shows what was found; returns where the profile is."""
    what = f"searching with {settings.searcher}"
    with output.search_progress(what, settings.evaluations) as move, Curves(settings.tensorboard, output.say) as curves:
        result = searcher.search(problem, settings.evaluations, settings.seed, curves.watch(move))
        curves.finish(result)
    found = describe(problem, result)
    widths = result.winner.evaluation.widths
    profile = problem.space.profile(widths, found)
    path = store_safely(profile, name, settings.store, settings.runs)
    try:
        folder = save_run(settings.runs / folder_name(settings.arch) / path.stem, problem, result, profile)
    except UsageError as error:
        raise UsageError(f"{error}; the profile is stored in {path}") from error
    show(output, problem, result, found)
    output.say(f"stored {path}\npictures and history in {folder}")
    output.result({"profile": str(path), "run": str(folder), "reached": profile.reached, **found})
    return path


def show(output: Output, problem: Problem, result: Result, found: Provenance) -> None:
    """Prints the result table."""
    space, score = problem.space, found["score"]

    def row(name: str, search: float, fresh: float, widths: IntArray, own_cost: float | None = None) -> list[str]:
        own = "" if own_cost is None else f"{own_cost:.2%}"
        costs = f"{space.relative(widths):.2%}", space.params_text(widths)
        return [name, f"{search:.3f}", f"{fresh:.3f}", *costs, own]

    rows, costs = [row("unpruned", 1, 1, space.table.channels)], {}
    for name, widths in rivals_of(space).items():
        rows.append(row(name, score[f"{name}_search"], score[f"{name}_fresh"], widths))
        costs[name] = float(space.relative(widths)), space.relative_params(widths)
    named = [("the policy's own", result.policy)] if result.policy is not None else []
    for name, finalist in [*named, (f"stored, from the {found['chosen']}", result.winner)]:
        evaluation = finalist.evaluation
        rows.append(row(name, evaluation.fitness, finalist.fresh, evaluation.widths, evaluation.own_cost))
        costs[name] = float(space.relative(evaluation.widths)), space.relative_params(evaluation.widths)
    head = ["profile", "search images", "fresh images", f"of the {space.budget.metric}", "parameters", "unprojected"]
    what = SHOWN[problem.settings.measure]
    output.table(f"{what} relative to the unpruned models, mean of the pool; fresh images chose nothing", head, rows)
    if said := rows_off(space.budget, costs):
        output.say(said)
    if result.kept_rival:
        output.say(
            f"what is stored is the {found['chosen']} profile, which needs no search: none of {found['evaluations']} "
            f"that {result.searcher} tried held up better on other images"
        )
        return
    ahead = {name: score[f"{name}_fresh"] - result.winner.fresh for name in rivals_of(space)}
    best = max(ahead, key=lambda name: ahead[name])
    if ahead[best] > 0:
        output.say(
            f"on fresh images {best} is ahead of what is stored, by {ahead[best]:.3f}: that was best on the images "
            f"that chose it; `apply --against {best}` shows on test images whether the two can be told apart"
        )
