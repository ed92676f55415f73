"""What a search is told is used or refused, and what it sets for itself is put back."""

import argparse

import optuna
import pytest
import torch

from agents import PpoSearcher, PpoSettings, TpeSearcher
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
