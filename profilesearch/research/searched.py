"""What a search has found, where it is kept: the profile in the store, pictures and history in a folder of the run."""

import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents import Result
from agents.base import Evaluation
from profilesearch.errors import UsageError
from profilesearch.measure.reaching import reached_text
from profilesearch.profiles import Profile
from profilesearch.reporting.plots import profile_figure, save_figure, search_figure
from profilesearch.scoring.problem import Problem
from profilesearch.store import Store
from profilesearch.system.files import write_text
from profilesearch.system.folders import SEARCHED, digest_of, drafted, free_place


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


def save_run(place: Path, problem: Problem, result: Result, profile: Profile) -> Path:
    """Writes pictures and the history of a search as one folder, and returns it; `place` if it is free."""
    about = {"problem": problem.digest, "keep": dict(profile.keep), **result.changed}
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
    write_text(folder / "history.csv", history_text(table.names, result.history))


def history_text(names: Sequence[str], history: Sequence[Evaluation]) -> str:
    """Returns a search's evaluations as CSV, one a row; names of groups may have commas.

    Args:
        names: Of the groups, whose widths are the last columns.
        history: In the order of the search.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["evaluation", "fitness", "own_cost", "is_policy", *names])
    for number, e in enumerate(history, 1):
        rows.writerow([number, round(e.fitness, 6), round(e.own_cost, 6), int(e.is_policy), *e.widths.tolist()])
    return text.getvalue()


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
