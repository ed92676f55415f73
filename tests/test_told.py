"""What a search is told is used or refused, and what it sets for itself is put back."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from agents import PpoSearcher, PpoSettings, RandomSearcher, TpeSearcher, search_family
from envs.episode import ANY
from envs.policy import Policy
from profilesearch.cli import ranges
from profilesearch.errors import UsageError
from profilesearch.scoring.problem import Problem
from profilesearch.tasks.epoch import smaller


def test_units_of_a_policy_to_start_from_are_its_own() -> None:
    zeros = torch.zeros(1, len(ANY.names)).numpy(), torch.zeros(1).numpy()
    start = Policy((zeros,), {})
    with pytest.raises(UsageError, match="leave out hidden in `ppo`"):
        PpoSearcher(PpoSettings(hidden=128), start)
    assert PpoSearcher(PpoSettings(clip=0.1), start).start is start


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        ({"episodes": 2.5}, r"episodes must be a whole number in \[1, 1024\], got 2.5"),
        ({"epochs": True}, r"epochs must be a whole number in \[1, 1000\], got True"),
        ({"learning_rate": "fast"}, r"learning_rate must be in \[1e-09, 1\], got 'fast'"),
    ],
)
def test_hyperparameters_are_numbers_of_their_kind(told: dict[str, Any], refused: str) -> None:
    with pytest.raises(UsageError, match=refused):
        PpoSettings(**told)
    of_numpy: dict[str, Any] = {"episodes": np.int64(4), "clip": np.float64(0.1)}
    assert PpoSettings(**of_numpy).changed() == {"episodes": 4, "clip": 0.1}


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        ({"evaluations": 2.5}, "evaluations must be a whole number, 1 or more, got 2.5"),
        ({"evaluations": 0}, "evaluations must be a whole number, 1 or more, got 0"),
        ({"evaluations": 2, "seed": -1}, "seed must be a whole number, 0 or more, at most 4294967295, got -1"),
        ({"evaluations": 2, "seed": 2**40}, "seed must be a whole number, 0 or more, at most 4294967295"),
    ],
)
@pytest.mark.parametrize("searches", [RandomSearcher().search, TpeSearcher().search, search_family])
def test_evaluations_and_seeds_of_a_search_are_whole_numbers(
    searches: Callable[..., Any], told: dict[str, Any], refused: str, problem: Problem
) -> None:
    with pytest.raises(UsageError, match=refused):
        searches(problem, **told)


@pytest.mark.parametrize(
    ("keeps", "refused"),
    [((0.9, 0.5), "the smallest and the largest fraction, got 0.9 and 0.5"), ((0.5, 1.5), "got 1.5"),
     ((0.01, 0.9), "keep 0.01 of the macs is out of reach")],
)  # fmt: skip
def test_budgets_of_a_family_are_in_reach_before_it_is_trained(
    keeps: tuple[float, float], refused: str, problem: Problem
) -> None:
    with pytest.raises(UsageError, match=refused):
        search_family(problem, 8, keeps=keeps)


def test_optuna_says_as_much_as_before(deeper: Problem) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        TpeSearcher().search(deeper, 1)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


def test_a_number_beyond_the_most_is_told_the_most() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1 evaluation, at most 1000000000, got 10000000000"):
        ranges.whole(1, unit="evaluation")("10000000000")


@pytest.mark.parametrize(("side", "left"), [(1, 1), (2, 1), (8, 6)])
def test_images_of_a_pixel_get_no_smaller(side: int, left: int) -> None:
    assert smaller(torch.rand(2, 3, side, side)).shape == (2, 3, left, left)
