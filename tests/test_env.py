"""The environment and its vectorized twin."""

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from stable_baselines3.common.vec_env import SubprocVecEnv

from envs import ENV_ID, embedded
from envs.episode import EpisodeBatch
from envs.layerwise import LayerWiseEnv
from envs.reward import reward
from envs.vector import LayerWiseVectorEnv
from profilesearch.errors import UsageError
from profilesearch.profiles import Budget
from profilesearch.scoring.problem import Problem
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member, train_member
from profilesearch.tasks.recipe import Recipe


@pytest.fixture(scope="module")
def problem(deeper: Problem) -> Problem:
    return deeper


def play(env: LayerWiseEnv, actions: np.ndarray) -> tuple[list[np.ndarray], float, dict[str, object]]:
    observations = [env.reset(seed=0)[0]]
    for action in actions:
        observation, value, terminated, truncated, info = env.step(action)
        observations.append(observation)
        assert not truncated
    assert terminated
    return observations, value, info


@pytest.mark.full
def test_action_0_is_the_centre(problem: Problem) -> None:
    space = problem.space
    centre = np.linspace(0.3, 0.9, space.size)
    for action, wanted in ((0.0, centre), (1.0, np.ones(space.size)), (-0.5, (centre + space.least) / 2)):
        episodes = EpisodeBatch(space, 2, centre=centre)
        while not episodes.done:
            episodes.act(np.full(2, action, np.float32))
        assert episodes.finish().own_cost == pytest.approx(space.relative(space.widths(np.tile(wanted, (2, 1)))))


def test_registered_environment_passes_both_checkers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    short = Recipe(epochs=1, batch=500)
    monkeypatch.setattr(embedded, "train_member", lambda *given, **more: train_member(*given, short, **more))
    env = gymnasium.make(ENV_ID)
    check_env(env.unwrapped, skip_render_check=True)
    check_env_sb3(env.unwrapped)


def test_episodes_repeat_bit_for_bit(problem: Problem) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 1)).astype(np.float32)
    one, two = (play(LayerWiseEnv(problem), actions) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one[0], two[0], strict=True))
    assert one[1] == two[1]


def test_zero_actions_are_the_uniform_profile_on_budget(problem: Problem) -> None:
    _, _, info = play(LayerWiseEnv(problem), np.zeros((9, 1), np.float32))
    assert info["own_cost"] == pytest.approx(0.5, rel=0.02)
    assert np.abs(info["widths"] - problem.space.uniform()).max() <= 1


def test_extreme_actions_reach_both_ends(problem: Problem) -> None:
    for action, expected in ((1.0, problem.space.reach()[1]), (-1.0, problem.space.reach()[0])):
        _, value, info = play(LayerWiseEnv(problem), np.full((9, 1), action, np.float32))
        assert info["own_cost"] == pytest.approx(expected)
        assert problem.space.relative(info["widths"]) == pytest.approx(0.5, rel=0.005)
        assert value < 1 - abs(expected / 0.5 - 1) + 0.05


def test_options_set_budget_and_model(problem: Problem) -> None:
    env = LayerWiseEnv(problem)
    env.reset(options={"keep": 0.3, "model": problem.members[0].name})
    assert env.problem.space.budget.keep == 0.3
    _, _, info = play(env, np.zeros((9, 1), np.float32))
    assert info["own_cost"] == pytest.approx(0.3, rel=0.03)
    for options, message in (
        ({"keep": 0.01}, "out of reach"),
        ({"keep": 2.0}, r"in \(0, 1\]"),
        ({"model": "nobody"}, "unknown pool member"),
        ({"budget": 0.3}, "unknown reset option"),
    ):
        with pytest.raises(UsageError, match=message):
            env.reset(options=options)


def test_step_after_the_end_is_refused(problem: Problem) -> None:
    env = LayerWiseEnv(problem)
    play(env, np.zeros((9, 1), np.float32))
    with pytest.raises(UsageError, match="call reset"):
        env.step(np.zeros(1, np.float32))


def test_an_action_that_is_no_number_is_refused(problem: Problem) -> None:
    env = LayerWiseEnv(problem)
    env.reset()
    with pytest.raises(UsageError, match="an action is NaN"):
        env.step(np.full(1, np.nan, np.float32))


def test_vectorized_twin_plays_the_same_episodes(problem: Problem) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (9, 4, 1)).astype(np.float32)
    twin = LayerWiseVectorEnv(4, problem)
    observations = [twin.reset()[0]]
    for step in range(9):
        observation, values, ended, _, infos = twin.step(actions[step])
        observations.append(observation)
        assert ended.all() == (step == 8)
    for episode in range(4):
        seen, value, info = play(LayerWiseEnv(problem), actions[:, episode])
        assert all(np.array_equal(a, b[episode]) for a, b in zip(seen[:-1], observations[:-1], strict=True))
        assert np.array_equal(seen[-1], infos["final_obs"][episode])
        assert value == values[episode]
        assert np.array_equal(info["widths"], infos["widths"][episode])
    assert np.array_equal(observations[-1], observations[0])  # the next episodes have begun


@pytest.mark.full
def test_copies_play_the_same_in_other_processes(problem: Problem) -> None:
    twin, actions = LayerWiseVectorEnv(2, problem), np.full((2, 1), 0.3, np.float32)
    processes = SubprocVecEnv([partial(LayerWiseEnv, problem)] * 2)
    try:
        starts = [processes.reset(), twin.reset()[0], pickle.loads(pickle.dumps(twin)).reset()[0]]
        assert all(np.array_equal(starts[0], each) for each in starts)
        for _ in range(problem.space.size):
            _, elsewhere, ended, infos = processes.step(actions)
            _, here, _, _, info = twin.step(actions)
    finally:
        processes.close()
    assert ended.all()
    assert elsewhere == pytest.approx(here)
    assert np.array_equal([each["widths"] for each in infos], info["widths"])


@pytest.mark.parametrize("budget", [Budget(), Budget("macs", 0.5, 0.5)])
def test_a_problem_is_copied_with_its_scores(problem: Problem, budget: Budget) -> None:
    given = problem.with_budget(budget)
    uniform = given.space.uniform()
    scores = given.evaluate(uniform[None])
    for copied in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
        assert np.array_equal(copied.space.uniform(), uniform)
        assert np.array_equal(copied.evaluate(uniform[None]), scores)


def test_twin_is_made_by_gymnasium(problem: Problem) -> None:
    twin = gymnasium.make_vec(ENV_ID, num_envs=3, vectorization_mode="vector_entry_point", problem=problem)
    observations, _ = twin.reset()
    assert observations.shape == (3, *twin.single_observation_space.shape)


def test_the_twin_takes_what_gymnasium_gives_it(problem: Problem) -> None:
    how: dict[str, Any] = {"vectorization_mode": "vector_entry_point", "problem": problem}
    assert gymnasium.make_vec(ENV_ID, num_envs=2, render_mode="rgb_array", **how).render_mode == "rgb_array"
    for count in (0, -1):
        with pytest.raises(UsageError, match=f"num_envs must be at least 1, got {count}"):
            gymnasium.make_vec(ENV_ID, num_envs=count, **how)


def test_infos_say_which_environments_they_are_about(problem: Problem) -> None:
    twin = LayerWiseVectorEnv(2, problem)
    twin.reset()
    for _ in range(problem.space.size):
        *_, infos = twin.step(np.zeros((2, 1), np.float32))
    keys = {key for key in infos if not key.startswith("_")}
    assert "final_obs" in keys
    assert {key for key in infos if infos.get(f"_{key}", np.zeros(1)).all()} == keys


def test_reward_is_two_sided_and_zero_on_the_budget() -> None:
    values = reward(np.full(3, 0.9), np.array([0.45, 0.5, 0.55]), 0.5, weight=1.0)
    assert values == pytest.approx([0.8, 0.9, 0.8])
    assert reward(np.full(1, 0.9), np.array([0.9]), 0.5, weight=0.0) == pytest.approx([0.9])


def test_the_twin_draws_the_budget_of_the_next_episodes(problem: Problem) -> None:
    budgets = iter([0.3, 0.7, 0.4])
    env = LayerWiseVectorEnv(2, problem, keeps=lambda: next(budgets))
    observations, _ = env.reset()
    seen = [observations[0, 4]]
    for _ in range(2 * problem.space.size):
        observations, values, ended, _, infos = env.step(np.zeros((2, 1), np.float32))
        if ended.any():
            seen.append(observations[0, 4])
            assert problem.space.relative(infos["widths"]) == pytest.approx(seen[-2], abs=0.05)
            drawn = reward(problem.fitness(infos["accuracies"]), infos["own_cost"], seen[-2], env.target_weight)
            assert values == pytest.approx(drawn, rel=1e-5)
    assert seen == pytest.approx([0.3, 0.7, 0.4])


def test_a_reset_with_options_puts_back_what_they_leave_out(problem: Problem) -> None:
    name = problem.members[0].name
    env, twin = LayerWiseEnv(problem), LayerWiseVectorEnv(2, problem)
    first, other = env.reset()[0], env.reset(options={"keep": 0.3, "model": name})[0]
    assert first[4] == pytest.approx(0.5)
    assert other[4] == pytest.approx(0.3)
    assert np.array_equal(env.reset()[0], other)
    assert np.array_equal(env.reset(options={"model": name})[0], first)
    env.reset(options={"keep": 0.3})
    assert np.array_equal(env.reset(options={})[0], first)
    assert twin.reset(options={"keep": 0.3})[0][0, 4] == pytest.approx(0.3)
    assert np.array_equal(twin.reset(options={})[0][0], first)


def test_a_problem_holds_no_test_image(problem: Problem, digits: DataSet) -> None:
    problem.base()
    env = LayerWiseEnv(problem)
    seen: set[int] = set()
    waiting: list[object] = [env]
    while waiting:  # all that can be reached from the environment
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type | ModuleType | FunctionType):
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            assert each.untyped_storage().data_ptr() != digits.test.pixels.untyped_storage().data_ptr()
        if isinstance(each, DataSet):
            assert len(each.test) == 0
        waiting += gc.get_referents(each)
    assert any(isinstance(each, DataSet) for each in gc.get_objects() if id(each) in seen)


@pytest.mark.full
def test_the_embedded_network_is_trained_once_for_all_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[Path] = []

    def note(architecture: str, data: DataSet, seed: int, folder: Path, **more: Any) -> Member:
        trained.append(folder)
        return train_member(architecture, data, seed, folder, Recipe(epochs=1, batch=500), **more)

    monkeypatch.setattr(embedded, "train_member", note)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make = embedded.embedded_problem.__wrapped__
    with ThreadPoolExecutor(2) as pool:  # locks hold between threads as between processes
        one, other = pool.map(lambda _: make(), range(2))
    assert len(trained) == 1
    assert trained[0].is_relative_to(tmp_path)
    assert one.digest == other.digest
    assert "training the environment's small network once" in capsys.readouterr().err
    (file,) = trained[0].rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    assert make().space.size == one.space.size
    assert len(trained) == 2
    (tmp_path / "taken").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    assert make().space.size == one.space.size
    assert len(trained) == 3
