"""`profilesearch compare`: searchers at equal cost and equal evaluations, on models that they did not see."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agents import Result, TaperSearcher, searcher_kind, searcher_names
from profilesearch.cli import ranges
from profilesearch.cli.baseline import state, state_pool
from profilesearch.cli.console import Output, parser_for, run
from profilesearch.cli.options import add_normalization_options, add_pool_options, add_search_options, setting_name
from profilesearch.cli.workspace import Workspace
from profilesearch.errors import UsageError, choose
from profilesearch.measure.intervals import mean_interval
from profilesearch.networks.architectures import folder_name
from profilesearch.networks.groups import IntArray
from profilesearch.networks.latency import LatencyModel
from profilesearch.networks.rivals import CONTENDERS, rivals_of
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Profile
from profilesearch.reporting.plots import save_figure, search_figure
from profilesearch.scoring.engines import Engine
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.measures import SHOWN
from profilesearch.scoring.problem import Problem, TestProblem
from profilesearch.system.folders import SEARCHED, digest_of, drafted, free_place
from profilesearch.system.naming import safe_name
from profilesearch.tasks.hardware import open_device
from profilesearch.tasks.pools import Member, check_unseen

DESCRIPTION = """\
Compare searchers at equal cost and equal evaluations, on models that the search did not see.

Every searcher gets the same pool, budget and number of evaluations, and has its best profiles scored again
on other images. The winners are then scored, without fine-tuning, on all test images of the target models.
The table also has the unpruned model, the profiles that need no search (uniform, widest, and taper, whose
slope the pool chooses) and the median of random profiles, each with its parameters.

Searches are shared with `train` through the ledger: what was scored once is not scored again."""
EPILOG = """\
examples:
  profilesearch compare --arch resnet56
  profilesearch compare --arch resnet56 --data cifar10 --checkpoint a.th b.safetensors --target c.safetensors
  profilesearch compare --arch resnet20 --searchers ppo random tpe cmaes --evaluations 1000 --repeats 3
  profilesearch compare --arch resnet56 --profile profiles/resnet56/mine.json --searchers random

files:
  runs/ARCH/compare-SETTINGS/   curves.png, result.json"""


_ALWAYS = (*CONTENDERS, TaperSearcher.name)
"""In every table, asked for or not."""


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    made = parser_for("compare", DESCRIPTION, EPILOG)
    add_pool_options(made)
    add_normalization_options(made)
    add_search_options(made)
    group = made.add_argument_group("comparison")
    group.add_argument(
        "--target",
        nargs="+",
        default=[],
        metavar="FILE",
        help="models that the search does not see, as for --checkpoint (default: one more trained member)",
    )
    group.add_argument(
        "--searchers",
        nargs="+",
        default=["ppo", "random", "exhaustive", "tpe", "cmaes"],
        metavar="NAME",
        help=f"any of {', '.join(searcher_names())}",
    )
    group.add_argument("--profile", nargs="+", type=Path, default=[], metavar="FILE", help="stored profiles to include")
    group.add_argument(
        "--repeats", type=ranges.whole(1, 10**6), default=1, metavar="N", help="searches of each, from --seed upwards"
    )
    group.add_argument(
        "--random-sample",
        type=ranges.whole(1, 10**6),
        default=20,
        metavar="N",
        help="random profiles behind the median",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    options = parser().parse_args(arguments)
    output = Output.of(options)
    asked = [choose("searcher", name, searcher_names()) for name in options.searchers]
    names = [*(name for name in asked if name not in _ALWAYS), TaperSearcher.name]
    stored = {str(path): Profile.load(path) for path in options.profile}
    workspace = Workspace(options, output)
    workspace.check_budget()
    if options.checkpoint and not options.target:
        raise UsageError("name models that the search does not see with --target FILE")
    targets = workspace.foreign(options.target)
    with workspace.engine() as engine:
        _compare(names, stored, targets, engine, options, workspace, output)


def _compare(
    names: Sequence[str],
    stored: Mapping[str, Profile],
    given: Sequence[Member],
    engine: Engine,
    options: argparse.Namespace,
    workspace: Workspace,
    output: Output,
) -> None:
    """Searches with every searcher, and scores the winners on the targets."""
    pool = workspace.pool()
    problem = workspace.problem(pool, engine)
    stems = [Path(file).stem for file in stored]
    profiles = {
        stem if stems.count(stem) == 1 else file: _stored_widths(problem, profile)
        for stem, (file, profile) in zip(stems, stored.items(), strict=True)
    }
    targets = _targets(given, options, workspace, pool)
    state_pool(output, problem, workspace.data)
    ledger = Ledger(options.runs / "ledger.jsonl")
    table, device = problem.space.table, open_device(options.device)
    judged = replace(problem.settings, measure="accuracy")
    tests = [TestProblem(t, workspace.data(t.data), table, judged, ledger, device) for t in targets]
    for target, test in zip(targets, tests, strict=True):
        data = workspace.data(target.data)
        state(output, target, test.score(table.channels), data.test, "test", data)
    results = {name: _searches(name, problem, options, output) for name in names}
    rows = _rows(problem, tests, results, profiles, options, output)
    curves = {name: [run.best_so_far().round(6).tolist() for run in runs] for name, runs in results.items()}
    report = {
        "architecture": options.arch,
        "budget": problem.space.budget.to_json(),
        "pool": [member.name for member in pool],
        "targets": [{"name": t.name, "data": t.data, "trained_on": t.trained_on} for t in targets],
        "rows": rows,
        "curves": curves,
    }
    name = safe_name(f"compare-{setting_name(options, workspace.names)}-{options.evaluations}-seed{options.seed}")
    settings = _settings(options, problem, tests, profiles)
    folder = free_place(options.runs / folder_name(options.arch) / name, settings, SEARCHED)
    with drafted(folder, SEARCHED, settings) as draft:
        save_figure(search_figure(curves, {}), draft.folder / "curves.png")
        report = draft.seal(report)
    _show(output, rows, problem, targets)
    output.say(f"curves and numbers in {folder}")
    output.result({**report, "run": str(folder)})


def _settings(
    options: argparse.Namespace, problem: Problem, tests: Sequence[TestProblem], profiles: Mapping[str, IntArray]
) -> str:
    """Names a comparison by what it depends on."""
    names = ("searchers", "evaluations", "repeats", "random_sample", "seed")
    return digest_of({
        **{name: getattr(options, name) for name in names},
        "problem": problem.digest,
        "targets": [test.digest for test in tests],
        "profiles": {name: widths.tolist() for name, widths in profiles.items()},
    })  # fmt: skip


def _targets(
    given: Sequence[Member], options: argparse.Namespace, workspace: Workspace, pool: Sequence[Member]
) -> list[Member]:
    """Returns the target models; one that the pool holds as well is refused."""
    targets = list(given)
    if not targets:
        targets = [workspace.trained(name, max(options.seeds) + 1) for name in workspace.names]
    check_unseen(targets, pool)
    return targets


def _stored_widths(problem: Problem, profile: Profile) -> IntArray:
    space = problem.space
    widths = space.widths(space.table.ratios(profile))
    budget, params = space.budget, space.relative_params(widths)
    off = [float(space.relative(widths)) / budget.keep - 1, params / (budget.keep_params or params) - 1]
    if max(map(abs, off)) > 0.01:
        raise UsageError(
            f"the stored profile costs {space.relative(widths):.1%} of the {budget.metric} and {params:.1%} of the "
            f"params, the comparison is at {budget.text}; give the same --keep, --keep-params and --metric"
        )
    return widths


def _searches(name: str, problem: Problem, options: argparse.Namespace, output: Output) -> list[Result]:
    runs = []
    for seed in range(options.seed, options.seed + options.repeats):
        with output.search_progress(f"{name}, seed {seed}", options.evaluations) as move:
            runs.append(searcher_kind(name)().search(problem, options.evaluations, seed, move))
    return runs


def _rows(
    problem: Problem,
    tests: Sequence[TestProblem],
    results: Mapping[str, Sequence[Result]],
    profiles: Mapping[str, IntArray],
    options: argparse.Namespace,
    output: Output,
) -> list[dict[str, Any]]:
    """Scores all winners on the test images of all targets; accuracies are averaged over the targets."""
    space = problem.space
    sample = space.sample(options.random_sample, np.random.default_rng([options.seed, 1]))
    winners = {name: [run.winner.evaluation.widths for run in runs] for name, runs in results.items()}
    policies = [run.policy.evaluation for run in results.get("ppo", ()) if run.policy is not None]
    entries = {"unpruned": [space.table.channels], **{name: [widths] for name, widths in rivals_of(space).items()}}
    entries["random, median"] = list(sample)
    if policies:
        entries["ppo, the policy's own"] = [policy.widths for policy in policies]
    entries |= winners | {f"stored {name}": [widths] for name, widths in profiles.items()}
    rows: list[dict[str, Any]] = []
    with output.progress("scoring on test images", sum(map(len, entries.values()))) as move:
        done, total = 0, sum(map(len, entries.values()))
        for name, candidates in entries.items():
            accuracies = []
            for widths in candidates:
                accuracies.append(float(np.mean([test.score(widths) for test in tests])))
                done += 1
                move(done, total, name)
            rows.append(_row(name, candidates, accuracies, problem, results.get(name, ())))
    return rows


def _row(
    name: str, candidates: Sequence[IntArray], accuracies: Sequence[float], problem: Problem, runs: Sequence[Result]
) -> dict[str, Any]:
    mean, half = mean_interval(accuracies)
    row: dict[str, Any] = {
        "name": name,
        "evaluations": max((len(run.history) for run in runs), default=None),
        **_costs(problem.space, np.array(candidates)),
        "test_accuracy": mean,
        "interval": None if np.isnan(half) else half,
        "runs": list(accuracies),
    }
    if name == "random, median":
        low, middle, high = np.quantile(accuracies, [0.025, 0.5, 0.975])
        row |= {"test_accuracy": float(middle), "interval": None, "range": [float(low), float(high)]}
    if runs:
        row["search"] = float(np.mean([run.winner.evaluation.fitness for run in runs]))
        row["fresh"] = float(np.mean([run.winner.fresh for run in runs]))
        row["own_cost"] = float(np.mean([run.winner.evaluation.own_cost for run in runs]))
        row["origins"] = [run.winner.origin for run in runs]
    return row


def _costs(space: ProfileSpace, widths: IntArray) -> dict[str, float]:
    """Returns what profiles (N, G) cost on average: in the budget's metric, parameters, and latency where priced."""
    costs = {"cost": space.relative(widths), "params": space.cost.params(widths)}
    costs["params_share"] = space.cost.relative(widths, "params")
    if isinstance(space.cost, LatencyModel):
        costs["latency_ms"] = space.cost.cost(widths, "latency") / 1e6
    return {name: float(np.mean(values)) for name, values in costs.items()}


def _show(output: Output, rows: Sequence[Mapping[str, Any]], problem: Problem, targets: Sequence[Member]) -> None:
    cells = []
    for row in rows:
        accuracy = f"{row['test_accuracy']:.2%}"
        if row["interval"] is not None:
            accuracy += f" ± {row['interval'] * 100:.2f}"
        if "range" in row:
            accuracy += f" ({row['range'][0]:.1%} to {row['range'][1]:.1%})"
        relative = [f"{row[key]:.3f}" if key in row else "" for key in ("search", "fresh")]
        costs = [f"{row['cost']:.2%}", f"{row['params'] / 1e3:.1f} k ({row['params_share']:.1%})"]
        costs += [f"{row['latency_ms']:.3f}"] if "latency_ms" in row else []
        cells.append([row["name"], str(row["evaluations"] or ""), *relative, *costs, accuracy])
    priced = ["ms for 1 image"] if isinstance(problem.space.cost, LatencyModel) else []
    head = ["profile", "evaluations", "search", "fresh", problem.space.budget.metric, "parameters", *priced]
    head.append("test images, not fine-tuned")
    names = ", ".join(f"{target.name} ({target.data})" for target in targets)
    output.table(f"searchers on {names}, not seen by any search", head, cells)
    output.say(
        f"search, fresh: {SHOWN[problem.settings.measure]} relative to the unpruned pool, on held-out images that the "
        "search used, and on fresh ones, which did not choose its winner either; ±: 95 % interval over repeats; in "
        "brackets: where 95 % of random profiles lie"
    )
    for row in rows:
        kept = [f"{row['origins'].count(name)} with {name}" for name in CONTENDERS if name in row.get("origins", ())]
        if kept:
            output.say(
                f"of {len(row['origins'])} searches by {row['name']}, some ended with what needs none "
                f"({', '.join(kept)}): nothing that they found held up better on other images"
            )


if __name__ == "__main__":
    run(main)
