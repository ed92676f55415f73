"""What every searcher must do, in one class; and what each does besides."""

import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agents import (
    SEARCHERS,
    PpoSearcher,
    PpoSensitivitySearcher,
    PpoSettings,
    Result,
    Searcher,
    make_searcher,
    pool_losses,
    search_family,
    searcher_names,
)  # fmt: skip
from agents.base import Trial
from agents.baselines import grid
from envs.policy import Policy
from profilesearch.errors import UsageError
from profilesearch.profiles import Budget, Profile
from profilesearch.research.comparing import compare
from profilesearch.research.settings import Comparing
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import Scorer, default_settings
from profilesearch.sensitivity import sensitive
from profilesearch.testing import EVALUATIONS, Make, SearcherBehaviour


def parameter(name: str) -> Any:
    marks = [pytest.mark.xdist_group(f"searcher {name}"), *([] if name in ("ppo", "random") else [pytest.mark.full])]
    return pytest.param(name, marks=marks)


@pytest.fixture(scope="module", params=map(parameter, SEARCHERS))
def searcher(request: pytest.FixtureRequest) -> Iterator[Searcher]:
    yield SEARCHERS[request.param]()


@pytest.fixture(scope="module")
def problem(deeper: Problem) -> Problem:
    return deeper


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def streams() -> list[Any]:
    """Where the random streams are that the whole process shares."""
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]


@pytest.fixture
def seeded() -> list[Any]:
    """Where the caller's own seeds put them."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    return streams()


class TestEverySearcher(SearcherBehaviour):
    def uses_all(self, searcher: Searcher) -> bool:
        return searcher.seeded

    def test_leaves_the_callers_random_streams_alone(
        self, searcher: Searcher, given_problem: Problem, seeded: list[Any]
    ) -> None:
        searcher.search(given_problem, EVALUATIONS, seed=3)
        assert streams() == seeded

    @pytest.fixture(scope="module")
    def make_problem(self, problem: Problem) -> Make:
        return problem.with_settings(default_settings(50)).with_ledger

    @pytest.fixture(scope="module")
    def given_problem(self, make_problem: Make) -> Problem:
        return make_problem(self.ledger)

    @pytest.fixture(scope="module")
    def result(self, searcher: Searcher, given_problem: Problem) -> Result:
        """Searched once for all tests of a searcher."""
        return searcher.search(given_problem, EVALUATIONS, seed=3)


FOREIGN = """
from agents import RandomSearcher
from agents.optuna_samplers import TpeSearcher

class Mine(RandomSearcher):
    name = "mine"

class Alone(TpeSearcher):
    name = "alone"

    def __init__(self):
        super().__init__()

class Other:
    name = "other"
"""


def test_another_packages_searcher_goes_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign.py").write_text(FOREIGN)
    about = tmp_path / "foreign-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    points = [
        "mine = foreign:Mine",
        "alone = foreign:Alone",
        "other = foreign:Other",
        "gone = nowhere:Gone",
        "ppo = foreign:Mine",
    ]
    (about / "entry_points.txt").write_text("\n".join(["[profilesearch.searchers]", *points]))
    monkeypatch.syspath_prepend(tmp_path)
    assert {*SEARCHERS, "mine", "alone", "other", "gone"} == set(searcher_names())
    assert [type(make_searcher(name)).__name__ for name in ("mine", "alone")] == ["Mine", "Alone"]
    told = ["--arch", "resnet8", "--data", "digits", "--pool-dir", str(tmp_path / "pools")]
    with pytest.raises(UsageError, match="none of --searchers is one"):
        compare(Comparing.read([*told, "--searchers", "mine", "--ppo", "epochs=3"]))
    with pytest.raises(UsageError, match="'gone' of nowhere:Gone cannot be imported"):  # before anything is trained
        compare(Comparing.read([*told, "--searchers", "random", "gone"]))
    assert not (tmp_path / "pools").exists()
    assert type(make_searcher("ppo")) is PpoSearcher
    with pytest.raises(UsageError, match="foreign:Other is no searcher of the name 'other'"):
        make_searcher("other")
    with pytest.raises(UsageError, match="'gone' of nowhere:Gone cannot be imported"):
        make_searcher("gone")
    with pytest.raises(UsageError, match="did you mean mine"):
        make_searcher("mime")


@pytest.mark.full
def test_ppo_marks_its_own_profiles_and_knows_its_unprojected_cost(problem: Problem) -> None:
    result = PpoSearcher().search(problem.with_settings(default_settings(50)), 24, 0)
    policies = [evaluation for evaluation in result.history if evaluation.is_policy]
    assert policies
    assert result.policy is not None
    assert result.policy.evaluation in policies
    assert result.policy in result.finalists
    assert any(e.own_cost != problem.space.relative(e.widths) for e in result.history)


@pytest.mark.full
@pytest.mark.parametrize(("weight", "best"), [(0.0, 0), (100.0, 1)])
def test_the_policys_own_profile_is_told_by_the_reward_that_it_learned(
    problem: Problem, weight: float, best: int
) -> None:
    class Decided(PpoSearcher):
        def propose(self, trial: Trial, seed: int) -> None:
            widths = problem.space.sample(8, np.random.default_rng(0))
            fitness = problem.fitness(problem.evaluate(widths))
            self.tried = widths[[int(fitness.argmax()), int(fitness.argmin())]]
            trial.evaluate(self.tried, np.array([0.9, 0.5]), is_policy=True)

    searcher = Decided(replace(PpoSettings(), target_weight=weight))
    policy = searcher.search(problem, 2).policy
    assert policy is not None
    assert np.array_equal(policy.evaluation.widths, searcher.tried[best])


def test_a_searcher_that_leaves_the_budget_is_told(problem: Problem) -> None:
    class Greedy(PpoSearcher):
        def propose(self, trial: Trial, seed: int) -> None:
            space = trial.problem.space
            trial.evaluate(np.concatenate([space.project(np.full((1, space.size), 0.5)), space.ends[1:]]))

    with pytest.raises(
        UsageError, match=r"a profile of 1\.000 of the macs was proposed for a budget of 0\.5; .* by space"
    ):
        Greedy().search(problem, 2)


def test_ppo_from_sensitivity_starts_there_and_stays_near(problem: Problem) -> None:
    space, settings = problem.space, PpoSettings(learning_rate=1e-9, episodes=16)
    first, *others = PpoSensitivitySearcher(settings).search(problem, 40, 0).history
    centre = sensitive(space, pool_losses(problem))
    assert np.array_equal(first.widths, centre)
    assert not first.is_policy
    own = [evaluation for evaluation in others if evaluation.is_policy]
    assert own  # which has learned nothing, at this rate
    assert all(np.abs(evaluation.widths - centre).max() <= 1 for evaluation in own)
    plain = PpoSearcher(settings).search(problem, 39, 0).history
    near, far = (np.mean([np.abs(each.widths - centre).mean() for each in history]) for history in (others, plain))
    assert near < 0.7 * far
    with pytest.raises(UsageError, match="search with ppo"):
        make_searcher("ppo-sensitivity", start=Policy((), {}))


@pytest.mark.full
def test_a_policy_that_diverges_is_one_sentence(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "score", lambda _, widths: float(widths[0] / widths.max()))
    wild = PpoSettings(entropy=10, learning_rate=1, epochs=100, episodes=2)
    with pytest.raises(UsageError, match=r"the policy diverged.* smaller learning_rate"):
        PpoSearcher(wild).search(problem, 60)


@pytest.mark.parametrize("evaluations", [1, 2, 4])
def test_ppo_decides_a_single_group(evaluations: int, images: Tensor) -> None:
    network = nn.Sequential(nn.Conv2d(1, 9, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 2))
    problem = Problem.of(network.eval(), images, network(images).argmax(dim=1))
    assert problem.space.size == 1
    assert len(PpoSearcher(PpoSettings(episodes=1)).search(problem, evaluations).history) == evaluations


def test_ppo_leaves_no_folder_behind(problem: Problem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    PpoSearcher().search(problem, 40, seed=0)
    assert not list(tmp_path.iterdir())


def test_ppo_learns_to_land_on_another_cost(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing but a target term away from where it starts, the policy must move there."""
    wanted = 0.35
    monkeypatch.setattr("envs.vector.rewards", lambda problem, finished, *_, **__: -abs(finished.own_cost - wanted) * 4)
    monkeypatch.setattr(Scorer, "score", lambda *_: 0.5)  # no reward looks at it
    result = PpoSearcher(PpoSettings(learning_rate=3e-3)).search(problem, 400, 0)
    last = [evaluation for evaluation in result.history if evaluation.is_policy][-1]
    assert last.own_cost == pytest.approx(wanted, abs=0.04)


def test_exhaustive_grid_is_finite_distinct_and_grows(problem: Problem) -> None:
    sizes = [len(grid(problem.space, most)) for most in (1, 10, 100, 1000)]
    assert sizes == sorted(sizes)
    assert all(size <= most for size, most in zip(sizes, (1, 10, 100, 1000), strict=True))
    assert sizes[-1] > 200
    profiles = grid(problem.space, 100)
    assert len(np.unique(profiles, axis=0)) == len(profiles)


@pytest.mark.full
def test_a_family_leaves_the_callers_random_streams_alone(problem: Problem, seeded: list[Any]) -> None:
    search_family(problem, 8, settings=PpoSettings(epochs=1))
    assert streams() == seeded


@pytest.mark.full
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
