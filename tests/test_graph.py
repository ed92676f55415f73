"""Couplings that following labels through a network must get right, each in a network made of little else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.errors import UsageError
from profilesearch.networks.graph import trace
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import check_plan

Forward = Callable[[nn.Module, Tensor], Tensor]


class Small(nn.Module):
    """Layers by name, and a forward pass from outside."""

    def __init__(self, forward: Forward, **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, images: Tensor) -> Tensor:
        return self._forward(self, images)


def table(forward: Forward, **layers: nn.Module | nn.Parameter) -> GroupTable:
    """Traces a network; every group that is found must pass the check against masking."""
    torch.manual_seed(0)
    network = Small(forward, **layers).eval()
    example = torch.rand(1, 3, 8, 8)
    found = trace(network, example)
    assert check_plan(network, found, example).names == found.names
    return found


def conv(inputs: int, outputs: int, size: int = 1, **settings: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **settings)


def tail(network: nn.Module, features: Tensor) -> Tensor:
    return network.last(features.mean((2, 3)))  # type: ignore[no-any-return, operator]


def slices(found: GroupTable, name: str) -> dict[tuple[str, int], list[list[int]]]:
    group = found.groups[found.names.index(name)]
    return {(part.tensor, part.dim): part.rows.tolist() for part in group.slices}


def test_concatenation_and_flatten() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net.last(torch.cat([net.a(x), net.b(x).relu()], 1).flatten(1))

    found = table(forward, a=conv(3, 4), b=conv(3, 2), last=nn.Linear(6 * 64, 5))
    assert found.names == ("a", "b")
    assert slices(found, "b")["last.weight", 1] == [list(range(256, 320)), list(range(320, 384))]


def test_residual_sum_is_scope_all() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return tail(net, x + net.c(net.b(x).relu()))

    found = table(forward, a=conv(3, 8), b=conv(8, 6), c=conv(6, 8), last=nn.Linear(8, 5))
    assert {group.name: group.scope for group in found.groups} == {"a": "all", "b": "block"}
    assert {("a.weight", 0), ("c.weight", 0), ("b.weight", 1), ("last.weight", 1)} <= slices(found, "a").keys()


def test_gates_tie_within_a_block() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        gate = net.up(net.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return tail(net, x * gate)

    found = table(forward, a=conv(3, 8), down=conv(8, 2), up=conv(2, 8), last=nn.Linear(8, 5))
    assert {group.name: group.scope for group in found.groups} == {"a": "block", "down": "block"}
    assert ("up.bias", 0) in slices(found, "a")


def test_one_attention_map_for_all_channels_ties_nothing() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return tail(net, x * net.map(x).sigmoid())

    found = table(forward, a=conv(3, 8), map=conv(8, 1), last=nn.Linear(8, 5))
    assert found.names == ("a",)
    assert found.excluded[0].reason == "one value for several channels"


def test_grouped_convolutions_go_by_whole_groups() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return tail(net, net.b(net.a(x)))

    found = table(forward, a=conv(3, 8), b=conv(8, 12, 3, groups=4), last=nn.Linear(12, 5))
    assert (found.names, found.channels.tolist()) == (("a",), [4])
    assert slices(found, "a")["b.weight", 0] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert ("b.weight", 1) not in slices(found, "a")


def test_a_layer_used_twice_ties_both_uses() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return tail(net, net.b(net.b(x).relu()))

    found = table(forward, a=conv(3, 8), b=conv(8, 8), last=nn.Linear(8, 5))
    assert found.names == ("a",)
    assert {("a.weight", 0), ("b.weight", 0), ("b.weight", 1)} <= slices(found, "a").keys()


def test_parameters_outside_of_layers_follow_their_channels() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return tail(net, net.a(x) * net.scale)

    found = table(forward, a=conv(3, 8), scale=nn.Parameter(torch.rand(8, 1, 1)), last=nn.Linear(8, 5))
    assert slices(found, "a")["scale", 0] == [[place] for place in range(8)]


def test_zero_padded_shortcuts_leave_the_other_channels() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return tail(net, net.b(x) + functional.pad(x, (0, 0, 0, 0, 1, 3)))

    found = table(forward, a=conv(3, 4), b=conv(4, 8), last=nn.Linear(8, 5))
    assert slices(found, "a")["b.weight", 0] == [[1], [2], [3], [4]]
    assert [(entry.name, entry.channels) for entry in found.excluded if "padding" in entry.reason] == [("b", 4)]


def test_padding_of_the_image_plane_changes_no_channel() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return tail(net, net.b(functional.pad(net.a(x), (0, 1, 2, 0))))

    assert table(forward, a=conv(3, 4), b=conv(4, 6, 3), last=nn.Linear(6, 5)).names == ("a", "b")


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda net, x: tail(net, net.b(net.a(x)[:, :5])), "cut at a fixed place"),
        (lambda net, x: tail(net, net.b(functional.normalize(net.a(x), dim=1)[:, :5])), "mixes channels"),
        (lambda net, x: tail(net, net.b(net.a(x).softmax(1)[:, :5])), "mixes channels"),
        (lambda net, x: tail(net, functional.conv2d(net.a(x)[:, :5], net.b.weight * 2)), "cut at a fixed place"),
        (lambda net, x: tail(net, functional.conv2d(net.wide(x), net.b.weight * 2)), "computed on the fly"),
        (lambda net, x: tail(net, net.b(net.norm(net.a(x))[:, :5])), "normalized together"),
    ],
)
def test_what_cannot_be_followed_is_out_of_scope_with_its_reason(forward: Forward, reason: str) -> None:
    layers = {"a": conv(3, 8), "b": conv(5, 4), "wide": conv(3, 5), "norm": nn.GroupNorm(2, 8)}
    found = table(forward, **layers, last=nn.Linear(4, 5))
    assert any(reason in entry.reason for entry in found.excluded if entry.name != "last")


@pytest.mark.parametrize("weigh", [Tensor.softmax, Tensor.cumsum], ids=["softmax", "cumsum"])
def test_attention_over_paths_mixes_no_channels(weigh: Callable[..., Tensor]) -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        paths = torch.stack([net.a(x).relu(), net.b(x).relu()], 1)
        weights = net.select(net.reduce(paths.sum(1).mean((2, 3), keepdim=True)).relu())
        weights = weigh(weights.view(len(x), 2, -1, 1, 1), dim=1)
        return tail(net, (paths * weights).sum(1))

    found = table(forward, a=conv(3, 6), b=conv(3, 6, 3), reduce=conv(6, 4), select=conv(4, 12), last=nn.Linear(6, 5))
    assert found.names == ("a", "reduce")
    rows = slices(found, "a")
    assert rows["select.weight", 0] == [[each, each + 6] for each in range(6)]
    assert {("a.weight", 0), ("b.weight", 0), ("last.weight", 1)} <= rows.keys()


def test_sums_over_pieces_of_a_view_mix_no_channels() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return tail(net, net.a(x).relu().reshape(len(x), 2, -1, 8, 8).sum(1))

    found = table(forward, a=conv(3, 8), last=nn.Linear(4, 5))
    assert slices(found, "a")["a.weight", 0] == [[each, each + 4] for each in range(4)]


@pytest.mark.parametrize("first", [True, False])
def test_padding_among_pieces_takes_no_channel_away(first: bool) -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        y = net.a(x).relu()
        both = torch.cat([torch.zeros_like(y), y] if first else [y, torch.zeros_like(y)], 1)
        return tail(net, both.view(len(x), 2, -1, 8, 8)[:, int(first)])

    reasons = {each.reason for each in table(forward, a=conv(3, 8), last=nn.Linear(8, 5)).excluded}
    assert "no layer takes them" not in reasons


def test_shuffled_halves_stay_equal() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        x = torch.cat([net.a(x), net.b(x)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return tail(net, x)

    found = table(forward, a=conv(3, 4), b=conv(3, 4), last=nn.Linear(8, 5))
    assert slices(found, "a")["last.weight", 1] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_auxiliary_classifiers_are_followed_in_training() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return tail(net, x) + (net.aux(x.mean((2, 3))) if net.training else 0)

    found = table(forward, a=conv(3, 4), aux=nn.Linear(4, 5), last=nn.Linear(4, 5))
    assert ("aux.weight", 1) in slices(found, "a")


def test_means_over_channels_are_told_from_means_over_the_image() -> None:
    def centred(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return tail(net, x - x.mean(1, keepdim=True))

    assert table(centred, a=conv(3, 8), last=nn.Linear(8, 5)).names == ()  # as many channels as rows
    found = table(lambda net, x: net.last(net.a(x).sum(-1).amax(2)), a=conv(3, 8), last=nn.Linear(8, 5))
    assert found.names == ("a",)


@dataclass
class Boxed:
    """What some networks return."""

    found: Tensor
    note: str = "none"


@pytest.mark.parametrize(
    "pack", [lambda a, b: (a, b), lambda a, b: [[a], None, b], lambda a, b: {"out": a, "aux": Boxed(b)}]
)
def test_all_outputs_keep_their_channels(pack: Callable[[Tensor, Tensor], Any]) -> None:
    def forward(net: nn.Module, x: Tensor) -> Any:
        x = net.a(x)
        return pack(net.b(x), net.c(x))

    found = table(forward, a=conv(3, 8), b=conv(8, 8), c=conv(8, 8))
    assert found.names == ("a",)
    assert {entry.name: entry.reason for entry in found.excluded} == dict.fromkeys(
        "bc", "makes the outputs of the network"
    )


@pytest.mark.parametrize("pack", [lambda a: None, lambda a: (1, "a"), lambda a: (a, object())])
def test_outputs_that_are_not_known_are_refused(pack: Callable[[Tensor], Any]) -> None:
    with pytest.raises(UsageError, match=r"the network returns an? .*; return"):
        table(lambda net, x: pack(net.a(x)), a=conv(3, 4))


def test_imaginary_parts_of_outputs_are_checked_too() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return 1j * tail(net, x) * x.shape[1]  # what is masked keeps its width

    network, example = Small(forward, a=conv(3, 8), last=nn.Linear(8, 5)).eval(), torch.rand(1, 3, 8, 8)
    found = trace(network, example)
    assert found.names == ("a",)
    assert check_plan(network, found, example).names == ()


def test_what_training_alone_returns_keeps_its_width() -> None:
    def scores(net: nn.Module, x: Tensor) -> Any:
        low = net.a(x).relu()
        made, other = tail(net, net.b(low).relu()), net.other(net.aux(low).relu())
        return (made, other) if net.training else made

    layers = {"a": conv(3, 8), "b": conv(8, 6), "aux": conv(8, 4), "other": conv(4, 3), "last": nn.Linear(6, 5)}
    found = table(scores, **layers)
    assert found.names == ("a", "b", "aux")

    def features(net: nn.Module, x: Tensor) -> Any:
        made = net.a(x).relu()
        return (tail(net, made), made) if net.training else tail(net, made)

    found = table(features, a=conv(3, 8), last=nn.Linear(8, 5))
    assert not found.names


def test_what_meets_in_training_alone_is_tied() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        mean, deviation = net.mean(x), net.deviation(x).exp()
        return tail(net, mean + deviation * torch.randn_like(mean) if net.training else mean)

    found = table(forward, mean=conv(3, 8), deviation=conv(3, 8), last=nn.Linear(8, 5))
    assert found.names == ("mean",)
    assert ("deviation.weight", 0) in slices(found, "mean")


def test_kernels_that_are_computed_are_others_where_training_runs_more() -> None:
    def blurred(x: Tensor, made: Tensor) -> Tensor:
        return nn.functional.conv2d(x, made.view(-1, 1, 3, 3), padding=1, groups=x.shape[1])

    def forward(net: nn.Module, x: Tensor) -> Any:
        low = net.a(x).relu()
        aside = net.aside(low.mean((2, 3))) @ torch.eye(5) @ torch.eye(5) if net.training else None
        made = net.c(blurred(net.b(blurred(low, net.one(net.code))).relu(), net.two(net.code))).relu()
        return tail(net, made) if aside is None else (tail(net, made), aside)

    layers = {"a": conv(3, 8), "b": conv(8, 12), "c": conv(12, 6), "last": nn.Linear(6, 5), "aside": nn.Linear(8, 5)}
    kernels = {"code": nn.Parameter(torch.rand(1, 4)), "one": nn.Linear(4, 72), "two": nn.Linear(4, 108)}
    assert table(forward, **layers, **kernels).names == ("c",)


def test_what_no_layer_takes_keeps_its_width() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        net.kept = net.aside(net.a(x))
        return tail(net, net.a(x))

    found = table(forward, a=conv(3, 8), aside=conv(8, 4), last=nn.Linear(8, 5))
    assert found.names == ("a",)
    assert "no layer takes them" in {each.reason for each in found.excluded if each.name == "aside"}


@pytest.mark.parametrize(
    "join",
    [
        lambda one, other: torch.cat([one, other]).reshape(2, -1, *one.shape[1:]).sum(0),
        lambda one, other: torch.cat([one.flatten(2), other.flatten(2)], 2)[..., None],
        lambda one, other: torch.stack([one, other], 2).flatten(1, 2),
        lambda one, other: torch.stack([one, other], 1).amax(1),
    ],
)
def test_channels_that_are_joined_along_another_dimension_are_tied(join: Callable[[Tensor, Tensor], Tensor]) -> None:
    wide = 8 if join(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)).shape[1] == 8 else 4
    layers = {"a": conv(3, 4), "b": conv(3, 4), "c": conv(wide, 6), "last": nn.Linear(6, 5)}
    found = table(lambda net, x: tail(net, net.c(join(net.a(x), net.b(x)).relu())), **layers)
    assert [group.layers for group in found.groups] == [("a", "b"), ("c",)]


def test_layers_whose_weights_are_computed_have_their_names() -> None:
    normed = torch.nn.utils.parametrizations.weight_norm(conv(4, 4))
    found = table(lambda net, x: tail(net, net.b(net.b(net.a(x)))), a=conv(3, 4), b=normed, last=nn.Linear(4, 5))
    named = [each.layers for each in found.excluded if each.reason == "its weights are computed on the fly"]
    assert named == [("b", "layer number 3")]


def test_networks_that_cannot_be_copied_give_one_sentence() -> None:
    normed = torch.nn.utils.weight_norm(conv(3, 4))
    network = Small(lambda net, x: tail(net, net.a(x)), a=normed, last=nn.Linear(4, 5))
    with pytest.raises(UsageError, match="remove_weight_norm"):
        _ = Plan("small", network, (3, 8, 8)).table


def test_what_does_not_run_gives_one_sentence() -> None:
    with pytest.raises(UsageError, match="cannot trace Small"):
        table(lambda net, x: net.a(x), a=conv(4, 4))
