"""Intervals against their textbook values, and measured speed."""

import math

import pytest
import torch
from torch import nn

from profilesearch.cli.outcome import not_faster
from profilesearch.measure.intervals import accuracy_interval, mean_interval
from profilesearch.measure.speed import Speed, measure_speed, peak_memory
from profilesearch.networks import clock
from profilesearch.networks.architectures import build
from profilesearch.networks.clock import pass_times


def test_wilson_interval() -> None:
    low, high = accuracy_interval(0.9, 100)
    assert (low, high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert accuracy_interval(1.0, 10)[1] == pytest.approx(1.0)
    assert accuracy_interval(0.0, 10)[0] == pytest.approx(0.0)
    assert accuracy_interval(0.0, 0) == (0.0, 1.0)


def test_mean_interval_is_students() -> None:
    mean, half = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert math.isnan(mean_interval([1.0])[1])


def test_measuring_takes_no_step_of_the_callers_random_stream() -> None:
    network = build("resnet8", 10).eval()
    before = torch.get_rng_state()
    peak_memory(network, (3, 8, 8), 2)
    measure_speed([network], (3, 8, 8))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_network_is_timed_for_one_and_many_images() -> None:
    networks: list[nn.Module] = [build("resnet110", 10).eval(), build("resnet20", 10).eval()]
    speeds = measure_speed(networks, (3, 16, 16))
    assert [set(speed.to_json()) for speed in speeds] == [{"batch1", "batch64"}] * 2
    assert all(0 < speed.median(1) < speed.median(64) for speed in speeds)
    assert speeds[0].median(64) > speeds[1].median(64)


def test_slow_networks_are_timed_in_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    network = nn.Conv2d(3, 3, 1).eval()
    network.register_forward_hook(lambda *_: passes.append(1))
    told: list[int] = []
    assert pass_times([network], torch.rand(1, 3, 4, 4), rounds=3, tell=told.append)[0] > 0
    assert (told, len(passes)) == ([1, 2, 3], 4)
    monkeypatch.setattr(clock, "_LONG_S", 0)
    pass_times([network], torch.rand(1, 3, 4, 4), rounds=3, tell=told.append)
    assert (told[3:], len(passes)) == ([3], 6)


def test_no_network_is_called_slow_for_one_slow_round() -> None:
    full = Speed({1: (1.0, 1.0, 1.0, 1.0, 1.0), 64: (9.0, 9.0, 9.0, 9.0, 9.0)})
    noisy = Speed({1: (0.7, 1.2, 1.3, 1.2, 1.1), 64: (6.0, 6.0, 6.0, 6.0, 6.0)})
    assert noisy.part(full, 1) == pytest.approx((1.2, 0.7, 1.3))
    assert not_faster(full, noisy) == ""
    assert "120% at batch 1 of" in not_faster(full, Speed({**noisy.rounds, 1: (1.1, 1.2, 1.3, 1.2, 1.1)}))


def test_the_part_is_that_of_the_times_beside_it() -> None:
    one, other = Speed({1: (1.0, 3.0, 2.0)}), Speed({1: (3.0, 1.0, 4.0)})
    part, low, high = one.part(other, 1)
    assert part == pytest.approx(one.median(1) / other.median(1))
    assert (low, high) == pytest.approx((1 / 3, 3))
