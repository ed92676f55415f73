"""How measurements are taken: each is a pure function of the models, the images and the job."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import cast

import torch

from agents import SEARCHERS, PpoSearcher, PpoSettings, Result, Searcher, search_family
from profilesearch.networks.groups import IntArray
from profilesearch.profiles import Budget
from profilesearch.research.study.cutting import data_of
from profilesearch.research.study.jobs import (
    FamilySearch,
    Found,
    FoundFamily,
    Score,
    Search,
    Sources,
)
from profilesearch.research.study.rivals import elastic_member, elastic_of, score_tuned
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.scoring.unseen import TestProblem
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member
from profilesearch.tasks.splits import Part


def run_scores(sources: Sources, jobs: Sequence[Score]) -> list[float]:
    """Measures scores that differ in nothing but the profile."""
    first = jobs[0]
    if first.steps:
        return [score_tuned(sources, job) for job in jobs]
    problem = _score_problem(sources, replace(first, widths=()))
    return [problem(torch.tensor(job.widths).numpy()) for job in jobs]


def run_search(sources: Sources, job: Search) -> Found:
    """Runs a search on search images, with the winner chosen on others and scored on fresh ones."""
    problem = _pool_problem(sources, job.pool, job.keep, job.images)
    return _found(_searcher(job).search(problem, job.evaluations, job.seed))


def run_family(sources: Sources, job: FamilySearch) -> FoundFamily:
    """Trains one policy for a range of budgets."""
    problem = _pool_problem(sources, job.pool, job.keeps[0], job.images)
    family = search_family(problem, job.evaluations, job.seed)
    finished = [family.finished(problem.with_budget(Budget("macs", keep)).space) for keep in job.keeps]
    widths = tuple(tuple(map(int, each.widths[0])) for each in finished)
    return FoundFamily(widths, tuple(float(each.own_cost[0]) for each in finished))


def _pool_problem(sources: Sources, pool: Sequence[str], keep: float, images: int) -> Problem:
    members = [sources.member(name) for name in pool]
    data = {member.data: data_of(sources, member) for member in members}
    ledger = Ledger(sources.work / f"{sources.architecture}.ledger.jsonl")
    settings = replace(default_settings(images), precision=sources.precision)
    return Problem(members, data, Budget("macs", keep), settings, ledger, device=torch.device(sources.device))


def _searcher(job: Search) -> Searcher:
    if job.searcher == "ppo":
        return PpoSearcher(replace(PpoSettings(), target_weight=job.target_weight))
    return SEARCHERS[job.searcher]()


def _found(result: Result) -> Found:
    winner = result.winner
    last = [evaluation for evaluation in result.history if evaluation.is_policy]
    return Found(
        widths=tuple(winner.evaluation.widths.tolist()),
        search=winner.evaluation.fitness,
        choose=winner.choose,
        fresh=winner.fresh,
        policy=tuple(result.policy.evaluation.widths.tolist()) if result.policy else (),
        own_cost=last[-1].own_cost if last else winner.evaluation.own_cost,
        curve=tuple((e.fitness, e.own_cost, int(e.is_policy)) for e in result.history),
    )


@cache
def _score_problem(sources: Sources, like: Score) -> Callable[[IntArray], float]:
    problem, member, data = _problem_of(sources, elastic_of(like))
    settings = replace(
        default_settings(like.images, like.criterion), statistics=like.statistics, precision=sources.precision,
        measure=like.measure, refit=like.refit != "none",
    )  # fmt: skip
    if like.part == "test":
        return TestProblem(member, data, problem.space.table, settings, Ledger(), torch.device(sources.device)).score
    problem = problem.with_settings(settings)
    part = cast(Part, like.part)
    return lambda widths: float(problem.evaluate(widths[None], part)[0, 0])


@cache
def _problem_of(sources: Sources, like: Score) -> tuple[Problem, Member, DataSet]:
    member = elastic_member(sources, like) if like.elastic else sources.member(like.model)
    data = data_of(sources, member)
    device = torch.device(sources.device)
    problem = Problem([member], {data.name: data}, Budget("macs", 0.9), default_settings(), Ledger(), device=device)
    return problem, member, data
