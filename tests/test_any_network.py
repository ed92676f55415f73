"""Networks put together at random from torch.nn: pruned = masked, counted = torch's count, or out for a reason."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import FrozenBatchNorm2d

from profilesearch.networks.cost import CostModel
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.plan import Plan
from profilesearch.networks.probing import probe
from profilesearch.networks.surgery import TOLERANCE, Pruner, pruning_error

SIZE = 8
ACTIVATIONS = (
    nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Hardsigmoid, nn.Hardswish, nn.GELU, nn.ELU, nn.CELU, nn.SELU,
    nn.Mish, nn.LeakyReLU, nn.LogSigmoid, nn.PReLU, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.RReLU, nn.Softsign,
    nn.ReLU6, nn.Softmax2d, nn.Identity, nn.Dropout, nn.Dropout2d,
)  # fmt: skip
POOLINGS = (
    lambda: nn.MaxPool2d(3, 1, 1), lambda: nn.AvgPool2d(3, 1, 1), lambda: nn.LPPool2d(2, 1),
    lambda: nn.AdaptiveMaxPool2d(SIZE), lambda: nn.AdaptiveAvgPool2d(SIZE), lambda: nn.ReflectionPad2d(1),
    lambda: nn.ReplicationPad2d(1), lambda: nn.CircularPad2d(1), lambda: nn.ZeroPad2d(1), lambda: nn.Upsample(SIZE),
    lambda: nn.Upsample(scale_factor=2, mode="bilinear"), lambda: nn.LocalResponseNorm(3), lambda: nn.Softmax(-1),
)  # fmt: skip
PADDINGS = ("zeros", "reflect", "replicate", "circular")


class Join(nn.Module):
    """A step that splits its input, or joins it with a branch of its own."""

    def __init__(self, kind: str, branch: nn.Module) -> None:
        super().__init__()
        self.kind = kind
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        if self.kind in ("shuffle", "unshuffle"):
            return (functional.pixel_shuffle if self.kind == "shuffle" else functional.pixel_unshuffle)(x, 2)
        if self.kind == "chunk":
            one, other = x.chunk(2, 1)
            return torch.cat([other, one * 2], 1)
        made = self.branch(x)
        if self.kind in ("product", "gate"):
            return x * (made if self.kind == "product" else made.mean((2, 3), keepdim=True)).sigmoid()
        return x + made if self.kind == "sum" else torch.cat([x, made.relu()], 1)


class Assembled(nn.Module):
    def __init__(self, body: nn.Module, ending: str, rows: int) -> None:
        super().__init__()
        self.body = body
        self.ending = ending
        self.fc = nn.Linear(rows, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.body(images)
        if self.ending == "mean":
            x = x.mean((2, 3))
        elif self.ending == "view":
            x = x.contiguous().view(x.size(0), -1)
        elif self.ending == "number":
            x = x.reshape(x.shape[0], self.fc.in_features)
        else:
            x = x.flatten(1)
        scores: Tensor = self.fc(x)
        return scores


@st.composite
def convolutions(draw: st.DrawFn, inputs: int, outputs: int) -> nn.Module:
    shared = [g for g in (1, 2, 4, 8, 16) if inputs % g == 0 and outputs % g == 0]
    groups = draw(st.sampled_from(shared))
    kernel, dilation, bias = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 2])), draw(st.booleans())
    reach = dilation * (kernel - 1) // 2
    if draw(st.integers(0, 3)) == 0:
        return nn.ConvTranspose2d(inputs, outputs, kernel, padding=reach, groups=groups, bias=bias, dilation=dilation)
    mode = draw(st.sampled_from(PADDINGS))
    return nn.Conv2d(inputs, outputs, kernel, 1, reach, dilation, groups, bias, mode)


@st.composite
def norms(draw: st.DrawFn, width: int) -> nn.Module:
    affine = draw(st.booleans())
    kinds = (
        lambda: nn.BatchNorm2d(width, affine=affine), lambda: FrozenBatchNorm2d(width),
        lambda: nn.InstanceNorm2d(width, affine=affine), lambda: nn.GroupNorm(width, width, affine=affine),
        lambda: nn.GroupNorm(1, width, affine=affine), lambda: nn.GroupNorm(2, width, affine=affine),
        lambda: nn.BatchNorm2d(width, affine=affine, track_running_stats=False),
    )  # fmt: skip
    return draw(st.sampled_from(kinds))()


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    torch.manual_seed(draw(st.integers(0, 99)))
    width, steps = 8, [draw(convolutions(3, 8))]
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["convolution", "norm", "activation", "pooling", "join"]))
        if kind == "convolution":
            after = draw(st.sampled_from([4, 6, 8, 16]))
            steps.append(draw(convolutions(width, after)))
            width = after
        elif kind == "norm":
            steps.append(draw(norms(width)))
        elif kind == "activation":
            made = draw(st.sampled_from(ACTIVATIONS))
            steps.append(nn.PReLU(width) if made is nn.PReLU and draw(st.booleans()) else made())
        elif kind == "pooling":
            steps.append(draw(st.sampled_from(POOLINGS))())
        else:
            steps.append(Join(draw(st.sampled_from(["sum", "product", "gate", "cat", "chunk", "shuffle", "unshuffle"])),
                              draw(convolutions(width, width))))  # fmt: skip
            kind = steps[-1].kind
            if kind == "shuffle" and width % 4:
                steps.pop()
            elif kind in ("cat", "shuffle", "unshuffle"):
                width = {"cat": 2 * width, "shuffle": width // 4, "unshuffle": 4 * width}[kind]
        steps.append(nn.AdaptiveAvgPool2d(SIZE))
        if width > 64:
            steps.append(nn.Conv2d(width, 8, 1))
            width = 8
    ending = draw(st.sampled_from(["mean", "view", "flatten", "number"]))
    return Assembled(nn.Sequential(*steps), ending, width if ending == "mean" else width * SIZE**2).eval()


def check(network: nn.Module) -> None:
    """Holds one network against masking and against torch's counter, and looks for a row for every kernel."""
    plan = Plan("any", network, (3, SIZE, SIZE))
    table = plan.table
    rows = {layer for each in (*table.groups, *table.excluded) for layer in each.layers}
    for name, parameter in network.named_parameters():
        assert parameter.dim() < 2 or name.removesuffix(".weight") in rows, name
    assert all(entry.reason for entry in table.excluded)
    cost = CostModel(network, table, plan.example)
    widths = (table.channels + 1) // 2
    pruned = Pruner(network, table).prune(keep_channels(rank_channels(network, table, "random"), table, widths)).eval()
    for each, expected in ((network, table.channels), (pruned, widths)):
        with FlopCounterMode(display=False) as counter:
            each(plan.example)
        assert counter.get_total_flops() / 2 == cost.macs(expected)
        assert sum(parameter.numel() for parameter in each.parameters()) == cost.params(expected)
    double, batch = probe(network, plan.example)
    assert not table.groups or pruning_error(double, table.groups, batch, seed=7) < TOLERANCE


@pytest.mark.full
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(networks())
def test_any_network_is_pruned_as_masked_and_costs_what_is_counted(network: nn.Module) -> None:
    check(network)
