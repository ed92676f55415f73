"""Latency as a budget: measured once a layer, priced for any profile."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import Bottleneck, ResNet

from agents.baselines import UniformSearcher
from profilesearch.measure import multiples
from profilesearch.measure.multiples import best_multiple, multiple_times
from profilesearch.networks import latency
from profilesearch.networks.architectures import build
from profilesearch.networks.clock import pass_times
from profilesearch.networks.latency import LatencyModel, latency_error
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import Budget, Metric
from profilesearch.scoring.problem import Problem
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.hardware import device_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file of measured layers, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "profilesearch" / "latency.json"


@pytest.mark.full
def test_every_proposal_lands_on_a_latency_budget(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "pass_times", pass_times)  # one round alone may be far off: prices then leave gaps
    space = Plan("resnet8", build("resnet8", 10), (3, 32, 32)).space(Budget("latency", 0.8))
    assert cache.exists()
    widths = space.sample(20, np.random.default_rng(0))
    assert space.relative(widths) == pytest.approx(np.full(20, 0.8), rel=0.02)
    assert space.cost.relative(widths, "macs").max() < 1
    full = space.cost.cost(space.table.channels, "latency")
    assert 1e4 < full < 1e10  # nanoseconds


@pytest.mark.full
def test_layers_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan("mobilenet_v2", build("mobilenet_v2", 10), (3, 32, 32))
    plan.space(Budget("latency", 0.9))
    monkeypatch.setattr(latency, "_measure", lambda _: pytest.fail("measured again"))
    plan.space(Budget("latency", 0.9))


def test_measuring_takes_no_step_of_the_callers_random_stream() -> None:
    network = build("resnet8", 10)
    before = torch.get_rng_state()
    Plan("resnet8", network, (3, 8, 8)).space(Budget("latency", 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_table_is_measured_anew(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("[1, 2")
    Plan("resnet8", build("resnet8", 10), (3, 8, 8)).space(Budget("latency", 1))
    assert cache.read_text().startswith("{")


@pytest.mark.full
def test_wider_networks_are_never_priced_lower() -> None:
    network = ResNet(Bottleneck, [2, 1, 1, 1], 10, groups=32, width_per_group=4)
    plan = Plan("resnext", network, (3, 32, 32))
    table = plan.table
    cost = LatencyModel(plan.network, table, plan.example)
    random = np.random.default_rng(0)
    narrow = random.integers(1, table.channels)
    wider = random.integers(narrow, table.channels, endpoint=True)
    assert cost.cost(narrow, "latency") <= cost.cost(wider, "latency") <= cost.cost(table.channels, "latency")
    assert cost.cost(np.stack([narrow, wider]), "latency").shape == (2,)


def counted(networks: Sequence[nn.Module], images: torch.Tensor) -> list[float]:
    """Stands for the clock of an ideal machine, on which a multiply-add takes a nanosecond."""
    found = []
    for network in networks:
        with FlopCounterMode(display=False) as counter:
            network(images)
        found.append(counter.get_total_flops() / 2)
    return found


@pytest.mark.full
def test_prices_are_what_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "pass_times", counted)
    network = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 10, 3)
    ).eval()
    example = torch.rand(1, 3, 96, 96)
    table = Plan("small", network, (3, 96, 96)).table
    cost = LatencyModel(network, table, example)
    widths = np.array([[16, 16], [64, 16], [16, 64]])
    keep = [{n: torch.arange(int(w)) for n, w in zip(table.names, row, strict=True)} for row in widths]
    networks = [Pruner(network, table).prune(each).eval() for each in keep]
    assert latency_error(widths, cost, networks, example) < 0.01
    assert latency_error(widths[::-1], cost, networks, example) > 0.5


def test_searches_by_latency_depend_on_the_tables_and_on_no_clock(
    cache: Path, digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images = build("resnet8", 10, 1).eval(), digits.normalize(digits.train.pixels[:40])

    def problem(slower: float, metric: Metric = "latency") -> Problem:
        monkeypatch.setattr(latency, "pass_times", lambda *given: [slower * time for time in counted(*given)])
        return Problem.of(network, images, digits.train.labels[:40], Budget(metric, 0.8))

    first, second = problem(1.0), problem(1.37)
    widths = first.space.widths(np.random.default_rng(0).random((200, first.space.size)))
    assert second.space.relative(widths).tolist() == first.space.relative(widths).tolist()
    one, other = (each.space.cost.cost(widths, "latency") for each in (first, second))
    np.testing.assert_allclose(other, 1.37 * one, atol=1)
    assert second.digest == first.digest
    macs = problem(1.0, "macs").digest
    cache.unlink()
    assert problem(2.0).digest != first.digest
    assert problem(2.0, "macs").digest == macs


def jumping(layer: latency.Layer) -> dict[str, list[float] | list[list[float]]]:
    """A table of a device that is fast until half of the outputs, slow from there on."""
    half = layer.outputs // 2
    outputs: list[float] = [1, half, half + 1, layer.outputs]
    return {"outputs": outputs, "inputs": [1.0], "times": [[1.0], [1.0], [9.0], [9.0]]}


def test_searchers_reach_what_tables_with_jumps_leave_of_a_budget(
    digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "_measure", jumping)
    network, images = build("resnet8", 10, 1).eval(), digits.normalize(digits.train.pixels[:40])
    problem = Problem.of(network, images, network(images).argmax(dim=1), Budget("latency", 0.75))
    [evaluation] = UniformSearcher().search(problem, 1).history
    assert problem.space.relative(evaluation.widths) > 0.76


class Repeated(nn.Module):
    """Whose layers `b` and `c` run three times, once of them at half of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.d = nn.Conv2d(32, 8, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.a(images)
        for stride in (1, 2, 1):
            x = x[..., ::stride, ::stride] + self.c(self.b(x[..., ::stride, ::stride]).relu())
        scores: torch.Tensor = self.d(x)
        return scores


def test_a_layer_is_priced_as_often_as_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "pass_times", counted)
    plan = Plan("repeated", Repeated().eval(), (3, 34, 34))
    cost = LatencyModel(plan.network, plan.table, plan.example)
    widths = plan.table.channels - np.diag(plan.table.channels // 2)
    np.testing.assert_allclose(cost.relative(widths, "latency"), cost.relative(widths, "macs"), rtol=1e-3)


def test_a_multiple_is_chosen_by_measurement_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, file = Plan("resnet8", build("resnet8", 10), (3, 8, 8)), tmp_path / "multiples.json"
    monkeypatch.setattr(multiples, "MULTIPLES", (1, 4, 32))
    times = multiple_times(plan, Budget("macs", 0.5), "block", file)
    assert times.keys() == {1, 4}  # 32 leaves the groups of 16 and 32 channels whole: half is out of reach
    assert all(0 < one < many for one, many in times.values())
    monkeypatch.setattr(multiples, "_measure", lambda *_: pytest.fail("measured again"))
    assert multiple_times(plan, Budget("macs", 0.5), "block", file) == times


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_multiples_are_timed_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, file, cuda = Plan("resnet8", build("resnet8", 10), (3, 8, 8)), tmp_path / "times.json", torch.device("cuda")
    monkeypatch.setattr(multiples, "MULTIPLES", (1, 4))
    assert multiple_times(plan, Budget("macs", 0.5), "block", file, cuda).keys() == {1, 4}
    assert torch.cuda.get_device_name() in file.read_text()
    assert device_of(plan.network).type == "cpu"


def test_a_multiple_must_be_worth_it() -> None:
    assert best_multiple({1: (1.0, 50.0), 4: (0.98, 49.0), 8: (0.99, 50.0)}) == 1
    assert best_multiple({1: (1.0, 50.0), 4: (0.98, 49.0), 8: (0.8, 45.0)}) == 8
    assert best_multiple({4: (1.0, 50.0)}) == 4
