"""What every searcher must do, as one class of tests: yours passes it too.

    import pytest
    from profilesearch.testing import SearcherBehaviour

    class TestMine(SearcherBehaviour):
        @pytest.fixture
        def searcher(self):
            return MySearcher()

The problem is a small network on real images, trained in seconds. Needs pytest. A package registers its searchers as
entry points of the group `profilesearch.searchers`; commands then know them by name.
"""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from agents import Result, Searcher
from agents.base import FINALISTS
from envs.embedded import embedded_problem
from profilesearch.errors import UsageError
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem

EVALUATIONS = 24
"""Of the searches."""
Make = Callable[[Ledger], Problem]
"""Returns the problem with a ledger of its own."""


class Interrupted(Exception):  # noqa: N818
    """Stands for a kill."""


class SearcherBehaviour:
    """Tests of one searcher, which is given as the fixture `searcher`."""

    def uses_all(self, searcher: Searcher) -> bool:
        """Says whether the searcher has a proposal for every evaluation that it is allowed."""
        return True

    ledger: ClassVar[Ledger] = Ledger()
    """Of most tests, so that a profile is scored once."""

    @pytest.fixture
    def make_problem(self) -> Make:
        """Returns what makes the problem; another one may be given."""
        return embedded_problem().with_ledger

    @pytest.fixture
    def given_problem(self, make_problem: Make) -> Problem:
        """Returns the problem that most tests share."""
        return make_problem(self.ledger)

    @pytest.fixture
    def result(self, searcher: Searcher, given_problem: Problem) -> Result:
        """Returns what the searcher finds."""
        return searcher.search(given_problem, EVALUATIONS, seed=3)

    def test_uses_its_evaluations_on_the_budget_surface(
        self, searcher: Searcher, given_problem: Problem, result: Result
    ) -> None:
        assert 1 <= len(result.history) <= EVALUATIONS
        if self.uses_all(searcher):
            assert len(result.history) == EVALUATIONS
        for evaluation in result.history:
            assert given_problem.space.relative(evaluation.widths) == pytest.approx(0.5, rel=0.005)
            assert (evaluation.widths >= 1).all()
            assert (evaluation.widths <= given_problem.space.table.channels).all()

    def test_same_seed_same_result(self, searcher: Searcher, given_problem: Problem, result: Result) -> None:
        again = searcher.search(given_problem, EVALUATIONS, seed=3)
        assert len(again.history) == len(result.history)
        for one, two in zip(again.history, result.history, strict=True):
            assert np.array_equal(one.widths, two.widths)
            assert (one.fitness, one.own_cost) == (two.fitness, two.own_cost)
        assert np.array_equal(again.winner.evaluation.widths, result.winner.evaluation.widths)

    def test_a_seed_without_influence_has_none(
        self, searcher: Searcher, given_problem: Problem, result: Result
    ) -> None:
        if not searcher.seeded:
            other = searcher.search(given_problem, EVALUATIONS, seed=4)
            assert [one.widths.tolist() for one in other.history] == [one.widths.tolist() for one in result.history]

    def test_an_interrupted_search_replays_and_ends_the_same(
        self, searcher: Searcher, make_problem: Make, result: Result, tmp_path: Path
    ) -> None:
        path = tmp_path / "ledger.jsonl"
        stop = max(1, len(result.history) // 2)

        def interrupt(done: int, total: int, best: float) -> None:
            if done == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            searcher.search(make_problem(Ledger(path)), EVALUATIONS, 3, interrupt)
        before = len(Ledger(path))
        resumed = searcher.search(make_problem(Ledger(path)), EVALUATIONS, 3)
        assert np.array_equal(resumed.winner.evaluation.widths, result.winner.evaluation.widths)
        lines = path.read_text().splitlines()
        assert len({line.split('"')[3] for line in lines[1:]}) == len(lines) - 1  # no score was measured twice
        assert before > 0

    def test_reports_best_so_far(self, searcher: Searcher, given_problem: Problem) -> None:
        seen: list[tuple[int, int, float]] = []
        result = searcher.search(given_problem, 20, 3, lambda *progress: seen.append(progress))
        assert [done for done, _, _ in seen] == list(range(1, len(result.history) + 1))
        assert [best for _, _, best in seen] == result.best_so_far().tolist()

    def test_winner_is_chosen_on_some_images_and_scored_on_others(self, given_problem: Problem, result: Result) -> None:
        assert 1 <= len(result.finalists) <= FINALISTS
        assert result.winner.choose == max(finalist.choose for finalist in result.finalists)
        for part in ("choose", "fresh"):
            accuracies = given_problem.evaluate(result.winner.evaluation.widths[None], part)
            assert getattr(result.winner, part) == pytest.approx(float(given_problem.fitness(accuracies, part)[0]))

    @pytest.mark.parametrize("evaluations", [1, 2])
    def test_works_with_hardly_any_evaluation(
        self, searcher: Searcher, given_problem: Problem, evaluations: int
    ) -> None:
        assert 1 <= len(searcher.search(given_problem, evaluations, 0).history) <= evaluations

    def test_refuses_no_evaluation(self, searcher: Searcher, given_problem: Problem) -> None:
        with pytest.raises(UsageError, match="evaluations must be a whole number, 1 or more"):
            searcher.search(given_problem, 0, 0)
