"""What every searcher must do, in one class; and what each does besides."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents import SEARCHERS, PpoSearcher, PpoSettings, Result, Searcher, search_family
from agents.base import FINALISTS
from agents.baselines import grid
from profilesearch.errors import UsageError
from profilesearch.profiles import Budget, Profile
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member

EVALUATIONS = 40


class Interrupted(Exception):  # noqa: N818
    """Stands for a kill."""


def make(members: list[Member], data: DataSet, ledger: Ledger) -> Problem:
    return Problem(members[:1], {data.name: data}, Budget("macs", 0.5), default_settings(), ledger)


@pytest.fixture(scope="module", params=SEARCHERS)
def searcher(request: pytest.FixtureRequest) -> Iterator[Searcher]:
    yield SEARCHERS[request.param]()


@pytest.fixture(scope="module")
def result(searcher: Searcher, problem: Problem) -> Result:
    return searcher.search(problem, EVALUATIONS, seed=3)


class TestEverySearcher:
    def test_uses_its_evaluations_on_the_budget_surface(
        self, searcher: Searcher, problem: Problem, result: Result
    ) -> None:
        assert 1 <= len(result.history) <= EVALUATIONS
        if searcher.name not in ("uniform", "widest", "taper", "exhaustive"):  # these have fewer to propose
            assert len(result.history) == EVALUATIONS
        for evaluation in result.history:
            assert problem.space.relative(evaluation.widths) == pytest.approx(0.5, rel=0.005)
            assert (evaluation.widths >= 1).all()
            assert (evaluation.widths <= problem.space.table.channels).all()

    def test_same_seed_same_result(self, searcher: Searcher, problem: Problem, result: Result) -> None:
        again = searcher.search(problem, EVALUATIONS, seed=3)
        assert len(again.history) == len(result.history)
        for one, two in zip(again.history, result.history, strict=True):
            assert np.array_equal(one.widths, two.widths)
            assert (one.fitness, one.own_cost) == (two.fitness, two.own_cost)
        assert np.array_equal(again.winner.evaluation.widths, result.winner.evaluation.widths)

    def test_an_interrupted_search_replays_and_ends_the_same(
        self, searcher: Searcher, members: list[Member], digits: DataSet, result: Result, tmp_path: Path
    ) -> None:
        path = tmp_path / "ledger.jsonl"
        stop = max(1, len(result.history) // 2)

        def interrupt(done: int, total: int, best: float) -> None:
            if done == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            searcher.search(make(members, digits, Ledger(path)), EVALUATIONS, 3, interrupt)
        before = len(Ledger(path))
        resumed = searcher.search(make(members, digits, Ledger(path)), EVALUATIONS, 3)
        assert np.array_equal(resumed.winner.evaluation.widths, result.winner.evaluation.widths)
        lines = path.read_text().splitlines()
        assert len({line.split('"')[3] for line in lines[1:]}) == len(lines) - 1  # no score was measured twice
        assert before > 0

    def test_reports_best_so_far(self, searcher: Searcher, problem: Problem) -> None:
        seen: list[tuple[int, int, float]] = []
        result = searcher.search(problem, 20, 3, lambda *progress: seen.append(progress))
        assert [done for done, _, _ in seen] == list(range(1, len(result.history) + 1))
        assert [best for _, _, best in seen] == result.best_so_far().tolist()

    def test_winner_is_chosen_on_some_images_and_scored_on_others(self, problem: Problem, result: Result) -> None:
        assert 1 <= len(result.finalists) <= FINALISTS
        assert result.winner.choose == max(finalist.choose for finalist in result.finalists)
        for part in ("choose", "fresh"):
            accuracies = problem.evaluate(result.winner.evaluation.widths[None], part)
            assert getattr(result.winner, part) == pytest.approx(float(problem.fitness(accuracies, part)[0]))

    @pytest.mark.parametrize("evaluations", [1, 2])
    def test_works_with_hardly_any_evaluation(self, searcher: Searcher, problem: Problem, evaluations: int) -> None:
        assert 1 <= len(searcher.search(problem, evaluations, 0).history) <= evaluations

    def test_refuses_no_evaluation(self, searcher: Searcher, problem: Problem) -> None:
        with pytest.raises(UsageError, match="at least 1 evaluation"):
            searcher.search(problem, 0, 0)


def test_ppo_marks_its_own_profiles_and_knows_its_unprojected_cost(problem: Problem) -> None:
    result = PpoSearcher().search(problem, 40, 0)
    policies = [evaluation for evaluation in result.history if evaluation.is_policy]
    assert policies
    assert result.policy is not None
    assert result.policy.evaluation in policies
    assert result.policy in result.finalists
    assert any(e.own_cost != problem.space.relative(e.widths) for e in result.history)


@pytest.mark.parametrize("wanted", [0.35, 0.65])
def test_ppo_learns_to_land_on_another_cost(problem: Problem, wanted: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing but a target term away from where it starts, the policy must move there."""
    monkeypatch.setattr("envs.vector.rewards", lambda problem, finished, *_, **__: -abs(finished.own_cost - wanted) * 4)
    quick = problem.with_settings(replace(problem.settings, images=4))  # what they score is not looked at
    result = PpoSearcher(PpoSettings(learning_rate=3e-3)).search(quick, 400, 0)
    last = [evaluation for evaluation in result.history if evaluation.is_policy][-1]
    assert last.own_cost == pytest.approx(wanted, abs=0.04)


def test_exhaustive_grid_is_finite_distinct_and_grows(problem: Problem) -> None:
    sizes = [len(grid(problem.space, most)) for most in (1, 10, 100, 1000)]
    assert sizes == sorted(sizes)
    assert all(size <= most for size, most in zip(sizes, (1, 10, 100, 1000), strict=True))
    assert sizes[-1] > 200
    profiles = grid(problem.space, 100)
    assert len(np.unique(profiles, axis=0)) == len(profiles)


def test_a_family_has_a_profile_on_every_budget(problem: Problem, tmp_path: Path) -> None:
    done: list[int] = []
    settings = PpoSettings(epochs=5)
    family = search_family(problem, 50, 0, settings=settings, progress=lambda now, *_: done.append(now))
    assert family.evaluations == 48  # whole updates of 8 episodes
    assert done == [8, 16, 24, 32, 40, 48]
    costs = []
    for keep in (0.3, 0.5, 0.8):
        space = problem.with_budget(Budget("macs", keep)).space
        finished = family.finished(space)
        profile = family.profile(space)
        profile.save(tmp_path / "profile.json")
        assert Profile.load(tmp_path / "profile.json").keep == pytest.approx(profile.keep, abs=1e-6)
        assert np.array_equal(space.widths(space.table.ratios(profile)), finished.widths[0])
        assert float(space.relative(finished.widths)[0]) == pytest.approx(keep, rel=0.005)
        costs.append(float(finished.own_cost[0]))
    assert costs == sorted(costs)
    again = search_family(problem, 50, 0, settings=settings).finished(problem.space)
    assert np.array_equal(again.widths, family.finished(problem.space).widths)
    with pytest.raises(UsageError, match="at least 8 evaluations"):
        search_family(problem, 7)
