"""Refit: layers of a pruned network give again what the full network's gave."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch import apply, prune
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.cost import CostModel
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.inputs import Call, Calls
from profilesearch.networks.names import INPUTS
from profilesearch.networks.plan import Plan
from profilesearch.networks.reconstruction import reconstruction_orders
from profilesearch.networks.refit import aims, refit
from profilesearch.networks.surgery import Pruner
from profilesearch.pruning import Pruned, prune_with_profile, reestimate_statistics
from profilesearch.refitting import distance, refit_on, refit_weights
from profilesearch.scoring.problem import Problem
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.predicting import accuracy


class Plain(nn.Module):
    """Convolutions and linear layers behind one another, with biases, and a map of several pixels flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 12, 3, padding=1)
        self.two = nn.Conv2d(12, 8, 3, stride=2)
        self.hidden = nn.Linear(8 * 9, 20)
        self.out = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.two(functional.relu(self.one(x))))
        return self.out(functional.relu(self.hidden(x.flatten(1))))


def doubled(network: Plain) -> Plain:
    """Makes every second channel of the first two layers a multiple of the one before."""
    with torch.no_grad():
        for layer in (network.one, network.two):
            layer.weight[1::2] = 1.5 * layer.weight[::2]
            layer.bias[1::2] = 1.5 * layer.bias[::2]
    return network


@pytest.fixture
def images() -> Tensor:
    return torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def keep_even(table: GroupTable, cut: set[str]) -> dict[str, Tensor]:
    return {group.name: torch.arange(0, group.channels, 2 if group.name in cut else 1) for group in table.groups}


@pytest.mark.parametrize("geometry", [
    {}, {"stride": 2, "padding": 1}, {"padding": (2, 0), "stride": (1, 3)}, {"dilation": 2, "padding": "same"},
    {"padding": "valid"},
])  # fmt: skip
def test_rows_times_weights_are_what_the_layer_gives(geometry: Mapping[str, Any]) -> None:
    torch.manual_seed(0)
    layer, given = nn.Conv2d(3, 5, (3, 2), **geometry), torch.randn(4, 3, 9, 10)
    seen: list[Call] = []
    with torch.no_grad(), Calls(layer, seen.append):
        made = layer(given)
    rows = seen[0].rows(10_000) @ layer.weight.flatten(1).T + layer.bias
    torch.testing.assert_close(rows, made.flatten(2).transpose(1, 2).flatten(0, 1), rtol=1e-4, atol=1e-5)
    assert len(seen[0].rows(7)) == 4 * 7


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("few", [False, True], ids=["more rows than inputs", "fewer"])
def test_what_follows_from_the_kept_channels_is_given_again_exactly(images: Tensor, inputs: str, few: bool) -> None:
    torch.manual_seed(0)
    network = doubled(Plain()).eval()
    table = Plan("plain", network, (3, 8, 8)).table
    keep = keep_even(table, {"one", "two"})
    pruned = Pruner(network, table).prune(keep).eval()
    given = images[:8] if few else images  # the first six or thirty are learned from
    expected = network(images[:2]).detach()
    before = float((pruned(images[:2]).detach() - expected).abs().max())
    fitted = refit(pruned, aims(network, table, keep, given), given, inputs, ridges=(1e-4,))
    assert {"two.weight", "hidden.weight"} <= set(fitted)
    assert float((pruned(images[:2]).detach() - expected).abs().max()) < 0.05 * before


def test_layers_whose_inputs_are_as_they_were_stay(images: Tensor) -> None:
    torch.manual_seed(0)
    network = Plain().eval()
    table = Plan("plain", network, (3, 8, 8)).table
    keep = keep_even(table, {"hidden"})
    pruned = Pruner(network, table).prune(keep).eval()
    assert refit(pruned, aims(network, table, keep, images), images) == ("out.weight",)
    assert torch.equal(pruned.one.weight, network.one.weight)


def test_a_layer_that_runs_twice_is_left(images: Tensor) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.out = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.two(functional.relu(self.two(functional.relu(self.one(x)))))
            return self.out(x.mean((2, 3)))

    torch.manual_seed(0)
    network = Twice().eval()
    table = Plan("twice", network, (3, 8, 8)).table
    keep = keep_even(table, set(table.names))
    pruned = Pruner(network, table).prune(keep).eval()
    assert "two.weight" not in refit(pruned, aims(network, table, keep, images), images)


class Tied(nn.Module):
    """Encodes, and decodes by the same weights, with one bias for two layers and one that is computed on the fly."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.mid, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
        self.weight, self.bias = nn.Parameter(torch.randn(6, 8, 3, 3) / 9), nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.one(x))
        x = functional.relu(functional.conv2d(x, self.weight, padding=1))
        x = functional.relu(functional.conv_transpose2d(x, self.weight, self.bias, padding=1))
        x = functional.relu(functional.conv2d(x, self.mid.weight, self.bias))
        scores: Tensor = functional.conv2d(x, self.last.weight, self.last.bias * 2)
        return scores


@pytest.mark.parametrize("inputs", INPUTS)
def test_what_other_operations_read_too_stays(images: Tensor, inputs: str) -> None:
    torch.manual_seed(0)
    network = Tied().eval()
    table = Plan("tied", network, (3, 8, 8)).table
    keep = keep_even(table, set(table.names))
    pruned, cut = (Pruner(network, table).prune(keep).eval() for _ in range(2))
    fitted = refit(pruned, aims(network, table, keep, images), images, inputs)
    assert set(fitted) == {"mid.weight", "last.weight"}
    for name in ("weight", "bias", "last.bias"):
        assert torch.equal(pruned.get_parameter(name), cut.get_parameter(name))
    with torch.no_grad():
        errors = [float((each(images) - network(images)).square().mean()) for each in (pruned, cut)]
    assert errors[0] < errors[1]


def test_refit_needs_images_and_a_way(images: Tensor) -> None:
    network = Plain().eval()
    table = Plan("plain", network, (3, 8, 8)).table
    keep = keep_even(table, set(table.names))
    pruned = Pruner(network, table).prune(keep).eval()
    with pytest.raises(UsageError, match="needs training images"):
        refit(pruned, aims(network, table, keep, images[:0]), images[:0])
    with pytest.raises(UsageError, match="sequential"):
        refit(pruned, aims(network, table, keep, images), images, "sequental")


@pytest.mark.full
@pytest.mark.parametrize("inputs", INPUTS)
def test_a_trained_network_is_better_refitted_than_with_statistics(
    deeper: Problem, digits: DataSet, inputs: str
) -> None:
    full, learn = deeper.members[0].load(), digits.train[:500]
    profile = deeper.space.profile(deeper.space.uniform(), {})
    pruned, other = (prune_with_profile(full, profile, (1, 8, 8)) for _ in range(2))
    reestimate_statistics(other.network, digits, learn)
    before = {name: tensor.clone() for name, tensor in full.state_dict().items()}
    assert len(refit_weights(pruned, full, digits, learn, inputs).weights) >= 9
    assert all(torch.equal(tensor, before[name]) for name, tensor in full.state_dict().items())
    assert accuracy(pruned.network, digits, digits.test) > accuracy(other.network, digits, digits.test) + 0.02


def test_a_distance_is_of_whatever_a_network_gives() -> None:
    torch.manual_seed(0)
    scores, maps = torch.randn(6, 5), torch.randn(6, 3, 4, 4)
    assert distance([scores + 3], [scores]) == pytest.approx(0, abs=1e-6)
    assert 0 < distance([scores * 1.1], [scores]) < distance([scores * 2], [scores])
    assert distance([maps, scores], [maps, scores]) == 0
    assert distance([2 * maps, scores], [maps, scores]) == pytest.approx(0.5)


@pytest.mark.full
@pytest.mark.parametrize("shifted", [False, True])
def test_the_way_that_is_closest_to_the_full_network_is_found(problem: Problem, digits: DataSet, shifted: bool) -> None:
    full, profile = problem.members[0].load(), problem.space.profile(problem.space.uniform(), {})
    if shifted:  # statistics that the images do not have, so that new ones are worse than those of the full network
        for module in full.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                module.running_var.mul_(1.5)
    pixels = digits.normalize(digits.train[:125].pixels, 1)
    learn, judge = pixels[:100], pixels[100:]  # as many as fits look at in tests, and a fifth to judge by
    found: dict[str, float] = {}
    for inputs in (*INPUTS, "auto"):
        pruned = prune_with_profile(full, profile, (1, 8, 8))
        refitted = refit_on(pruned, full, pixels if inputs == "auto" else learn, inputs)
        with torch.no_grad():
            found[inputs] = distance([pruned.network(judge)], [full.eval()(judge)])
    assert found["auto"] <= min(found.values()) + 1e-6
    assert refitted.inputs in INPUTS
    assert not (shifted and refitted.reestimated)


def test_reconstruction_takes_first_what_the_next_layer_loses_least(images: Tensor) -> None:
    torch.manual_seed(0)
    network = Plain().eval()
    with torch.no_grad():  # so the second channel follows from the first
        network.one.weight[1], network.one.bias[1] = 2 * network.one.weight[0], 2 * network.one.bias[0]
    table = Plan("plain", network, (3, 8, 8)).table
    orders = reconstruction_orders(network, table, images)
    assert orders.keys() == set(table.names)
    assert all(sorted(orders[g.name].tolist()) == list(range(g.channels)) for g in table.groups)
    assert orders["one"][-1] in (0, 1)


def test_reconstruction_leaves_less_to_mend_than_l1(images: Tensor) -> None:
    torch.manual_seed(0)
    network = Plain().eval()
    table = Plan("plain", network, (3, 8, 8)).table
    widths = np.array([6 if group.name == "one" else group.channels for group in table.groups])
    left = []
    for order in (reconstruction_orders(network, table, images), rank_channels(network, table, "l1")):
        keep = keep_channels(order, table, widths)
        pruned = Pruner(network, table).prune(keep).eval()
        refit(pruned, aims(network, table, keep, images), images)
        left.append(float((pruned(images) - network(images)).detach().square().mean()))
    assert left[0] < left[1]


def test_apply_refits_unless_told_otherwise(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for name in ("sequential", "full", "none"):
        command = [
            "--arch",
            "resnet8",
            "--data",
            "digits",
            "--profile",
            "uniform",
            "--keep",
            "0.4",
            "--json",
            "--quiet",
        ]
        apply.main([*command, *([] if name == "sequential" else ["--refit", name]), "--out", f"out-{name}"])
        report = json.loads(capsys.readouterr().out)
        assert report["evidence"]["refit"] == name
        found[name] = report["after"]["accuracy"]
    assert found["sequential"] > found["none"] + 0.02
    assert found["full"] > found["none"]
    with pytest.raises(UsageError, match="unknown refit 'all'"):
        apply.main(["--arch", "resnet8", "--data", "digits", "--refit", "all"])


def test_networks_whose_state_has_a_version_are_refitted() -> None:
    network, images = build("mnasnet_tiny", 10), torch.rand(20, 3, 32, 32)
    assert prune(network, 0.5, images=images, profile="uniform").refitted


def test_weights_stay_as_cut_where_no_refit_comes_closer() -> None:
    torch.manual_seed(0)
    network = Plain().eval()
    table = Plan("plain", network, (3, 8, 8)).table
    keep = keep_even(table, {"one", "two"})
    generator = torch.Generator().manual_seed(0)
    fitted_on = 3 + torch.rand(40, 1, 1, 1, generator=generator) * torch.randn(3, 8, 8, generator=generator)
    judged_by = (fitted_on[:10] - 3).flip(1, 3)  # of which the others show nothing
    pruned = Pruned(
        Pruner(network, table).prune(keep).eval(), table, np.array([]), CostModel(network, table, fitted_on[:1]), keep
    )
    cut = {name: tensor.clone() for name, tensor in pruned.network.state_dict().items()}
    refitted = refit_on(pruned, network, torch.cat([fitted_on, judged_by]))
    assert (str(refitted), refitted.weights) == ("as cut", ())
    assert all(torch.equal(tensor, cut[name]) for name, tensor in pruned.network.state_dict().items())
    assert refit_on(pruned, network, torch.cat([fitted_on, judged_by]), "full").weights
