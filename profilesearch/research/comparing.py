"""Searchers at equal cost and equal evaluations, on models that they did not see: what `compare` does."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from agents import PpoSearcher, Result, make_searcher, searcher_kind
from profilesearch.asked import given_profile
from profilesearch.cli.baseline import state, state_pool
from profilesearch.cli.console import Output
from profilesearch.cli.hyperparameters import ppo_settings
from profilesearch.cli.workspace import Workspace
from profilesearch.errors import UsageError
from profilesearch.networks.groups import IntArray
from profilesearch.networks.names import CONTENDERS, TAPER, folder_name
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Profile
from profilesearch.reporting.plots import save_figure, search_figure
from profilesearch.research.calling import setting_name
from profilesearch.research.contenders import show, table_rows
from profilesearch.research.settings import Comparing
from profilesearch.scoring.engines import Engine, open_engine
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.unseen import TestProblem
from profilesearch.system.folders import SEARCHED, digest_of, drafted, free_place
from profilesearch.system.naming import safe_name
from profilesearch.tasks.hardware import open_device
from profilesearch.tasks.pools import Member, check_unseen

_ALWAYS = (*CONTENDERS, TAPER)
"""In every table, asked for or not."""


def compare(settings: Comparing) -> None:
    """Does what `compare` is told.

    Raises:
        UsageError: Something does not fit together.
    """
    output = Output.of(settings)
    names = [*(name for name in settings.searchers if name not in _ALWAYS), TAPER]
    learning = [name for name in names if _is_ppo(name)]  # imports those of other packages, which may be broken
    if settings.ppo and not learning:
        raise UsageError("--ppo is for searchers by PPO, and none of --searchers is one")
    stored = {str(path): given_profile(path, Path("profiles")) for path in settings.profile}
    workspace = Workspace(settings, output)
    space = workspace.check_budget(settings)
    for profile in stored.values():
        _stored_widths(space, profile)  # before anything is trained: one may be off the budget
    settings = replace(settings, multiple_of=space.multiple)
    targets = workspace.foreign(settings.target)
    with open_engine(settings.engine, settings.workers, settings.address) as engine:
        search_all(names, stored, targets, engine, settings, workspace, output)


def search_all(
    names: Sequence[str],
    stored: Mapping[str, Profile],
    given: Sequence[Member],
    engine: Engine,
    settings: Comparing,
    workspace: Workspace,
    output: Output,
) -> None:
    """Searches with every searcher, scores the winners on the targets, and writes the comparison.

    Args:
        names: Of the searchers.
        stored: Profiles to include, by their files.
        given: Targets that were named; without any, more members are trained.
        engine: Scores profiles.
        settings: Of the command.
        workspace: Its models and images.
        output: For people.

    Raises:
        UsageError: A target is in the pool, or a stored profile is off the budget.
    """
    pool = workspace.pool(settings)
    problem = workspace.problem(pool, engine, settings)
    stems = [Path(file).stem for file in stored]
    profiles = {
        stem if stems.count(stem) == 1 else file: _stored_widths(problem.space, profile)
        for stem, (file, profile) in zip(stems, stored.items(), strict=True)
    }
    targets = _targets(given, settings, workspace, pool)
    state_pool(output, problem, workspace.data)
    ledger = Ledger(settings.runs / "ledger.jsonl")
    table, device = problem.space.table, open_device(settings.device)
    judged = replace(problem.settings, measure="accuracy")
    tests = [TestProblem(t, workspace.data(t.data), table, judged, ledger, device) for t in targets]
    for target, test in zip(targets, tests, strict=True):
        data = workspace.data(target.data)
        state(output, target, test.score(table.channels), data.test, "test", data, test.image_shape[0])
    results = {name: _searches(name, problem, settings, output) for name in names}
    sample = problem.space.sample(settings.random_sample, np.random.default_rng([settings.seed, 1]))
    rows = table_rows(problem, tests, results, profiles, sample, output)
    curves = {name: [run.best_so_far().round(6).tolist() for run in runs] for name, runs in results.items()}
    report = {
        "architecture": settings.arch,
        "budget": problem.space.budget.to_json(),
        "pool": [member.name for member in pool],
        "targets": [{"name": t.name, "data": t.data, "trained_on": t.trained_on} for t in targets],
        "rows": rows,
        "curves": curves,
    }
    name = safe_name(f"compare-{setting_name(settings, workspace.names)}-{settings.evaluations}-seed{settings.seed}")
    digest = _digest(settings, problem, tests, profiles)
    folder = free_place(settings.runs / folder_name(settings.arch) / name, digest, SEARCHED)
    with drafted(folder, SEARCHED, digest) as draft:
        save_figure(search_figure(curves, {}), draft.folder / "curves.png")
        report = draft.seal(report)
    show(output, rows, problem, targets)
    output.say(f"curves and numbers in {folder}")
    output.result({**report, "run": str(folder)})


def _digest(
    settings: Comparing, problem: Problem, tests: Sequence[TestProblem], profiles: Mapping[str, IntArray]
) -> str:
    """Names a comparison by what it depends on."""
    names = ("searchers", "evaluations", "repeats", "random_sample", "seed")
    return digest_of({
        **{name: getattr(settings, name) for name in names},
        **({"ppo": ppo_settings(settings.ppo).changed()} if settings.ppo else {}),
        "problem": problem.digest,
        "targets": [test.digest for test in tests],
        "profiles": {name: widths.tolist() for name, widths in profiles.items()},
    })  # fmt: skip


def _targets(
    given: Sequence[Member], settings: Comparing, workspace: Workspace, pool: Sequence[Member]
) -> list[Member]:
    """Returns the target models; one that the pool holds as well is refused."""
    targets = list(given)
    if not targets:
        targets = [workspace.trained(name, max(settings.seeds) + 1) for name in workspace.names]
    check_unseen(targets, pool)
    return targets


def _stored_widths(space: ProfileSpace, profile: Profile) -> IntArray:
    """Returns the widths of a stored profile.

    Raises:
        UsageError: It is off the budget, or of another architecture.
    """
    widths = space.widths(space.table.ratios(profile))
    budget, params = space.budget, space.relative_params(widths)
    off = [float(space.relative(widths)) / budget.keep - 1, params / (budget.keep_params or params) - 1]
    if max(map(abs, off)) > 0.01:
        raise UsageError(
            f"the stored profile costs {space.relative(widths):.1%} of the {budget.metric} and {params:.1%} of the "
            f"params, the comparison is at {budget.text}; give the same --keep, --keep-params and --metric"
        )
    return widths


def _is_ppo(name: str) -> bool:
    """Says whether a searcher takes hyperparameters of PPO."""
    return issubclass(searcher_kind(name), PpoSearcher)


def _searches(name: str, problem: Problem, settings: Comparing, output: Output) -> list[Result]:
    ppo = ppo_settings(settings.ppo) if settings.ppo and _is_ppo(name) else None
    repeats = settings.repeats if searcher_kind(name).seeded else 1
    runs = []
    for seed in range(settings.seed, settings.seed + repeats):
        with output.search_progress(f"{name}, seed {seed}", settings.evaluations) as move:
            runs.append(make_searcher(name, ppo=ppo).search(problem, settings.evaluations, seed, move))
    return runs
