"""Kinds of networks that people have: each is followed channel by channel, or left out for a reason that is true."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import FrozenBatchNorm2d

from profilesearch.errors import UsageError
from profilesearch.networks.checkpoints import load_network, load_pruned, save_network
from profilesearch.networks.cost import CostModel, evaluating
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import Budget

Layer = Callable[[], nn.Module]
SHAPE = (3, 16, 16)


class Chain(nn.Module):
    """Two convolutions and a classifier, with something between them."""

    def __init__(self, num_classes: int = 5, in_channels: int = 3, between: Layer = nn.ReLU) -> None:
        super().__init__()
        self.a = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.between = between()
        self.b = nn.Conv2d(8, 12, 3, padding=1)
        self.fc = nn.Linear(12, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.b(self.between(self.a(images))).relu().mean((2, 3)))
        return scores


class Blur(nn.Module):
    """Blur pooling whose kernel is made for as many channels as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.rand(1, 1, 3, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.kernel.expand(x.shape[1], -1, -1, -1), padding=1, groups=x.shape[1])  # type: ignore[operator]


class Wide(nn.Module):
    """A filter that keeps its width as a number, and its kernel outside of the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = 8
        self.register_buffer("kernel", torch.rand(8, 1, 3, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.kernel, padding=1, groups=self.channels)  # type: ignore[arg-type]


class Product(nn.Module):
    """A layer as a matrix product with a bare parameter, inputs first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return (x.movedim(1, -1) @ self.weight).movedim(-1, 1)


class Scale(nn.Module):
    """A value for every channel, and one for every channel and pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.place = nn.Parameter(torch.rand(8, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain + self.place


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), 8 * 16 * 16).view(len(x), -1, 16, 16)


class Windows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.unfold(2, 4, 2).unfold(3, 4, 2).amax((-2, -1))


class Columns(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.unfold(x, 2, stride=2).view(len(x), x.shape[1], 4, 8, 8).amax(2)


class Attending(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).mT.unsqueeze(1).contiguous()
        return functional.scaled_dot_product_attention(rows, rows, rows)[:, 0].mT.reshape(x.shape)


class Asserting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 8, "eight channels wanted"
        return x


class Noisy(nn.Module):
    """Noise while it trains, of a width that its code holds."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn(len(x), 8, 1, 1) if self.training else x


def plan_of(between: Layer) -> Plan:
    torch.manual_seed(0)
    return Plan("test_kinds:chain", Chain(between=between).eval(), SHAPE)


def half(plan: Plan) -> nn.Module:
    """Prunes every group to half, and holds the multiply-adds against torch's counter."""
    table, widths = plan.table, plan.table.channels // 2
    keep = keep_channels(rank_channels(plan.network, table, "l1"), table, widths)
    pruned = Pruner(plan.network, table).prune(keep).eval()
    cost = CostModel(plan.network, table, plan.example)
    for network, expected in ((plan.network, table.channels), (pruned, widths)):
        with FlopCounterMode(display=False) as counter:
            network(plan.example)
        assert counter.get_total_flops() / 2 == cost.macs(expected)
    return pruned


def kernels_without_a_row(network: nn.Module, table: GroupTable) -> set[str]:
    rows = {layer for each in (*table.groups, *table.excluded) for layer in each.layers}
    kernels = {name.removesuffix(".weight") for name, tensor in network.named_parameters() if tensor.dim() > 1}
    followed = {part.tensor for group in table.groups for part in group.slices}
    return {name for name in kernels if name not in rows and name not in followed}


FOLLOWED: dict[str, Layer] = {
    "frozen": lambda: FrozenBatchNorm2d(8),
    "plain BatchNorm": lambda: nn.Sequential(nn.BatchNorm2d(8, affine=False), nn.SiLU()),
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "PReLU": lambda: nn.PReLU(8),
    "RReLU": nn.RReLU,
    "LogSigmoid": nn.LogSigmoid,
    "InstanceNorm": lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    "GroupNorm": lambda: nn.GroupNorm(8, 8),
    "reflection": lambda: nn.ReflectionPad2d(1),
    "replication": lambda: nn.ReplicationPad2d(1),
    "circular": lambda: nn.CircularPad2d(1),
    "circular convolution": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
    "transposed": lambda: nn.ConvTranspose2d(8, 8, 4, 2, 1),
    "grouped transposed": lambda: nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=4),
    "depthwise": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8),
    "power pooling": lambda: nn.LPPool2d(2, 2),
    "blur": Blur,
    "width as a number": Wide,
    "matrix product": Product,
    "bare values": Scale,
    "shuffle": lambda: nn.ChannelShuffle(2),
    "spatial LayerNorm": lambda: nn.LayerNorm(16),
    "spatial softmax": lambda: nn.Softmax(-1),
    "windows": Windows,
    "columns": Columns,
}


@pytest.mark.parametrize("kind", FOLLOWED)
def test_what_treats_channels_by_themselves_is_followed(kind: str) -> None:
    plan = plan_of(FOLLOWED[kind])
    assert {"a", "b"} <= set(plan.table.names), plan.table.excluded
    assert half(plan)(plan.example).shape == (1, 5)
    assert not kernels_without_a_row(plan.network, plan.table)


def test_channels_that_become_the_pixels_of_one_stay_together() -> None:
    plan = plan_of(lambda: nn.Sequential(nn.Conv2d(8, 32, 1), nn.PixelShuffle(2), nn.BatchNorm2d(8), nn.ReLU()))
    group = next(group for group in plan.table.groups if group.name == "between.0")
    assert group.channels == 8
    assert half(plan).get_submodule("between.0").out_channels == 16


LEFT_OUT: dict[str, tuple[Layer, str]] = {
    "size in view": (Fixed, r"holds this width itself \(test_kinds.py, line \d+: RuntimeError: shape"),
    "assert": (Asserting, r"holds this width itself \(test_kinds.py, line \d+: AssertionError: eight channels wanted"),
    "noise of a training": (
        Noisy,
        r"a training holds this width itself \(test_kinds.py, line \d+: Runtime",
    ),
    "GroupNorm": (lambda: nn.GroupNorm(2, 8), "normalized together"),
    "softmax": (lambda: nn.Softmax(1), r"mixes channels \(_softmax\)"),
    "attention": (Attending, r"mixes channels \(_scaled_dot_product"),
    "local response": (lambda: nn.LocalResponseNorm(3), r"mixes channels \(avg_pool3d\)"),
    "random": (lambda: nn.FractionalMaxPool2d(2, output_ratio=0.7), "draws random numbers"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_cannot_be_pruned_has_a_true_reason(kind: str) -> None:
    plan = plan_of(LEFT_OUT[kind][0])
    reasons = {entry.name: entry.reason for entry in plan.table.excluded}
    assert "a" not in plan.table.names
    assert re.search(LEFT_OUT[kind][1], reasons["a"]), reasons
    half(plan)
    assert not kernels_without_a_row(plan.network, plan.table)


def test_a_budget_out_of_reach_is_refused_with_what_stands_in_the_way() -> None:
    class Standardized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return functional.conv2d(x, self.weight / self.weight.std((1, 2, 3), keepdim=True), self.bias)

    for between, why in (
        (lambda: nn.GroupNorm(2, 8), r"range is 0.\d+ to 1; of the multiply-adds, these make channels that stay: "
         r"normalized together with other channels \(LayerNorm, GroupNorm\) \(20%\)"),
        (lambda: Standardized(8, 8, 1), r"stay: taken by weights that .* its weights are computed on the fly \(6%\)"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=why):
            plan_of(between).space(Budget("macs", 0.05))
    lone = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8), nn.Flatten(), nn.Linear(8 * 256, 5)).eval()
    with pytest.raises(UsageError, match=r"no prunable channel .* normalized together .* \(38%\)"):
        Plan("test_kinds:lone", lone, SHAPE).space(Budget("macs", 0.5))


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.rand(8, 3, 3, 3))
        self.second = nn.Parameter(torch.rand(12, 8, 1, 1))
        self.unused = nn.Parameter(torch.rand(4, 4))
        self.fc = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.conv2d(functional.conv2d(images, self.first).relu(), self.second)
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def test_every_kernel_of_a_module_has_a_row() -> None:
    plan = Plan("test_kinds:bare", Bare().eval(), SHAPE)
    assert plan.table.names == ("first", "second")
    assert {entry.name: entry.reason for entry in plan.table.excluded}["unused"] == "not used by the forward pass"
    half(plan)


def test_attention_is_counted_and_left_alone() -> None:
    class Attention(nn.MultiheadAttention):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            rows = x.flatten(2).mT
            return (rows + super().forward(rows, rows, rows)[0]).mT.reshape(x.shape)

    plan = plan_of(lambda: Attention(8, 2, batch_first=True))
    assert plan.table.names == ("b",)
    half(plan)


def wide(num_classes: int = 5, in_channels: int = 3) -> nn.Module:
    return Chain(num_classes, in_channels, Wide)


def frozen(num_classes: int = 5, in_channels: int = 3) -> nn.Module:
    return Chain(num_classes, in_channels, lambda: FrozenBatchNorm2d(8))


@pytest.mark.parametrize("builder", [wide, frozen])
def test_cut_state_outside_of_the_state_dict_is_in_the_file(builder: Callable[[], nn.Module], tmp_path: Path) -> None:
    name, path = f"test_kinds:{builder.__name__}", tmp_path / "pruned.safetensors"
    torch.manual_seed(0)
    torch.save(builder().state_dict(), tmp_path / "full.pth")
    plan = Plan(name, load_network(name, tmp_path / "full.pth"), SHAPE)
    pruned = half(plan)
    save_network(path, pruned, {"architecture": name, "num_classes": 5, "in_channels": 3})
    assert torch.equal(load_pruned(path, name)(plan.example), pruned(plan.example))


def test_evaluating_gives_every_module_back_its_mode() -> None:
    network = Chain(between=lambda: nn.BatchNorm2d(8)).train()
    network.between.eval()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [name for name, module in network.named_modules() if not module.training] == ["between"]


def test_values_for_each_pixel_are_no_channels() -> None:
    plan = plan_of(Scale)
    slices = {(part.tensor, part.dim) for group in plan.table.groups for part in group.slices}
    assert {("between.gain", 1), ("between.place", 0)} <= slices
    assert np.array_equal(plan.table.channels, [8, 12])
