"""What comes before a cut is not computed again, and nothing else is taken for it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from profilesearch import sensitivity
from profilesearch.networks.architectures import build
from profilesearch.networks.criteria import rank_channels
from profilesearch.networks.plan import Plan
from profilesearch.networks.prefix import Prefix
from profilesearch.refitting import outputs_of
from profilesearch.sensitivity import group_losses


class InPlace(nn.Module):
    """Changes what layers gave, and what they were given; one layer runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 if not i else 8, 8, 3, padding=1) for i in range(4))
        self.act, self.first = nn.ReLU(inplace=True), nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(8, 8, 1))
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        given = images.sub_(0.1)
        for conv in self.convs:
            given = self.act(conv(given))
            given += 0.1
        given = self.first(given)
        given = self.convs[3](self.convs[3](given).mul_(0.5))
        scores: Tensor = self.head(given.mean(dim=(2, 3)))
        return scores


class Listed(nn.Module):
    """Hands lists on that grow, and several tensors at once."""

    class Joined(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(width, 4, 3, padding=1), nn.BatchNorm2d(4)

        def forward(self, given: list[Tensor]) -> Tensor:
            made: Tensor = self.norm(self.conv(torch.cat(given, dim=1))).relu()
            return made

    class Halves(nn.Module):
        def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
            one, other = given.chunk(2, dim=1)
            return one, other

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layers = nn.Conv2d(3, 4, 3), nn.ModuleList(self.Joined(4 + 4 * i) for i in range(3))
        self.halves, self.head = self.Halves(), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        given = [self.stem(images)]
        for layer in self.layers:
            given.append(layer(given))
        one, other = self.halves(torch.cat(given, dim=1))
        return {"scores": self.head((one + other).mean(dim=(2, 3)))}


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "in place": InPlace,
    "listed": Listed,
    **{name: lambda name=name: build(name, 10) for name in ("resnet8", "googlenet_tiny", "mobilenet_v3_tiny")},
}


class Without:
    """Knows nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def noted(self, network: nn.Module) -> Any:
        return torch.no_grad()

    used = noted


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("most", [1_000_000_000, 400_000])
def test_losses_are_what_they_are_without(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, images = NETWORKS[name]().eval(), torch.randn(60, 3, 16, 16)
    table = Plan(name, network, (3, 16, 16)).table
    order = rank_channels(network, table, "l1")
    state = {key: each.clone() for key, each in network.state_dict().items()}
    found = []
    for prefix in (lambda *given: Prefix(*given, most), Without):
        monkeypatch.setattr(sensitivity, "Prefix", prefix)
        found.append(group_losses(network, table, order, images.clone()))
    assert found[0].max() > 0
    assert np.array_equal(*found)
    assert all(torch.equal(each, state[key]) for key, each in network.state_dict().items())
    assert not any("forward" in vars(module) for module in network.modules())


def test_only_what_comes_behind_a_change_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = build("resnet20", 10).eval(), torch.randn(10, 3, 32, 32)
    ran: list[nn.Module] = []
    convolve = nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda layer, *given: ran.append(layer) or convolve(layer, *given))
    prefix = Prefix(network, Plan("resnet20", network, (3, 32, 32)).table)
    with prefix.noted(network):
        wanted = outputs_of(network, images)
    other = build("resnet20", 10).eval()
    other.load_state_dict(network.state_dict())
    ran.clear()
    with prefix.used(other):
        assert torch.equal(outputs_of(other, images)[0], wanted[0])
    assert not ran
    convs = [each for each in other.modules() if isinstance(each, nn.Conv2d)]
    changed = convs[len(convs) // 2]
    with torch.no_grad():
        changed.weight.mul_(1.5)
    with prefix.used(other):
        some = outputs_of(other, images)[0]
    assert len(convs) // 3 < len(ran) < 2 * len(convs) // 3
    assert changed in ran and convs[0] not in ran and convs[-1] in ran
    assert not torch.equal(some, wanted[0])
    assert torch.equal(some, outputs_of(other, images)[0])
    with prefix.used(other):
        mirrored = outputs_of(other, images.flip(0))[0]
    assert torch.equal(mirrored, outputs_of(other, images.flip(0))[0])
