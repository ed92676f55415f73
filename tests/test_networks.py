"""Groups, cost, rounding, criteria and surgery, on networks of ours and of torchvision."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.criteria import CRITERIA, keep_channels, rank_channels
from profilesearch.networks.folding import fold, foldable
from profilesearch.networks.groups import GroupTable, Slice
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import TOLERANCE, round_widths
from profilesearch.networks.surgery import Pruner, check_plan, mask
from profilesearch.profiles import Budget

ARCHITECTURES = {
    "resnet20": (3, 32, 32),
    "resnet56": (1, 8, 8),
    "resnet18": (3, 64, 64),
    "resnet18_small": (1, 16, 16),
    "mobilenet_v2": (3, 64, 64),
    "mobilenet_v3_small": (3, 64, 64),
    "densenet121": (3, 64, 64),
    "alexnet": (3, 96, 96),
    "vgg11_bn": (3, 32, 32),
    "resnext50_32x4d": (3, 64, 64),
    "wide_resnet50_2": (3, 32, 32),
    "squeezenet1_1": (3, 64, 64),
    "googlenet": (3, 64, 64),
    "inception_v3": (3, 299, 299),
    "mnasnet0_5": (3, 64, 64),
    "shufflenet_v2_x0_5": (3, 64, 64),
    "efficientnet_b0": (3, 64, 64),
    "efficientnet_v2_s": (3, 64, 64),
    "regnet_x_400mf": (3, 64, 64),
    "regnet_y_400mf": (3, 64, 64),
    "convnext_tiny": (3, 64, 64),
    "vit_b_32": (3, 224, 224),
    "timm:seresnext26d_32x4d": (1, 64, 64),
    "timm:tf_efficientnet_lite0": (3, 64, 64),
    "timm:ghostnet_050": (3, 64, 64),
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ARCHITECTURES],  # one worker traces it
)
def plan(request: pytest.FixtureRequest) -> Plan:
    shape = ARCHITECTURES[request.param]
    torch.manual_seed(0)
    return Plan(request.param, randomized(build(request.param, 10, shape[0])), shape)


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


def test_a_wrong_coupling_is_caught_and_excluded() -> None:
    plan = Plan("resnet20", randomized(build("resnet20", 10)), (3, 32, 32))
    first, *rest = plan.table.groups
    shifted = [replace(s, rows=np.roll(s.rows, 1, axis=0)) if s.dim == 1 else s for s in first.slices]
    broken = GroupTable((replace(first, slices=tuple(shifted)), *rest))
    checked = check_plan(plan.network, broken, plan.example)
    assert checked.names == plan.table.names[1:]
    assert checked.excluded[0].name == first.name


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


@pytest.mark.parametrize("metric", ["macs", "params"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8, 1.0])
def test_every_proposal_lands_on_the_budget(keep: float, metric: str) -> None:
    space = Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget(metric, keep))  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    for widths in (space.sample(200, random), space.uniform()[None], space.project(np.full((1, 9), 0.01))):
        relative = space.relative(widths)
        assert (np.abs(relative / keep - 1) <= TOLERANCE).all()
        assert ((widths >= 1) & (widths <= space.table.channels)).all()


def test_projection_keeps_the_order_of_the_ratios() -> None:
    space = Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget("macs", 0.4))
    widths = space.project(np.linspace(0.2, 1.0, 9)[None])[0] / space.table.channels
    assert np.corrcoef(widths, np.linspace(0.2, 1.0, 9))[0, 1] > 0.98


def test_unreachable_budget_says_the_range() -> None:
    with pytest.raises(UsageError, match=r"reachable range is 0\.1\d\d to 1"):
        Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget("macs", 0.05))


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


def test_random_criterion_depends_on_the_seed_alone() -> None:
    plan = Plan("resnet20", build("resnet20", 10), (3, 32, 32))
    one, two, other = (rank_channels(plan.network, plan.table, "random", seed)["layer3.0.conv1"] for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_bn_criterion_needs_batchnorm() -> None:
    plan = Plan("alexnet", build("alexnet", 10), (3, 96, 96))
    with pytest.raises(UsageError, match="'bn' says nothing about group"):
        rank_channels(plan.network, plan.table, "bn")


def test_slices_of_a_flattened_layer_cover_its_pixels() -> None:
    plan = Plan("vgg11_bn", build("vgg11_bn", 10), (3, 32, 32))
    group = plan.table.groups[7]
    flattened: Slice = next(s for s in group.slices if s.tensor == "classifier.0.weight")
    assert flattened.rows.shape == (512, 49)
    assert np.array_equal(flattened.rows.ravel(), np.arange(512 * 49))


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2", "densenet121"])
def test_folded_networks_give_the_same_outputs(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, 10).double()
    images = torch.rand(8, 3, 64, 64, dtype=torch.double)
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
