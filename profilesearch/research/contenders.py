"""The table of a comparison: every contender on the test images of models that no search saw."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from agents import Result
from profilesearch.cli.console import Output
from profilesearch.measure.intervals import mean_interval
from profilesearch.measure.reaching import rows_off
from profilesearch.measure.speed import BATCHES, TIMES, measure_speed, time_texts
from profilesearch.networks.groups import IntArray
from profilesearch.networks.latency import LatencyModel
from profilesearch.networks.names import CONTENDERS
from profilesearch.networks.rivals import rivals_of
from profilesearch.networks.space import ProfileSpace
from profilesearch.scoring.names import SHOWN
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.unseen import TestProblem
from profilesearch.tasks.pools import Member


def table_rows(
    problem: Problem,
    tests: Sequence[TestProblem],
    results: Mapping[str, Sequence[Result]],
    profiles: Mapping[str, IntArray],
    sample: IntArray,
    output: Output,
) -> list[dict[str, Any]]:
    """Scores all winners on the test images of all targets; accuracies are averaged over the targets.

    Of each row, the profile of middle accuracy is timed on the first target, beside the unpruned network.

    Args:
        problem: That was solved.
        tests: The targets.
        results: The searches, by searcher.
        profiles: Stored ones, by name, shape (G,).
        sample: Random profiles, shape (N, G).
        output: Shows how far it is.
    """
    space = problem.space
    winners = {name: [run.winner.evaluation.widths for run in runs] for name, runs in results.items()}
    policies = [run.policy.evaluation for run in results.get("ppo", ()) if run.policy is not None]
    entries = {"unpruned": [space.table.channels], **{name: [widths] for name, widths in rivals_of(space).items()}}
    entries["random, median"] = list(sample)
    if policies:
        entries["ppo, the policy's own"] = [policy.widths for policy in policies]
    entries |= winners | {f"stored {name}": [widths] for name, widths in profiles.items()}
    rows: list[dict[str, Any]] = []
    networks: list[nn.Module] = []
    with output.progress("scoring on test images", sum(map(len, entries.values()))) as move:
        done, total = 0, sum(map(len, entries.values()))
        for name, candidates in entries.items():
            accuracies = []
            for widths in candidates:
                accuracies.append(float(np.mean([test.score(widths) for test in tests])))
                done += 1
                move(done, total, name)
            rows.append(_row(name, candidates, accuracies, problem, results.get(name, ())))
            middle = np.argsort(accuracies)[len(accuracies) // 2]
            networks.append(tests[0].pruned(candidates[middle]))
    with output.progress("timing the networks") as move:
        speeds = measure_speed(networks, tests[0].image_shape, move)
    for row, speed in zip(rows, speeds, strict=True):
        row["time"] = {str(batch): speed.part(speeds[0], batch) for batch in BATCHES}
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


def show(output: Output, rows: Sequence[Mapping[str, Any]], problem: Problem, targets: Sequence[Member]) -> None:
    """Prints the table of a comparison, and what its columns are."""
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
        costs += time_texts(row)
        cells.append([row["name"], str(row["evaluations"] or ""), *relative, *costs, accuracy])
    priced = ["ms for 1 image"] if isinstance(problem.space.cost, LatencyModel) else []
    head = ["profile", "evaluations", "search", "fresh", problem.space.budget.metric, "parameters", *priced]
    head += [*TIMES, "test images, not fine-tuned"]
    names = ", ".join(f"{target.name} ({target.data})" for target in targets)
    output.table(f"searchers on {names}, not seen by any search", head, cells)
    output.say(
        f"search, fresh: {SHOWN[problem.settings.measure]} relative to the unpruned pool, on held-out images that the "
        "search used, and on fresh ones, which did not choose its winner either; ±: 95 % interval over repeats; in "
        "brackets: where 95 % of random profiles lie"
    )
    reached = {row["name"]: (row["cost"], row["params_share"]) for row in rows if row["name"] != "unpruned"}
    if said := rows_off(problem.space.budget, reached):
        output.say(said)
    for row in rows:
        kept = [f"{row['origins'].count(name)} with {name}" for name in CONTENDERS if name in row.get("origins", ())]
        if kept:
            output.say(
                f"of {len(row['origins'])} searches by {row['name']}, some ended with what needs none "
                f"({', '.join(kept)}): nothing that they found held up better on other images"
            )
