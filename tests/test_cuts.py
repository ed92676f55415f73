"""Networks that cut channels where numbers of theirs say: the numbers follow, and a file keeps them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from profilesearch import load_pruned, prune
from profilesearch.networks.plan import Plan
from profilesearch.networks.probing import probe
from profilesearch.networks.surgery import TOLERANCE, pruning_error

SHAPE = (3, 8, 8)


class Cutting(nn.Module):
    """Two convolutions, of which the second reads pieces of what the first makes, each by itself."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, sum(sizes), 3, padding=1)
        self.parts = nn.ModuleList(nn.Conv2d(size, size, 3, padding=1, groups=size) for size in sizes)
        self.b = nn.Conv2d(sum(sizes), 12, 1)
        self.fc = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.a(images).relu()
        joined = torch.cat([part(piece) for part, piece in zip(self.parts, self.cut(x), strict=True)], 1)
        scores: Tensor = self.fc(self.b(joined).relu().mean((2, 3)))
        return scores

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)


class Listed(Cutting):
    """Keeps all sizes, as mixed convolutions do."""

    def __init__(self) -> None:
        super().__init__(9, 4, 4)
        self.sizes = (9, 4, 4)

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, self.sizes, 1)


class Sliced(Cutting):
    """Keeps one size, as partial convolutions do."""

    def __init__(self) -> None:
        super().__init__(6, 11)
        self.first = 6

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return x[:, : self.first], x[:, self.first :]


class Rest(Cutting):
    """Keeps one size, and that of the whole."""

    def __init__(self) -> None:
        super().__init__(6, 11)
        self.first, self.whole = 6, 17

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, [self.first, self.whole - self.first], 1)


class Ends(Cutting):
    def __init__(self) -> None:
        super().__init__(4, 5, 8)
        self.low, self.high, self.last = 4, 9, 8

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return x[:, : self.low], x[:, self.low : self.high], x[:, -self.last :]


class Equal(Cutting):
    """Keeps the one size of all pieces, as Res2Net does."""

    def __init__(self) -> None:
        super().__init__(6, 6, 6)
        self.width = 6

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(self.width, 1)


class Chance(Cutting):
    """Halves what there is, and has a number that is equal to the half and means something else."""

    def __init__(self) -> None:
        super().__init__(8, 8)
        self.rows = 8

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.view(len(x), -1, self.rows, 8).chunk(2, 1)


class Unread(Cutting):
    """Halves what there is, and has numbers equal to the half and the whole that its forward pass does not read."""

    def __init__(self) -> None:
        super().__init__(8, 8)
        self.num_classes, self.stride = 8, 16

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.chunk(2, 1)


class Spelled(Cutting):
    def __init__(self) -> None:
        super().__init__(6, 11)

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return x[:, :6], x[:, 6:]


class Stepping(Cutting):
    def __init__(self) -> None:
        super().__init__(9, 8)
        self.end = 16

    def cut(self, x: Tensor) -> tuple[Tensor, ...]:
        return x[:, ::2], x[:, 1 : self.end : 2]


KINDS: dict[Callable[[], nn.Module], int] = {Listed: 4, Sliced: 3, Rest: 3, Ends: 4, Equal: 2, Chance: 2}
"""Groups of each: one for each piece that may have a width of its own."""


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_say_where_channels_are_cut_follow_them(kind: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = kind().eval()
    plan = Plan("cutting", network, SHAPE)
    double, batch = probe(network, plan.example)
    assert len(plan.table.groups) == KINDS[kind], plan.table.excluded
    assert all(pruning_error(double, plan.table.groups, batch, seed) < TOLERANCE for seed in range(4))
    before = {name: vars(module).copy() for name, module in network.named_modules()}
    small = prune(network, 0.4, SHAPE, profile="random")
    assert before == {name: vars(module) for name, module in network.named_modules()}
    assert small.network.train()(torch.rand(2, *SHAPE)).shape == (2, 5)
    small.save(path := tmp_path / "small.safetensors")
    again, images = load_pruned(path, network=kind()), torch.rand(2, *SHAPE)
    assert torch.equal(again(images), small.network.eval()(images))


@pytest.mark.parametrize("kind", [Spelled, Stepping])
def test_what_no_number_says_stays(kind: Callable[[], nn.Module]) -> None:
    table = Plan("cutting", kind().eval(), SHAPE).table
    assert table.names == ("b",)
    assert {each.name: each.reason for each in table.excluded}["a"] == "cut at a fixed place"


def test_numbers_that_need_not_follow_a_cut_stay() -> None:
    network = prune(Unread().eval(), 0.4, SHAPE, profile="random").network
    assert (network.num_classes, network.stride) == (8, 16)
