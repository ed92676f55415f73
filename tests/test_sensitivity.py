"""Profiles by the sensitivity of single layers: no search, and no better one among many at the same cost."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from agents import SensitivitySearcher, pool_losses
from profilesearch import apply, prune
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.criteria import MOST_SEEN, rank_channels
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import TOLERANCE, ProfileSpace
from profilesearch.profiles import Budget
from profilesearch.refitting import distance, outputs_of
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.sensitivity import RATIOS, _curve, cut_width, group_losses, sensitive
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member


@pytest.fixture(scope="module")
def space() -> ProfileSpace:
    return Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget("macs", 0.5))


@pytest.mark.parametrize("seed", range(3))
def test_no_other_profile_loses_less(space: ProfileSpace, seed: int) -> None:
    random = np.random.default_rng(seed)
    losses = random.uniform(0.01, 1, (space.size, 1)) * np.exp(-np.outer(random.uniform(1, 6, space.size), RATIOS))
    curves = [_curve(int(c), each) for c, each in zip(space.table.channels, losses, strict=True)]

    def lost(widths: np.ndarray) -> float:
        return sum(float(curve[width]) for curve, width in zip(curves, widths, strict=True))

    found = sensitive(space, losses)
    assert float(space.relative(found)) == pytest.approx(0.5, rel=TOLERANCE)
    near = space.project(np.clip(found / space.table.channels + random.normal(0, 0.05, (300, space.size)), 0.1, 1))
    others = [space.uniform(), *space.sample(300, random), *near]
    assert lost(found) <= min(map(lost, others)) * 1.02  # both may be off the budget by half a percent


@pytest.mark.parametrize("seed", range(3))
def test_no_other_profile_of_both_costs_loses_less(space: ProfileSpace, seed: int) -> None:
    """To move the profile for the multiply-adds alone to the parameters afterwards loses more."""
    random = np.random.default_rng(seed)
    losses = random.uniform(0.01, 1, (space.size, 1)) * np.exp(-np.outer(random.uniform(1, 6, space.size), RATIOS))
    curves = [_curve(int(c), each) for c, each in zip(space.table.channels, losses, strict=True)]
    params = space.relative_params(space.uniform())
    both = replace(space, budget=Budget("macs", 0.5, params))

    def lost(widths: np.ndarray) -> float:
        return sum(float(curve[width]) for curve, width in zip(curves, widths, strict=True))

    found, moved = sensitive(both, losses), both.project(sensitive(space, losses)[None] / space.table.channels)[0]
    for widths in (found, moved):
        assert float(both.relative(widths)) == pytest.approx(0.5, rel=TOLERANCE)
        assert both.relative_params(widths) == pytest.approx(params, rel=TOLERANCE)
    near = both.project(np.clip(found / space.table.channels + random.normal(0, 0.05, (300, space.size)), 0.1, 1))
    others = [space.uniform(), moved, *both.sample(300, random), *near]
    assert lost(found) <= min(map(lost, others)) * 1.02


def test_a_group_that_loses_nothing_goes_first(space: ProfileSpace) -> None:
    losses = np.full((space.size, 3), [0.3, 0.1, 0.03])
    losses[4] = 0
    found = sensitive(space, losses)
    assert found[4] == space.ends[0][4]
    assert (found[[0, 1, 2]] > space.ends[0][[0, 1, 2]]).all()


def test_curves_go_through_what_was_measured_and_never_rise() -> None:
    curve = _curve(16, [0.4, 0.1, 0.2])  # the last is noise
    assert curve[[4, 8, 12, 16]] == pytest.approx([0.4, 0.1, 0.1, 0])
    assert curve[2] > 0.4
    assert (np.diff(curve) <= 1e-12).all()


def test_a_pool_loses_what_its_members_lose_on_average(members: list[Member], digits: DataSet) -> None:
    problem = Problem(members, {"digits": digits}, Budget("macs", 0.5), default_settings(), Ledger())
    each = []
    for network, table, images, labels in problem.seen(MOST_SEEN):
        order = rank_channels(network, table, problem.settings.criterion, 0, (images, labels))
        each.append(group_losses(network, table, order, images))
    assert len(each) == 2
    assert pool_losses(problem) == pytest.approx(np.mean(each, axis=0))
    found = SensitivitySearcher().search(problem, 5)
    assert found.history[0].widths.tolist() == sensitive(problem.space, np.mean(each, axis=0)).tolist()
    assert {"uniform", "widest"} <= {finalist.origin for finalist in found.finalists}


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_narrow_groups_lose_at_a_width_what_was_measured_there(channels: int) -> None:
    losses = [0.3, 0.2, 0.1]
    curve = _curve(channels, losses)
    for ratio, loss in zip(RATIOS, losses, strict=True):
        width = cut_width(channels, ratio)
        if width < channels and all(cut_width(channels, other) != width for other in RATIOS if other > ratio):
            assert curve[width] == pytest.approx(loss)
    assert curve[channels] == 0


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8, 0.97])
def test_small_networks_meet_the_budget_as_uniform_does(keep: float) -> None:
    layers: list[nn.Module] = []
    for given, made in ((3, 16), (16, 32), (32, 32), (32, 64)):
        layers += [nn.Conv2d(given, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    small = Plan("mine:Small", network, (3, 16, 16)).space(Budget("macs", keep))
    random = np.random.default_rng(0)
    for _ in range(40):
        losses = np.sort(random.uniform(0.001, 1, (small.size, 3)), axis=1)[:, ::-1]
        off = abs(float(small.relative(sensitive(small, losses))) / keep - 1)
        assert off <= max(0.0055, abs(float(small.relative(small.uniform())) / keep - 1))


class Copies(nn.Module):
    """Every channel of the first group is there twice, so that half of them can be mended; those of the second not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 5, 1)
        with torch.no_grad():
            for each in (self.a.weight, self.a.bias):
                each[8:] = each[:8]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.b(self.a(x).relu()).relu()).mean((2, 3))


def test_losses_are_those_of_the_refitted_network() -> None:
    plan = Plan("mine:Copies", Copies(), (3, 12, 12))
    table = plan.table.within("block")
    images = torch.randn(200, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    order = rank_channels(plan.network, table, "reconstruction", 0, (images, torch.zeros(200, dtype=torch.int64)))
    first, second = group_losses(plan.network, table, order, images)
    assert first[1] < 1e-3 < second[1]
    assert (np.diff(first) < 0).all() and (np.diff(second) < 0).all()
    bare, wanted = Copies(), outputs_of(Copies(), images[-40:])
    with torch.no_grad():
        bare.b.weight[order["b"][8:]] = 0
        bare.b.bias[order["b"][8:]] = 0  # type: ignore[index]
    assert second[1] < distance(outputs_of(bare, images[-40:]), wanted)


def test_prune_measures_it(deeper: Problem, digits: DataSet) -> None:
    network = deeper.members[0].load()
    images = digits.normalize(digits.train[:100].pixels, 1)
    small, again = (prune(network, 0.3, images=images, profile="sensitivity", refit="full") for _ in range(2))
    assert small.source == "sensitivity"
    assert small.macs[1] / small.macs[0] == pytest.approx(0.3, rel=0.01)
    assert small.profile.keep == again.profile.keep
    for given in ({"image_shape": (1, 8, 8)}, {"images": images[:9]}):
        with pytest.raises(UsageError, match="what images=10 or more lose"):
            prune(network, 0.3, profile="sensitivity", **given)  # type: ignore[arg-type]


def test_apply_measures_it_beside_another(place: Path) -> None:
    apply.main(
        ["--arch", "resnet8", "--data", "digits", "--keep", "0.5", "--profile", "sensitivity", "--against", "uniform"]
    )
    report = json.loads((place / "applied" / "report.json").read_text())
    assert report["profile"]["found"]["searcher"] == "sensitivity"
    assert report["against"]["name"] == "uniform"
    assert report["profile"]["keep"] != report["against"]["profile"]["keep"]
