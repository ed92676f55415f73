"""What comes before a cut is not computed again, and nothing else is taken for it."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

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


class Block(nn.Module):
    """A convolution within a block."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, width, 3, padding=1)

    def forward(self, given: Tensor) -> Tensor:
        made: Tensor = self.conv(given).relu()
        return made


class Listed(nn.Module):
    """Hands a list on, to which blocks append, and a dictionary, into which they write."""

    class Joined(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(width, 4, 3, padding=1), nn.BatchNorm2d(4)

        def forward(self, given: list[Tensor], seen: dict[int, Tensor]) -> Tensor:
            made: Tensor = self.norm(self.conv(torch.cat(given, dim=1))).relu()
            given.append(made)
            seen[len(given)] = made
            return made

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layers = nn.Conv2d(3, 4, 3), nn.ModuleList(self.Joined(4 + 4 * i) for i in range(3))
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        given, seen = [self.stem(images)], dict[int, Tensor]()
        for layer in self.layers:
            layer(given, seen)
        one, other = torch.cat(given, dim=1).chunk(2, dim=1)
        return {"scores": self.head((one + other).mean(dim=(2, 3))), "second": seen[2].mean(dim=(2, 3))}


class Hooked(nn.Module):
    """Gathers what inner layers give by hooks."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = Block(8, 12), nn.Conv2d(12, 8, 1)

        def forward(self, given: Tensor) -> Tensor:
            made: Tensor = given + self.two(self.one(given))
            return made

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 3), nn.Sequential(*(self.Residual() for _ in range(3)))
        self.head, self.seen = nn.Linear(8, 5), list[Tensor]()
        for block in self.blocks:
            block.two.register_forward_hook(self.note)

    def note(self, _: nn.Module, __: Any, made: Tensor) -> None:
        self.seen.append(made.mean(dim=1))

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen.clear()
        made = self.blocks(self.stem(images))
        return [self.head(made.mean(dim=(2, 3))), *self.seen]


class Told(nn.Module):
    """Blocks are told of more than tensors, and keep things for one another."""

    class Scaled(Block):
        def forward(self, given: Any, by: float = 1.0) -> Tensor:
            self.kept = given().mean(dim=1, keepdim=True)
            return super().forward(given() * by)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.other = Block(3, 8), self.Scaled(8, 12), self.Scaled(12, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        one = self.one(lambda: stem, float(stem.mean()))
        other = self.other(lambda: one) + self.one.kept
        scores: Tensor = self.head(other.mean(dim=(2, 3)))
        return scores


class Shared(nn.Module):
    """Two blocks share a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.other = Block(3, 8), Block(8, 12), Block(8, 12)
        self.other.conv = self.one.conv
        self.tail, self.head = Block(12, 8), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        given = self.stem(images)
        made = self.tail(self.other(given) + self.one(given.flip(3)))
        scores: Tensor = self.head(made.mean(dim=(2, 3)))
        return scores


class Behind(nn.Module):
    """Changes what layers gave behind torch's back."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mid, self.last = (nn.Conv2d(i, o, 3) for i, o in ((3, 8), (8, 12), (12, 8)))
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        given = self.stem(images)
        given.data.mul_(0.5)
        scores: Tensor = self.head(self.last(self.mid(given.relu()).relu()).mean(dim=(2, 3)))
        return scores


class Made(nn.Module):
    """Makes weights of a layer while it runs, changes what layers gave behind torch's back, and hands masks out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mid, self.last = Block(3, 8), Block(8, 12), nn.Conv2d(12, 8, 1)
        self.norm, self.gate, self.head = nn.BatchNorm2d(8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        given = self.stem(images)
        made = self.last(self.mid(given))
        made.data.mul_(0.5)
        self.norm.weight.data = self.gate(made.mean(dim=(0, 2, 3))).detach()
        kept = self.norm(given).mean(dim=(2, 3))
        wide = copy.copy(self.stem.conv)
        wide.dilation, wide.padding = (2, 2), (2, 2)
        return self.head(made.mean(dim=(2, 3)) + kept + torch.vmap(self.gate)(kept)), wide(images).mean(dim=1) > 0


class Counting(nn.Module):
    """Counts its passes, on which what it gives depends."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.head, self.passes = nn.Sequential(Block(3, 8), Block(8, 12)), nn.Linear(12, 5), 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        self.seen += 1
        made = self.blocks(images * (1 + 0.01 * self.passes + 0.01 * self.seen))
        scores: Tensor = self.head(made.mean(dim=(2, 3)))
        return scores


class Random(nn.Module):
    """Draws numbers in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.head = nn.Sequential(Block(3, 8), Block(8, 12)), nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        made = self.blocks(functional.dropout(images, 0.1, training=True))
        scores: Tensor = self.head(made.mean(dim=(2, 3)))
        return scores


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{each.__name__: each for each in (InPlace, Listed, Hooked, Told, Shared, Behind, Made, Counting, Random)},
    **{name: lambda name=name: build(name, 10) for name in ("resnet8", "squeezenet_tiny", "mobilenet_v3_tiny")},
}


class Without:
    """Knows nothing."""

    def __init__(self, model: nn.Module, outputs: Callable[[nn.Module], list[Tensor]]) -> None:
        self.outputs, self.used = outputs(model), nullcontext


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("most", [1_000_000_000, 400_000])
def test_losses_are_what_they_are_without(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, images = NETWORKS[name]().eval(), torch.randn(60, 3, 16, 16)
    table = Plan(name, network, (3, 16, 16)).table
    order = rank_channels(network, table, "l1")
    found = []
    for prefix in (partial(Prefix, most=most), Without):
        monkeypatch.setattr(sensitivity, "Prefix", prefix)
        torch.manual_seed(1)
        found.append(group_losses(copy.deepcopy(network), table, order, images.clone()))
    assert 0 < found[0].max() < sensitivity._LOST
    assert np.array_equal(*found)


def test_only_what_comes_behind_a_change_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = build("resnet20", 10).eval(), torch.randn(10, 3, 32, 32)
    ran: list[nn.Module] = []
    convolve = nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda layer, *given: ran.append(layer) or convolve(layer, *given))
    prefix = Prefix(network, partial(outputs_of, images=images))
    wanted = prefix.outputs
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


def test_layers_are_themselves_again_whatever_happens() -> None:
    network = build("resnet8", 10).eval()
    prefix = Prefix(network, partial(outputs_of, images=torch.randn(4, 3, 32, 32)))
    with pytest.raises(KeyError), prefix.used(network):
        assert "forward" in vars(network.conv1)
        raise KeyError("its own code")
    assert not any("forward" in vars(module) for module in network.modules())
