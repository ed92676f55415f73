"""Groups, cost, rounding, criteria and surgery, on networks of ours and of torchvision."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.resnet import Bottleneck
from torchvision.models.vgg import make_layers

from profilesearch import load_pruned, prune
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.folding import fold, foldable
from profilesearch.networks.groups import GroupTable, Slice
from profilesearch.networks.moments import second_moments
from profilesearch.networks.names import CRITERIA
from profilesearch.networks.plan import Plan
from profilesearch.networks.probing import probe
from profilesearch.networks.reconstruction import reconstruction_orders
from profilesearch.networks.rivals import taper, widest
from profilesearch.networks.space import TOLERANCE, round_widths
from profilesearch.networks.steps import steps
from profilesearch.networks.surgery import Pruner, check_plan, mask
from profilesearch.profiles import Budget, Scope

ARCHITECTURES = {
    "resnet20": (3, 32, 32),
    "resnet56": (1, 8, 8),
    "resnet18": (3, 32, 32),
    "resnet18_small": (1, 16, 16),
    "mobilenet_v2": (3, 32, 32),
    "mobilenet_v3_small": (3, 32, 32),
    "alexnet": (3, 64, 64),
    "squeezenet1_1": (3, 32, 32),
    "googlenet": (3, 32, 32),
    "mnasnet0_5": (3, 32, 32),
    "shufflenet_v2_x0_5": (3, 32, 32),
    "efficientnet_b0": (3, 32, 32),
    "regnet_x_400mf": (3, 32, 32),
    "regnet_y_400mf": (3, 32, 32),
    "timm:seresnext26d_32x4d": (1, 32, 32),
    "timm:tf_efficientnet_lite0": (3, 32, 32),
    "timm:ghostnet_050": (3, 32, 32),
}


def vgg() -> nn.Module:
    """Returns torchvision's VGG with BatchNorm, but for the sizes of its classifier."""
    features = make_layers([8, "M", 16, 16, "M"], batch_norm=True)
    head = [nn.Linear(16 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10)]
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head)


def efficientnet_v2() -> nn.Module:
    blocks = [FusedMBConvConfig(1, 3, 1, 16, 16, 1), FusedMBConvConfig(4, 3, 2, 16, 24, 2)]
    return models.EfficientNet([*blocks, MBConvConfig(4, 3, 2, 24, 32, 2)], 0.1, num_classes=10, last_channel=64)


SMALL: dict[str, Callable[[], nn.Module]] = {
    "vgg": vgg,
    "densenet": lambda: models.DenseNet(16, (2, 3, 2), 32, num_classes=10),
    "resnext": lambda: models.ResNet(Bottleneck, [2, 1, 1, 1], 10, groups=32, width_per_group=4),
    "wide_resnet": lambda: models.ResNet(Bottleneck, [2, 1, 1, 1], 10, width_per_group=32),
    "inception": lambda: models.Inception3(10, aux_logits=False, init_weights=False),
    "efficientnet_v2": efficientnet_v2,
    "convnext": lambda: models.ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 2)], num_classes=10),
    "vit": lambda: models.VisionTransformer(32, 8, 2, 2, 32, 256, num_classes=10),
}
"""Torchvision's, of the kinds whose smallest one is large: made of the same blocks."""


def parameter(name: str) -> Any:
    marks = [pytest.mark.xdist_group(name)]  # one worker traces it
    return pytest.param(
        name, marks=marks if name in ("resnet20", "vgg", "resnext", "vit") else [*marks, pytest.mark.full]
    )


@pytest.fixture(scope="module", params=map(parameter, (*ARCHITECTURES, *SMALL)))
def plan(request: pytest.FixtureRequest) -> Plan:
    name: str = request.param
    shape = ARCHITECTURES.get(name, (3, 75, 75) if name == "inception" else (3, 32, 32))
    torch.manual_seed(0)
    return Plan(name, randomized(SMALL[name]() if name in SMALL else build(name, 10, shape[0])), shape)


def randomized(model: nn.Module) -> nn.Module:
    """Gives BatchNorm statistics that are not the trivial ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.5, 0.5)
    return model.eval()


@pytest.mark.parametrize("scope", ["block", "all"])
def test_pruned_equals_masked_and_costs_are_exact(plan: Plan, scope: str) -> None:
    if scope == "all" and len(plan.table.within("block").groups) == len(plan.table.groups):
        pytest.skip("scope all is no larger")
    space = plan.space(Budget("macs", 0.5), scope)
    widths = space.sample(2, np.random.default_rng(0))[1]
    order = rank_channels(plan.network, space.table, "random", seed=3)
    keep = keep_channels(order, space.table, widths)
    pruned = Pruner(plan.network, space.table).prune(keep).eval()
    masked = mask(plan.network, space.table.groups, keep).eval()
    images = torch.rand(2, *plan.image_shape)
    with torch.inference_mode():
        assert torch.allclose(pruned(images), masked(images), rtol=1e-3, atol=1e-4)
    with FlopCounterMode(display=False) as counter:  # with gradients, so that attention is counted too
        pruned(plan.example)
    assert counter.get_total_flops() / 2 == space.cost.macs(widths)
    assert sum(p.numel() for p in pruned.parameters()) == space.cost.params(widths)
    sum(output.sum() for output in tree_leaves(pruned.train()(images))).backward()
    assert all(parameter.grad is not None for parameter in pruned.parameters())


def test_keeping_everything_changes_no_output_bit(plan: Plan) -> None:
    table = plan.table
    order = rank_channels(plan.network, table, "l1")
    same = Pruner(plan.network, table).prune(keep_channels(order, table, table.channels)).eval()
    images = torch.rand(2, *plan.image_shape)
    with torch.inference_mode():
        assert torch.equal(same(images), plan.network(images))


def test_pruned_networks_are_independent_of_the_full_one() -> None:
    plan = Plan("resnet20", randomized(build("resnet20", 10)), (3, 32, 32))
    order = rank_channels(plan.network, plan.table, "l1")
    before = {name: tensor.clone() for name, tensor in plan.network.state_dict().items()}
    pruned = Pruner(plan.network, plan.table).prune(keep_channels(order, plan.table, plan.table.channels // 2))
    with torch.no_grad():
        for tensor in pruned.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in plan.network.state_dict().items())


@pytest.mark.full
@pytest.mark.parametrize(("depth", "groups"), [(20, 9), (32, 15), (44, 21), (56, 27), (110, 54)])
def test_cifar_resnets_have_one_group_a_block(depth: int, groups: int) -> None:
    table = Plan(f"resnet{depth}", build(f"resnet{depth}", 10), (3, 32, 32)).table
    inside = table.within("block")
    assert len(inside.groups) == groups
    assert all(name.endswith(".conv1") for name in inside.names)
    assert [(group.name, group.channels) for group in table.groups if group.scope == "all"] == [("conv1", 16)]
    padded = [entry for entry in table.excluded if "padding of a fixed width" in entry.reason]
    assert [(entry.name, entry.channels) for entry in padded] == [("layer2.0.conv2", 16), ("layer3.0.conv2", 32)]
    assert "outputs of the network" in {entry.name: entry.reason for entry in table.excluded}["linear"]


def test_fingerprint_ignores_classes_resolution_and_input_channels() -> None:
    one = Plan("resnet20", build("resnet20", 10, 3), (3, 32, 32)).table
    two = Plan("resnet20", build("resnet20", 100, 1), (1, 28, 28)).table
    deeper = Plan("resnet32", build("resnet32", 10, 3), (3, 32, 32)).table
    assert one.fingerprint == two.fingerprint != deeper.fingerprint


@pytest.mark.full
def test_a_wrong_coupling_is_caught_and_excluded() -> None:
    plan = Plan("resnet20", randomized(build("resnet20", 10)), (3, 32, 32))
    first, *rest = plan.table.groups
    shifted = [replace(s, rows=np.roll(s.rows, 1, axis=0)) if s.dim == 1 else s for s in first.slices]
    broken = GroupTable((replace(first, slices=tuple(shifted)), *rest))
    checked = check_plan(plan.network, broken, plan.example)
    assert checked.names == plan.table.names[1:]
    assert checked.excluded[0].name == first.name


@pytest.mark.parametrize("name", ["mnasnet_tiny", "mobilenet_v2_tiny"])
def test_every_group_makes_a_difference_to_what_pruning_is_checked_on(name: str) -> None:
    plan = Plan(name, build(name, 10), (3, 32, 32))
    double, batch = probe(plan.network, plan.example)
    with torch.no_grad():
        whole = double.eval()(batch)
        for group in plan.table.groups:
            half = {group.name: torch.arange(group.channels // 2)}
            changed = mask(double, (group,), half)(batch) - whole
            assert changed.abs().max() > 1e-2 * whole.abs().max(), group.name


class Decided(nn.Module):
    """Returns classes without their scores; what its first layer gives is divided by its width."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 1), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        given = self.one(images)
        made = self.two(given.relu() / given.shape[1])
        return self.out(made.relu().mean((2, 3))).argmax(1)


def test_what_decisions_are_made_by_is_checked_too() -> None:
    torch.manual_seed(0)
    table = Plan("mine:Decided", Decided(), (3, 8, 8)).table
    assert table.names == ("two",)
    assert "the pruned network differs from the masked one" in {each.reason for each in table.excluded}


class Scaled(nn.Module):
    """A convolution that divides by the root of what it first had inputs, as equalized learning rates do."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.in_channels = inputs

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.conv2d(images, self.weight, padding=1).relu() / (9 * self.in_channels) ** 0.5


def test_numbers_that_follow_no_width_do_not_at_equal_widths(tmp_path: Path) -> None:
    full = nn.Sequential(Scaled(3, 16), Scaled(16, 16), Scaled(16, 16), nn.Conv2d(16, 4, 1)).eval()
    plan, images = Plan("mine:Scaled", full, (3, 8, 8)), torch.rand(2, 3, 8, 8)
    widths = np.array([11, 11, 11])
    keep = keep_channels(rank_channels(full, plan.table, "l1"), plan.table, widths)
    small = prune(full, 0.5, (3, 8, 8), profile=plan.space(Budget("macs", 0.5)).profile(widths, {}))
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=full)
    with torch.no_grad():
        wanted = mask(full, plan.table.groups, keep)(images)
        assert all(torch.allclose(each(images), wanted, atol=1e-5) for each in (small.network, again))


class Chancy(nn.Module):
    """Adds what a layer takes to what it gives where they happen to be equally wide."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 1), nn.Conv2d(32, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        given = self.one(images)
        made = self.two(given)
        scores: Tensor = self.out(made + given if made.shape == given.shape else made)
        return scores


def test_widths_at_which_alone_a_network_does_something_else_are_refused() -> None:
    space = Plan("mine:Chancy", Chancy(), (3, 8, 8)).space(Budget("macs", 0.5))
    prune(Chancy(), profile=space.profile(np.array([12, 13]), {}), image_shape=(3, 8, 8))
    with pytest.raises(UsageError, match=r"^Chancy cannot be pruned to these widths, though to others: .* profile$"):
        prune(Chancy(), profile=space.profile(np.array([12, 12]), {}), image_shape=(3, 8, 8))


def test_untraceable_networks_give_one_sentence() -> None:
    with pytest.raises(UsageError, match="cannot trace"):
        _ = Plan("resnet20", build("resnet20", 10), (1, 32, 32)).table


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("channels", [5, 16, 60])
def test_rounding_is_nearest_monotone_and_floored(multiple: int, channels: int) -> None:
    ratios = np.linspace(0, 1, 401)[:, None]
    widths = round_widths(ratios, np.array([channels]), multiple, least=0.1)[:, 0]
    admissible = {*range(multiple, channels + 1, multiple), channels}
    assert set(widths) <= admissible
    assert (np.diff(widths) >= 0).all()
    assert widths[-1] == channels
    floor = widths[0]
    assert floor >= min(channels, max(1, 0.1 * channels))
    for ratio, width in zip(ratios[:, 0], widths, strict=True):
        best = min(abs(w - ratio * channels) for w in admissible if w >= floor)
        assert abs(width - ratio * channels) <= best + 1e-9


def test_sixteen_channels_in_eights() -> None:
    asked = np.array([[0.1], [0.4], [0.74], [0.76], [0.9], [1.0]])
    assert round_widths(asked, np.array([16]), multiple=8)[:, 0].tolist() == [8, 8, 8, 16, 16, 16]


@pytest.mark.full
@pytest.mark.parametrize("metric", ["macs", "params"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8, 1.0])
def test_every_proposal_lands_on_the_budget(keep: float, metric: str) -> None:
    space = Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget(metric, keep))  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    for widths in (space.sample(200, random), space.uniform()[None], space.project(np.full((1, 9), 0.01))):
        relative = space.relative(widths)
        assert (np.abs(relative / keep - 1) <= TOLERANCE).all()
        assert ((widths >= 1) & (widths <= space.table.channels)).all()


@pytest.mark.parametrize(("multiple", "keep"), [(1, 0.9), (8, 0.5), (8, 0.7), (8, 0.9)])
@pytest.mark.parametrize("scope", ["block", "all"])
def test_coarse_widths_meet_the_budget_by_exchanges(scope: Scope, multiple: int, keep: float) -> None:
    plan = Plan("resnet20", build("resnet20", 10), (3, 32, 32))
    space = plan.space(Budget("macs", keep), scope, multiple)
    channels, (low, high) = space.table.channels, space.ends
    widths = np.concatenate(
        [space.sample(200, np.random.default_rng(0)), [space.uniform(), widest(space), taper(space)]]
    )
    assert (np.abs(space.relative(widths) / keep - 1) <= TOLERANCE).all()
    assert ((widths >= low) & (widths <= high) & ((widths % multiple == 0) | (widths == channels))).all()


def test_what_is_off_the_budget_is_as_near_as_two_steps_come() -> None:
    space = Plan("resnet8", build("resnet8", 10), (3, 32, 32)).space(Budget("macs", 0.5), "all", 8)
    widths = space.sample(50, np.random.default_rng(0))
    off = np.abs(space.relative(widths) - 0.5)
    assert off.max() > 0.5 * TOLERANCE
    for row, distance in zip(widths, off, strict=True):
        if distance > 0.5 * TOLERANCE:
            one = steps(row[None], *space.ends, 8)[0]
            two = np.clip(row + one[:, None] + one, *space.ends).reshape(-1, space.size)
            assert np.abs(space.relative(np.concatenate([row + one, two])) - 0.5).min() >= distance - 1e-9


def test_projection_keeps_the_order_of_the_ratios() -> None:
    space = Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget("macs", 0.4))
    widths = space.project(np.linspace(0.2, 1.0, 9)[None])[0] / space.table.channels
    assert np.corrcoef(widths, np.linspace(0.2, 1.0, 9))[0, 1] > 0.98


def test_unreachable_budget_says_the_range() -> None:
    with pytest.raises(UsageError, match=r"reachable range is 0\.1\d\d to 1"):
        Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget("macs", 0.05))


@pytest.mark.full
@pytest.mark.parametrize("criterion", CRITERIA)
def test_criteria_order_every_channel_once(criterion: str) -> None:
    plan = Plan("resnet20", randomized(build("resnet20", 10)), (3, 32, 32))
    batch = (torch.rand(8, 3, 32, 32), torch.arange(8))
    order = rank_channels(plan.network, plan.table, criterion, 1, batch)
    for group in plan.table.groups:
        assert order[group.name].sort().values.tolist() == list(range(group.channels))


@pytest.mark.parametrize("criterion", ["l1", "l2", "bn", "taylor", "fpgm"])
def test_criteria_drop_what_they_are_made_to_drop(criterion: str) -> None:
    plan = Plan("resnet20", randomized(build("resnet20", 10)), (3, 32, 32))
    block = plan.network.layer2[1]  # type: ignore[index, union-attr]
    with torch.no_grad():
        block.bn1.bias.fill_(100)  # no dead channel competes
        if criterion == "fpgm":  # the filter nearest to all others is their mean
            block.conv1.weight[5] = block.conv1.weight.mean(dim=0)
        else:
            block.conv1.weight[5] *= 1e-6
            block.bn1.weight[5] = 1e-6
    batch = (torch.rand(16, 3, 32, 32), torch.arange(16) % 10)
    assert rank_channels(plan.network, plan.table, criterion, 0, batch)["layer2.1.conv1"][-1] == 5


@pytest.mark.parametrize(("kernel", "channels", "outputs"), [(1, 140, 30), (1, 40, 2), (2, 40, 100), (3, 40, 6)])
def test_reconstruction_takes_what_costs_least_when_all_others_are_fitted_anew(
    kernel: int, channels: int, outputs: int
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Conv2d(channels, outputs, kernel)).double().eval()
    images = torch.randn(50, 3, 8, 8, dtype=torch.float64)
    plan = Plan("mine:Net", network, (3, 8, 8))
    (order,) = reconstruction_orders(network, plan.table.within("block"), images).values()
    weight = network[2].weight.detach().flatten(1)
    moments = second_moments(network, {"2.weight"}, images)["2.weight"].double()
    moments.diagonal().add_(1e-2 * moments.diagonal().mean())
    left = list(range(channels))
    for gone in reversed(order.tolist()[1:]):
        inputs = (torch.tensor(left)[:, None] * kernel**2 + torch.arange(kernel**2)).flatten()
        inverse = torch.linalg.inv(moments[inputs][:, inputs])
        fitted = weight @ moments[:, inputs] @ inverse
        blocks = [slice(start, start + kernel**2) for start in range(0, len(inputs), kernel**2)]
        lost = [(fitted[:, own] @ torch.linalg.inv(inverse[own, own]) @ fitted[:, own].T).trace() for own in blocks]
        assert left[int(torch.stack(lost).argmin())] == gone
        left.remove(gone)


class Returning(nn.Module):
    """Goes back by the very weights that it came by, as tied autoencoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tied = nn.Conv2d(3, 12, 3), nn.Linear(12, 24)

    def forward(self, images: Tensor) -> Tensor:
        given = self.stem(images).mean((2, 3))
        return self.tied(given).relu() @ self.tied.weight


def test_a_weight_that_makes_channels_and_takes_them_ranks_them() -> None:
    full = Returning().eval()
    table = Plan("mine:Returning", full, (3, 8, 8)).table
    assert "tied" in table.names
    norms = full.tied.weight.detach().norm(p=1, dim=1)
    assert rank_channels(full, table, "l1")["tied"].tolist() == norms.argsort(descending=True).tolist()
    assert prune(full, 0.97, images=torch.rand(20, 3, 8, 8)).params[1] < 12 * (27 + 1) + 24 * (12 + 1)


class Fixed(nn.Module):
    """Its second kernel is a buffer: no training changes it, pruning does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 12, 3), nn.Linear(16, 5)
        self.register_buffer("kernel", torch.randn(16, 12, 3, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        made = nn.functional.conv2d(self.stem(images).relu(), self.get_buffer("kernel"))
        return self.head(made.relu().mean((2, 3)))


def test_a_kernel_that_is_a_buffer_ranks_its_channels() -> None:
    full = Fixed().eval()
    table = Plan("mine:Fixed", full, (3, 8, 8)).table
    norms = full.get_buffer("kernel").abs().sum((1, 2, 3))
    assert rank_channels(full, table, "l1")["kernel"].tolist() == norms.argsort(descending=True).tolist()
    small = prune(full, 0.5, (3, 8, 8))
    assert small.network.get_buffer("kernel").shape[0] < 16


def test_random_criterion_depends_on_the_seed_alone() -> None:
    plan = Plan("resnet20", build("resnet20", 10), (3, 32, 32))
    one, two, other = (rank_channels(plan.network, plan.table, "random", seed)["layer3.0.conv1"] for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.full
def test_bn_criterion_needs_batchnorm() -> None:
    plan = Plan("alexnet", build("alexnet", 10), (3, 96, 96))
    with pytest.raises(UsageError, match="'bn' says nothing about group"):
        rank_channels(plan.network, plan.table, "bn")


def test_slices_of_a_flattened_layer_cover_its_pixels() -> None:
    group = Plan("vgg", vgg(), (3, 32, 32)).table.groups[2]
    flattened: Slice = next(s for s in group.slices if s.tensor == "3.weight")
    assert flattened.rows.shape == (16, 49)
    assert np.array_equal(flattened.rows.ravel(), np.arange(16 * 49))


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2", "densenet121"])
def test_folded_networks_give_the_same_outputs(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, 10).double()
    images = torch.rand(8, 3, 32, 32, dtype=torch.double)
    network(images)  # BatchNorm statistics that are not the trivial ones
    network.eval()
    expected = network(images)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    pairs = foldable(network)
    assert {"resnet20": norms, "mobilenet_v2": norms, "densenet121": 59}[name] == len(
        pairs
    )  # others read BatchNorm first
    fold(network, pairs)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == norms - len(pairs)
    torch.testing.assert_close(network(images), expected)


def test_what_cannot_be_traced_is_not_folded() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> Tensor:
            return self.norm(self.convolution(images)) if images.sum() > 0 else images

    assert foldable(Dynamic()) == []


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda _, given, made: made.abs())
    return layer


def hooked_before(layer: nn.Module) -> nn.Module:
    layer.register_forward_pre_hook(lambda _, given: (given[0].abs(),))
    return layer


@pytest.mark.parametrize(
    ("convolution", "norm"),
    [
        (hooked, nn.BatchNorm2d),
        (lambda layer: layer, lambda width: hooked(nn.BatchNorm2d(width))),
        (lambda layer: layer, lambda width: hooked_before(nn.BatchNorm2d(width))),
        (parametrizations.weight_norm, nn.BatchNorm2d),
        (parametrizations.spectral_norm, nn.BatchNorm2d),
        (nn.utils.spectral_norm, nn.BatchNorm2d),
        (lambda layer: layer, lambda width: nn.BatchNorm2d(width, track_running_stats=False)),
    ],
)
def test_layers_that_do_more_than_their_kind_are_not_folded(
    convolution: Callable[[nn.Module], nn.Module], norm: Callable[[int], nn.Module]
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), convolution(nn.Conv2d(6, 4, 3)), norm(4))
    images = torch.rand(8, 3, 9, 9)
    network(images)
    expected = network.eval()(images)
    pairs = foldable(network)
    assert pairs == [("0", "1")]
    fold(network, pairs)
    torch.testing.assert_close(network(images), expected)
