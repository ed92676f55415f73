"""Half of the way from uniform to what single layers lose, or all or none of it: what the refit leaves decides."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from profilesearch import apply, blending, looking, prune, refitting, smaller
from profilesearch.applying.writing import SAME
from profilesearch.blending import PARTS, between, blended, how_far
from profilesearch.errors import UsageError
from profilesearch.judging import Judge
from profilesearch.networks.architectures import build
from profilesearch.networks.criteria import rank_channels
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import TOLERANCE, ProfileSpace
from profilesearch.profiles import Budget, Profile
from profilesearch.pruning import Pruned, prune_ordered
from profilesearch.scoring.problem import Problem
from profilesearch.sensitivity import RATIOS, group_losses, sensitive
from profilesearch.system.progress import Progress
from profilesearch.tasks.data import DataSet


@pytest.fixture(scope="module")
def space() -> ProfileSpace:
    return Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget("macs", 0.5))


@pytest.fixture(scope="module")
def losses(space: ProfileSpace) -> np.ndarray:
    random = np.random.default_rng(0)
    found: np.ndarray = random.uniform(0.01, 1, (space.size, 1)) * np.exp(-3 * np.tile(RATIOS, (space.size, 1)))
    return found


@pytest.mark.parametrize("best", PARTS)
def test_the_judge_decides(space: ProfileSpace, losses: np.ndarray, best: float) -> None:
    seen = []

    def judge(profile: Profile) -> float:
        seen.append(part := float(profile.found["hyperparameters"]["part"]))
        return abs(part - best)

    found = blended(space, losses, judge)
    assert seen == list(PARTS)
    assert (
        how_far(found)
        == f"{best:.0%} of the way from uniform to sensitivity leaves the refitted network closest to the full one"
    )
    ends = {0.0: space.uniform(), 1.0: sensitive(space, losses)}
    if best in ends:
        assert np.array_equal(space.widths(space.table.ratios(found)), ends[best])


def test_half_of_the_way_lies_between_on_the_budget(space: ProfileSpace, losses: np.ndarray) -> None:
    start, end = space.uniform(), sensitive(space, losses)
    half = between(space, start, end, 0.5)
    assert float(space.relative(half)) == pytest.approx(0.5, rel=TOLERANCE)
    assert np.abs(np.log(half / start)).sum() < np.abs(np.log(end / start)).sum()
    assert np.abs(np.log(half / end)).sum() < np.abs(np.log(end / start)).sum()


def test_equal_profiles_are_judged_once(space: ProfileSpace) -> None:
    def judge(profile: Profile) -> float:
        raise AssertionError("there is one profile alone")

    found = blended(space, np.ones((space.size, len(RATIOS))), judge)
    assert found.found["hyperparameters"] == {"part": 0, "alike": True}
    assert how_far(found) == "uniform, from which nothing tells sensitivity apart here"
    assert how_far(space.profile(space.uniform(), {"searcher": "uniform"})) == ""


@pytest.mark.parametrize(("far", "part"), [((np.nan, 2, 1), 1), ((1, np.nan, 2), 0), ((3, np.inf, None), 0)])
def test_what_cannot_be_judged_is_the_farthest(
    space: ProfileSpace, losses: np.ndarray, far: tuple[float | None, ...], part: float
) -> None:
    def judge(profile: Profile) -> float:
        if (found := far[PARTS.index(profile.found["hyperparameters"]["part"])]) is None:
            raise UsageError("the network cannot be pruned to these widths, though to others")
        return found

    assert blended(space, losses, judge).found["hyperparameters"] == {"part": part}


def test_where_nothing_is_told_apart_none_is_said_to_be_closest(space: ProfileSpace, losses: np.ndarray) -> None:
    found = blended(space, losses, lambda _: np.inf)
    assert np.array_equal(space.widths(space.table.ratios(found)), space.uniform())
    assert how_far(found) == "uniform, from which nothing tells sensitivity apart here"


@pytest.mark.parametrize(("refit", "judged"), [("full", "full"), ("sequential", "sequential"), ("none", "auto")])
def test_profiles_are_judged_by_the_refit_that_is_asked_for(
    deeper: Problem, digits: DataSet, monkeypatch: pytest.MonkeyPatch, refit: str, judged: str
) -> None:
    seen: set[str] = set()

    def noted(model: nn.Module, images: Tensor, inputs: str) -> Callable[[Pruned, Any], float]:
        seen.add(inputs)
        return lambda pruned, progress: 1.0

    monkeypatch.setattr(looking, "Judge", noted)
    images = digits.normalize(digits.train[:20].pixels, 1)
    prune(deeper.members[0].load(), 0.3, images=images, profile="blend", refit=refit)
    assert seen == {judged}


def test_prune_takes_the_closest(deeper: Problem, digits: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    network = deeper.members[0].load()
    images = digits.normalize(digits.train[:60].pixels, 1)
    space = Plan("resnet8", network, (1, 8, 8)).space(Budget("macs", 0.3))
    seen: dict[tuple[int, ...], float] = {}

    class Noting(Judge):
        def __call__(self, pruned: Pruned, progress: Progress | None = None) -> float:
            seen[tuple(pruned.widths.tolist())] = off = super().__call__(pruned, progress)
            return off

    monkeypatch.setattr(looking, "Judge", Noting)
    small = prune(network, 0.3, images=images, profile="blend", refit="full")
    assert small.source == "blend"
    assert "of the way from uniform to sensitivity leaves the refitted network closest" in small.why
    assert tuple(space.uniform().tolist()) in seen
    assert len(seen) == len(PARTS) and len(set(seen.values())) == len(PARTS)
    assert seen[tuple(space.widths(space.table.ratios(small.profile)).tolist())] == min(seen.values())
    with pytest.raises(UsageError, match="what images=10 or more lose"):
        prune(network, 0.3, images=images[:9], profile="blend")


def test_other_profiles_are_refitted_in_fewer_ways_than_the_first(
    deeper: Problem, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images = deeper.members[0].load(), digits.normalize(digits.train[:60].pixels, 1)
    plan = Plan("resnet8", network, (1, 8, 8))
    space, order = plan.space(Budget("macs", 0.5)), rank_channels(network, plan.table.within("block"), "l1")
    seen: list[str] = []
    measured = refitting.distance
    monkeypatch.setattr(refitting, "distance", lambda *given: seen.append("tried") or measured(*given))
    judge, alone = Judge(network, images), Judge(network, images)

    def cut(widths: np.ndarray) -> Pruned:
        return prune_ordered(plan, space.profile(widths, {}), order)

    judge(cut(space.uniform()))
    assert len(seen) == 6
    other = space.sample(1, np.random.default_rng(0))[0]
    seen.clear()
    far = judge(cut(other))
    assert 2 <= len(seen) <= 3
    assert far == pytest.approx(alone(cut(other)))  # whose closest way is one of these


def test_apply_holds_it_against_uniform_unless_it_is_that(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--arch", "resnet8", "--data", "digits", "--keep", "0.3", "--profile", "blend", "--against", "uniform"]
    for parts, same in (((1.0,), False), ((0.0,), True)):
        monkeypatch.setattr(blending, "PARTS", parts)
        apply.main(options)
        report = json.loads((place / "applied" / "report.json").read_text())
        assert report["profile"]["found"]["searcher"] == "blend"
        assert report["against"]["name"] == "uniform"
        assert (report["against"]["verdict"] == SAME) == same == ("after" not in report["against"])
        said = " ".join(capsys.readouterr().out.split())
        assert f"the blend: {parts[0]:.0%} of the way from uniform to sensitivity" in said
        assert ("nothing to hold it against: it comes out as uniform" in said) == same
        assert "Hold it against the same part of every layer" not in said
    apply.main([*options[:-4], "--profile", "uniform", "--against", "blend"])
    assert "nothing to hold it against: blend comes out as it" in " ".join(capsys.readouterr().out.split())


class Moving(nn.Module):
    """Notes where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.places = ["cpu"]

    def to(self, device: torch.device) -> "Moving":  # type: ignore[override]
        self.places += [device.type] if device.type != self.places[-1] else []
        return self


def test_measuring_goes_on_on_the_processor_where_a_device_has_too_little_memory() -> None:
    said: list[str] = []
    network = Moving()

    def work(place: torch.device) -> str:
        assert network.places[-1] == place.type
        if place.type != "cpu":
            raise RuntimeError("meta out of memory. Tried to allocate 2.00 GiB")
        return place.type

    workplace = looking._Workplace(network, torch.device("meta"), said.append)
    assert (workplace.do(work), network.places) == ("cpu", ["cpu", "meta", "cpu"])
    assert (workplace.do(work), network.places) == ("cpu", ["cpu", "meta", "cpu"])
    assert said == ["out of memory on meta; going on on the processor"]
    other = looking._Workplace(network, torch.device("meta"), said.append)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        other.do(lambda _: torch.ones(1, 2) @ torch.ones(1, 2))
    assert network.places[-2:] == ["meta", "cpu"]
    assert other.do(lambda place: place.type) == "meta"


def test_networks_without_double_precision_are_measured_on_the_processor() -> None:
    for device, there in (("mps", "cpu"), ("cuda", "cuda"), ("cpu", "cpu")):
        weight = SimpleNamespace(device=torch.device(device), is_floating_point=lambda: True)
        network: Any = SimpleNamespace(parameters=lambda weight=weight: iter([weight]))
        assert smaller._workplace(network).type == there


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_prune_measures_on_the_gpu_of_a_network(
    deeper: Problem, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def noted(model: nn.Module, table: Any, order: Any, images: Tensor, move: Any) -> np.ndarray:
        seen.append(images.device.type)
        return group_losses(model, table, order, images, move)

    monkeypatch.setattr(looking, "group_losses", noted)
    network, images = deeper.members[0].load(), digits.normalize(digits.train[:60].pixels, 1)
    here = prune(network, 0.3, images=images, profile="sensitivity")
    there = prune(network.to("cuda"), 0.3, images=images.to("cuda"), profile="sensitivity")
    assert seen == ["cpu", "cuda"]
    assert {each.device.type for each in there.network.parameters()} == {"cuda"}
    kept, other = ([dict(small.profile.keep)[name] for name in here.profile.keep] for small in (here, there))
    np.testing.assert_allclose(kept, other, atol=0.1)
    assert prune(network, 0.3, images=images.to("cuda"), profile="blend").source == "blend"
