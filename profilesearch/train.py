"""`profilesearch train`: searches a profile over a pool of trained models and stores it."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents import Result, make_searcher, searcher_names
from agents.provenance import describe
from profilesearch.cli.baseline import state_pool
from profilesearch.cli.console import Output, parser_for, run
from profilesearch.cli.options import add_normalization_options, add_pool_options, add_search_options, setting_name
from profilesearch.cli.watching import Curves, check_tensorboard
from profilesearch.cli.workspace import Workspace, budget_of
from profilesearch.errors import UsageError
from profilesearch.measure.reaching import reached_text
from profilesearch.networks.architectures import folder_name
from profilesearch.networks.groups import IntArray
from profilesearch.networks.rivals import check_rival, rivals_of
from profilesearch.profiles import Profile
from profilesearch.reporting.plots import profile_figure, save_figure, search_figure
from profilesearch.scoring.measures import SHOWN
from profilesearch.scoring.problem import Problem
from profilesearch.store import Store, check_name
from profilesearch.system.files import check_writable, write_text
from profilesearch.system.folders import SEARCHED, digest_of, drafted, free_place
from profilesearch.system.naming import safe_name

DESCRIPTION = """\
Search a layer-wise channel pruning profile and store it.

The profile says which fraction of its channels every group of layers keeps, so that the whole network
keeps a given part of its cost. It is searched by PPO (or another searcher) over a pool of trained models
of the architecture: a candidate is pruned for real, BatchNorm takes new statistics, and its accuracy on
held-out training images is its score. Test images are never looked at.

Every score goes to a ledger at once. A search that was stopped, even killed, goes on where it was when
the same command is given again."""
EPILOG = """\
examples:
  profilesearch train --arch resnet56
  profilesearch train --arch resnet56 --data cifar10 --checkpoint a.th b.safetensors --keep 0.3
  profilesearch train --arch resnet20 --data cifar10 cifar100 --seeds 0 1 2 --evaluations 1000

files:
  profiles/ARCH/NAME.json   the profile, with how it was found
  runs/ARCH/NAME/           profile.png, search.png, history.csv, result.json
  runs/ledger.jsonl         every score ever measured; may be deleted, at the price of measuring again"""


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    made = parser_for("train", DESCRIPTION, EPILOG)
    add_pool_options(made)
    add_normalization_options(made)
    add_search_options(made)
    made.add_argument("--searcher", default="ppo", metavar="NAME", help=f"one of {', '.join(searcher_names())}")
    made.add_argument(
        "--storage",
        metavar="URL",
        help="of Optuna, for tpe and cmaes: sqlite:///FILE, a database's URL, or a journal's FILE; the same command on "
        "any number of machines then shares one search",
    )
    made.add_argument("--tensorboard", type=Path, metavar="DIR", help="write curves there while it runs (an extra)")
    made.add_argument("--store", type=Path, default=Path("profiles"), metavar="DIR", help="where profiles are kept")
    made.add_argument("--name", metavar="NAME", help="of the stored profile (default: from budget, data and searcher)")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    options = parser().parse_args(arguments)
    output = Output.of(options)
    make_searcher(options.searcher, options.storage)
    check_rival(options.searcher, budget_of(options))
    check_tensorboard(options.tensorboard)
    for folder in (options.store, *filter(None, [options.tensorboard])):
        check_writable(folder)
    workspace = Workspace(options, output)
    for each in (folder_name(options.arch), *([] if options.name is None else [options.name])):
        check_name(each)
    workspace.check_budget()
    name = options.name or default_name(options, workspace.names)
    with workspace.engine() as engine:
        problem = workspace.problem(workspace.pool(), engine)
        state_pool(output, problem, workspace.data)
        _search(problem, options, name, output)


def _search(problem: Problem, options: argparse.Namespace, name: str, output: Output) -> None:
    """Searches, stores the profile, and shows what was found."""
    searcher, what = make_searcher(options.searcher, options.storage), f"searching with {options.searcher}"
    with output.search_progress(what, options.evaluations) as move, Curves(options.tensorboard, output.say) as curves:
        result = searcher.search(problem, options.evaluations, options.seed, curves.watch(move))
        curves.finish(result)
    found = describe(problem, result)
    widths = result.winner.evaluation.widths
    profile = problem.space.profile(widths, found)
    path = store_safely(profile, name, options.store, options.runs)
    try:
        folder = save_run(options.runs / folder_name(options.arch) / path.stem, problem, result, profile)
    except UsageError as error:
        raise UsageError(f"{error}; the profile is stored in {path}") from error
    show(output, problem, result, found)
    output.say(f"stored {path}\npictures and history in {folder}")
    output.result({"profile": str(path), "run": str(folder), "reached": profile.reached, **found})


def store_safely(profile: Profile, name: str, store: Path, runs: Path) -> Path:
    """Stores a profile; what a search has found is kept elsewhere if that fails.

    Args:
        profile: What to store.
        name: Of the file.
        store: Folder where profiles are kept.
        runs: Where it is kept instead; else among the system's temporary files.

    Returns:
        The file in the store.

    Raises:
        UsageError: The store cannot be written; the message says where the profile is.
    """
    try:
        return Store(store).add(profile, name)
    except UsageError as error:
        for folder in (runs, Path(tempfile.gettempdir()) / "profilesearch"):
            try:
                path = Store(folder).add(profile, name)
            except UsageError:
                continue
            raise UsageError(f"{error}; the profile is kept in {path}, move it from there") from error
        raise UsageError(f"{error}; then give the same command again, every score is in the ledger") from error


def default_name(options: argparse.Namespace, data: Sequence[str]) -> str:
    """Names a profile after its budget, data, searcher and seed."""
    return safe_name(f"{setting_name(options, data)}-{options.searcher}{options.evaluations}-seed{options.seed}")


def save_run(place: Path, problem: Problem, result: Result, profile: Profile) -> Path:
    """Writes pictures and the history of a search as one folder, and returns it; `place` if it is free."""
    about = {"problem": problem.digest, "keep": dict(profile.keep)}
    settings = digest_of(
        {**about, "searcher": result.searcher, "evaluations": len(result.history), "seed": result.seed}
    )
    folder = free_place(place, settings, SEARCHED)
    with drafted(folder, SEARCHED, settings) as draft:
        _fill(draft.folder, problem, result, profile, place.name)
        draft.seal(_value(problem, result, profile))
    return folder


def _fill(folder: Path, problem: Problem, result: Result, profile: Profile, name: str) -> None:
    table = problem.space.table
    title = f"{profile.architecture} {name}: {reached_text(profile)}"
    widths = result.winner.evaluation.widths
    save_figure(profile_figure(table.names, table.channels, widths, title), folder / "profile.png")
    policies = [(i + 1, e.fitness) for i, e in enumerate(result.history) if e.is_policy]
    curves = {result.searcher: [result.best_so_far().tolist()]}
    save_figure(search_figure(curves, {result.searcher: policies} if policies else {}), folder / "search.png")
    lines = [",".join(["evaluation", "fitness", "own_cost", "is_policy", *table.names])]
    for number, e in enumerate(result.history, 1):
        numbers = [number, round(e.fitness, 6), round(e.own_cost, 6), int(e.is_policy), *e.widths.tolist()]
        lines.append(",".join(map(str, numbers)))
    write_text(folder / "history.csv", "\n".join(lines) + "\n")


def _value(problem: Problem, result: Result, profile: Profile) -> dict[str, Any]:
    table = problem.space.table
    finalists = [
        {
            "search": f.evaluation.fitness,
            "choose": f.choose,
            "fresh": f.fresh,
            "own_cost": f.evaluation.own_cost,
            "is_policy": f.evaluation.is_policy,
            "origin": f.origin,
            "widths": f.evaluation.widths.tolist(),
        }
        for f in result.finalists
    ]
    return {
        "searcher": result.searcher,
        "seed": result.seed,
        "finalists": finalists,
        "groups": dict(zip(table.names, table.channels.tolist(), strict=True)),
        "profile": profile.to_json(),
    }


def show(output: Output, problem: Problem, result: Result, found: dict[str, Any]) -> None:
    """Prints the result table."""
    space, score = problem.space, found["score"]

    def row(name: str, search: float, fresh: float, widths: IntArray, own_cost: float | None = None) -> list[str]:
        own = "" if own_cost is None else f"{own_cost:.2%}"
        costs = f"{space.relative(widths):.2%}", space.params_text(widths)
        return [name, f"{search:.3f}", f"{fresh:.3f}", *costs, own]

    rows = [row("unpruned", 1, 1, space.table.channels)]
    for name, widths in rivals_of(space).items():
        rows.append(row(name, score[f"{name}_search"], score[f"{name}_fresh"], widths))
    named = [("the policy's own", result.policy)] if result.policy is not None else []
    for name, finalist in [*named, (f"stored, from the {found['chosen']}", result.winner)]:
        evaluation = finalist.evaluation
        rows.append(row(name, evaluation.fitness, finalist.fresh, evaluation.widths, evaluation.own_cost))
    head = ["profile", "search images", "fresh images", f"of the {space.budget.metric}", "parameters", "unprojected"]
    what = SHOWN[problem.settings.measure]
    output.table(f"{what} relative to the unpruned models, mean of the pool; fresh images chose nothing", head, rows)
    if result.kept_rival:
        output.say(
            f"what is stored is the {found['chosen']} profile, which needs no search: none of {found['evaluations']} "
            f"that {result.searcher} tried held up better on other images"
        )


if __name__ == "__main__":
    run(main)
