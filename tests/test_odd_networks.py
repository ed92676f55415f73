"""`prune` on networks that write, cast, share or return what others do not."""

import re
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.feature_extraction import create_feature_extractor

from profilesearch import UsageError, load_pruned, prune
from profilesearch.networks.idle import stranded
from profilesearch.networks.numbers import settle
from profilesearch.networks.plan import Plan
from profilesearch.refitting import distance, outputs_of

SHAPE = (3, 8, 8)
Step = Callable[["Odd", Tensor], Any]


class Odd(nn.Module):
    """Two convolutions and a linear layer, with a step of one's own before, between and behind them.

    Args:
        before: What images go through.
        between: What the first convolution's channels, (N, 8, H, W), go through.
        behind: What the features, (N, 12, H, W), go through; the mean and the linear layer where None.
        parts: Further modules, parameters and whatever else these steps use.
    """

    def __init__(
        self, before: Step | None = None, between: Step | None = None, behind: Step | None = None, **parts: Any
    ) -> None:
        super().__init__()
        self.steps = before, between, behind
        self.a, self.b, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1), nn.Linear(12, 5)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        before, between, behind = self.steps
        x = self.a(before(self, x) if before else x).relu()
        x = self.b(between(self, x) if between else x).relu()
        return behind(self, x) if behind else self.last(x.mean((2, 3)))


def images(number: int = 24) -> Tensor:
    return torch.rand(number, *SHAPE, generator=torch.Generator().manual_seed(0))


def halved(network: nn.Module, **settings: Any) -> Any:
    return prune(network, store="nowhere", **({"keep": 0.6} | (settings or {"images": images()})))


def tokens(network: Any, x: Tensor) -> Tensor:
    scores: Tensor = network.last(x.mean((2, 3), keepdim=True).flatten(2).mT + network.drop(network.query[None]))
    return scores.mean(1)


def test_views_of_parameters_reach_modules() -> None:
    network = Odd(behind=tokens, query=nn.Parameter(torch.rand(3, 12)), drop=nn.Dropout())
    small = halved(network)
    assert small.network(images(2)).shape == (2, 5)
    assert all(each.requires_grad for each in (*network.parameters(), *small.network.parameters()))
    network.query.requires_grad_(False)
    assert [n for n, each in halved(network).network.named_parameters() if not each.requires_grad] == ["query"]


SINGLE: dict[str, Callable[[], nn.Module]] = {
    "cast": lambda: Odd(before=lambda net, x: x.float() * 2 - 1),
    "cast behind": lambda: Odd(behind=lambda net, x: net.last(x.mean((2, 3)).float())),
    "kernel": lambda: Odd(
        before=lambda net, x: functional.conv2d(x, net.kernel, groups=3), kernel=torch.rand(3, 1, 3, 3)
    ),
    "complex": lambda: Odd(
        between=lambda net, x: torch.fft.irfft2(torch.einsum("nihw,io->nohw", torch.fft.rfft2(x), net.mix), s=(8, 8)),
        mix=nn.Parameter(torch.rand(8, 8, dtype=torch.cfloat)),
    ),
    "plain list": lambda: Odd(before=lambda net, x: net.layers[0](x), layers=[nn.Conv2d(3, 3, 1)]),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_networks_that_run_in_single_precision_alone_are_pruned(kind: str) -> None:
    small = halved(SINGLE[kind]())
    assert small.macs[1] < 0.7 * small.macs[0]


def test_what_differs_is_found_in_single_precision_too() -> None:
    def scaled(network: Any, x: Tensor) -> Tensor:
        return x.float() * (1 + 1e-3 * network.b.weight.shape[1])

    table = Plan("odd", Odd(between=scaled).eval(), SHAPE).table
    assert [each.reason for each in table.excluded if each.name == "a"] == [
        "the pruned network differs from the masked one"
    ]


def test_networks_that_take_one_image_alone_give_one_sentence() -> None:
    def alone(_: nn.Module, x: Tensor) -> Tensor:
        assert len(x) == 1, "one at a time"
        return x

    for given in ({"image_shape": SHAPE}, {"images": images()}):
        with pytest.raises(UsageError, match=r"not on two random ones \(test_odd_networks.py.* one at a time\); let"):
            halved(Odd(before=alone), **given)


def test_networks_that_do_not_take_the_images_give_one_sentence() -> None:
    def bright(_: nn.Module, x: Tensor) -> Tensor:
        assert x.min() >= 0, "pixels below 0"
        return x

    with pytest.raises(UsageError, match=r"Odd cannot take these images \(test_odd_networks.py.* pixels below 0\)"):
        halved(Odd(before=bright), images=images() - 0.5)


def test_parts_that_cannot_be_copied_as_they_are_give_one_sentence() -> None:
    part = torch.jit.script(nn.Conv2d(3, 3, 1))
    with pytest.raises(UsageError, match="a part that is compiled to TorchScript, 'part'"):
        halved(Odd(before=lambda net, x: net.part(x), part=part))


def test_attributes_that_cannot_be_copied_are_named() -> None:
    network = Odd(lock=None, part=nn.Identity())
    network.part.rest = {"numbers": (number for number in range(3))}
    with pytest.raises(UsageError, match=r"cannot pickle 'generator' object\): set 'part\.rest' to None first"):
        halved(network)
    network.part.rest, network.lock = None, threading.Lock()
    with pytest.raises(UsageError, match="set 'lock' to None first, and again on the result"):
        halved(network)


def test_normalizations_without_tensors_know_their_channels(tmp_path: Path) -> None:
    def normed() -> Odd:
        return Odd(between=lambda net, x: net.seen(net.norm(x)), norm=nn.InstanceNorm2d(8), seen=nn.BatchNorm2d(8))

    small = halved(normed(), images=images(), profile="uniform")
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=normed())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(again(images()), small.network(images()))
    assert again.norm.num_features == again.seen.num_features == again.a.out_channels < 8  # type: ignore[union-attr,operator]


def test_feature_extractors_are_pruned() -> None:
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12), nn.Conv2d(12, 4, 1)
    )
    network = create_feature_extractor(plain.eval(), {"0": "first", "5": "last"})
    assert Plan("features", network, SHAPE).table.names == ("3",)
    assert halved(network).refitted == ("5.weight",)


def test_images_that_a_network_changes_in_place_stay_as_they_are() -> None:
    given, was = images(), images()
    outside = Odd(before=lambda net, x: (x - 0.5) / 0.3)
    inside = Odd(before=lambda net, x: x.sub_(0.5).div_(0.3))
    inside.load_state_dict(outside.state_dict())
    one, other = (halved(network, images=given) for network in (inside, outside))
    assert torch.equal(given, was)
    assert one.profile.keep == other.profile.keep
    assert torch.equal(one.network(given.clone()), other.network(given))


def test_passes_that_look_at_layers_leave_their_example_as_it_is() -> None:
    network = Odd(between=lambda net, x: net.norm(x), before=lambda net, x: x.mul_(2), norm=nn.InstanceNorm2d(8)).eval()
    network.add_module("other", nn.BatchNorm1d(12))
    plan = Plan("odd", network, SHAPE)
    one, other, keep = images(1), images(1), {group.name: torch.arange(2) for group in plan.table.groups}
    settle(network, one)
    assert stranded(network, plan.table, keep, other) == ["other"]
    assert torch.equal(one, images(1)) and torch.equal(other, images(1))


class Buffered(nn.Conv2d):
    """Keeps what no checkpoint from elsewhere may hold."""

    def __init__(self) -> None:
        super().__init__(3, 3, 1)
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
        self.register_buffer("empty", torch.empty(0, 3))
        self.register_buffer("phase", torch.rand(4, dtype=torch.cfloat))
        self.register_buffer("unknown", torch.full((2,), torch.nan))


class Numberless(nn.Identity):
    """Keeps a value that nobody has set yet."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unset", torch.full((2,), torch.nan))


def test_whatever_buffers_hold_comes_back_from_a_file(tmp_path: Path) -> None:
    small = halved(Odd(before=lambda net, x: net.kept(x), kept=Buffered()))
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=Odd(before=lambda net, x: net.kept(x), kept=Buffered()))
    assert torch.equal(again(images()), small.network(images()))
    for one, other in zip(again.buffers(), small.network.buffers(), strict=True):
        assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))


class Square(nn.Conv2d):
    """Says the size of its kernel as one number."""

    def __init__(self) -> None:
        super().__init__(3, 3, 3, padding=1)
        self.kernel_size: Any = 3


def test_convolutions_that_say_their_kernels_otherwise_come_back_from_a_file(tmp_path: Path) -> None:
    def squared() -> nn.Module:
        return Odd(before=lambda net, x: net.kept(x), kept=Square())

    small = halved(squared(), image_shape=SHAPE)
    small.save(tmp_path / "small.safetensors")
    assert torch.equal(
        load_pruned(tmp_path / "small.safetensors", network=squared())(images()), small.network(images())
    )


def test_what_is_no_number_leaves_the_precision_of_a_network_as_it_was(tmp_path: Path) -> None:
    def half() -> nn.Module:
        return Odd(before=lambda net, x: net.kept(x), kept=Numberless()).bfloat16()

    small = halved(half(), image_shape=SHAPE)
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=half())
    assert {each.dtype for each in again.parameters()} == {torch.bfloat16}
    assert torch.equal(again(images().bfloat16()), small.network(images().bfloat16()))


def test_one_value_for_a_batch_is_compared_batch_by_batch() -> None:
    network = Odd(behind=lambda net, x: (net.last(x.mean((2, 3))), x.square().mean()))
    small = halved(network, images=images(80))
    scores, means = outputs_of(small.network, images(80))
    assert scores.shape == (80, 5)
    assert means.shape == (2,)
    assert distance([scores, means], outputs_of(network, images(80))) < 0.5


def found(network: Any, x: Tensor) -> Any:
    scores = network.last(x.flatten(2).mT)
    return [{"boxes": each[:1, :4].repeat(1 + int(1e4 * each.abs().sum()) % 997, 1)} for each in scores]


def test_sparse_outputs_are_one_sentence() -> None:
    with pytest.raises(UsageError, match="returns a sparse tensor"):
        halved(Odd(behind=lambda net, x: net.last(x.mean((2, 3))).relu().to_sparse()))


def test_lists_of_objects_cannot_be_compared() -> None:
    with pytest.warns(UserWarning, match="outputs cannot be compared"):
        small = halved(Odd(behind=found), images=images(80))
    assert small.refitted
    assert len(outputs_of(small.network, images(65))) == 65  # one by one, since 33 and then 32 at a time
    assert small.profile.keep == halved(Odd(behind=found), profile="uniform").profile.keep
    one, other = torch.rand(4, 3, 2), torch.rand(5, 3, 2)
    assert distance([one, other], [one, one]) == 0.5
    assert distance([one], [one, one]) == torch.inf


def test_masked_classes_are_compared_by_the_others() -> None:
    def masked(network: Any, x: Tensor) -> Tensor:
        scores: Tensor = network.last(x.mean((2, 3)))
        far = torch.inf if network.signed and network.b.out_channels < 12 else -torch.inf
        return scores.masked_fill(torch.arange(5) == 1, far)

    network = Odd(behind=masked, signed=False)
    small = halved(network)
    assert small.refitted
    assert distance(outputs_of(small.network, images()), outputs_of(network, images())) < 0.5
    assert Plan("odd", network, SHAPE).table.names == ("a", "b")
    assert Plan("odd", Odd(behind=masked, signed=True), SHAPE).table.names == ("a",)


def blurred(_: nn.Module, x: Tensor) -> Tensor:
    return functional.conv2d(x, torch.ones(x.shape[1], 1, 3, 3).to(x) / 9, padding=1, groups=x.shape[1])


def test_layers_that_never_ran_and_take_what_was_cut_are_named() -> None:
    heads = {"other": nn.Linear(12, 3), "wide": nn.Linear(40, 3), "norms": nn.ModuleList(map(nn.BatchNorm2d, (8, 8)))}
    network = Odd(between=lambda net, x: net.norms[0](x), **heads)
    with pytest.warns(UserWarning, match=r"may be cut now: other, norms\.1$"):
        halved(network)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        halved(Odd(wide=nn.Linear(40, 3)))
        halved(Odd(between=blurred, wide=nn.Linear(40, 3)))
        halved(network, images=images(), keep=1.0)


def test_linear_layers_may_take_a_single_vector() -> None:
    def gated(network: Any, x: Tensor) -> Tensor:
        scores: Tensor = network.last(x.mean((2, 3)) * network.gate(network.vector).sigmoid())
        return scores

    network = Odd(behind=gated, vector=nn.Parameter(torch.rand(6)), gate=nn.Linear(6, 12))
    small = halved(network, images=images(), refit="sequential")
    assert small.network(images(2)).shape == (2, 5)
    assert small.refitted == ("b.weight", "last.weight")


def test_experts_that_get_other_tokens_stay_as_cut() -> None:
    def routed(network: Any, x: Tensor) -> Tensor:
        features = x.flatten(2).mT.flatten(0, 1)
        taken = features.mean(1) > 0.4  # all of random images' pixels
        made = torch.where(taken[:, None], features, 0.0)
        made[taken] = network.two(network.one(features[taken]).relu())
        scores: Tensor = network.last((made + features).reshape(len(x), -1, 12).mean(1))
        return scores

    torch.manual_seed(0)
    network = Odd(behind=routed, one=nn.Linear(12, 16), two=nn.Linear(16, 12))
    for layer in (network.a, network.b):
        nn.init.uniform_(layer.weight, 0, 0.1)
        nn.init.zeros_(layer.bias)
    darker = images() * torch.linspace(0, 0.5, 24)[:, None, None, None]
    small = halved(network, images=darker, refit="sequential", profile="uniform")
    assert small.refitted == ("b.weight", "last.weight")


class Noting(nn.Identity):
    """Keeps more than tensors in its state dict."""

    def get_extra_state(self) -> Any:
        return {"seen": 3}

    def set_extra_state(self, state: Any) -> None:
        assert state == {"seen": 3}


def test_states_that_hold_more_than_tensors_are_refitted_and_saved(tmp_path: Path) -> None:
    small = halved(Odd(noting=Noting()))
    assert small.refitted
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=Odd(noting=Noting()))
    assert torch.equal(again(images()), small.network(images()))


def twice_named() -> Odd:
    shared = nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.Conv2d(12, 3, 1))
    return Odd(before=lambda net, x: net.again(x), stem=shared[0], again=shared)


def test_one_layer_may_have_two_names(tmp_path: Path) -> None:
    small = halved(twice_named(), images=images(), profile="uniform")
    assert small.network.stem is small.network.again[0]
    assert small.network.stem.out_channels < 12
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=twice_named())
    assert again.stem is again.again[0]  # type: ignore[union-attr,index]
    assert torch.equal(again(images()), small.network(images()))
    tied = Odd(other=nn.Linear(12, 5))
    tied.other.weight = tied.last.weight
    with pytest.raises(UsageError, match=r"shares one weight under two names, 'last\.weight' and 'other\.weight'"):
        halved(tied)


class Silent(Odd):
    """Its own `train`, as in many a library, returns nothing."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


def test_modes_may_be_set_by_what_returns_nothing(tmp_path: Path) -> None:
    network = Silent(between=normed, norm=nn.BatchNorm2d(8))
    small = halved(network)
    assert network.training and not small.network.training
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=Silent(between=normed, norm=nn.BatchNorm2d(8)))
    assert torch.equal(again(images()), small.network(images()))


def normed(network: Any, x: Tensor) -> Tensor:
    made: Tensor = network.norm(x)
    return made


class Counting(Odd):
    """Counts its images in a buffer, whatever its mode, and its state dict leaves a frozen layer out."""

    def __init__(self) -> None:
        super().__init__(frozen=nn.Conv2d(3, 3, 1), before=counted)
        self.register_buffer("seen", torch.tensor(7))

    def state_dict(self, *args: Any, **settings: Any) -> Any:
        state = super().state_dict(*args, **settings)
        return {name: each for name, each in state.items() if "frozen" not in name}


def counted(network: Any, x: Tensor) -> Tensor:
    network.seen += len(x)
    made: Tensor = network.frozen(x)
    return made


@pytest.mark.parametrize("profile", ["uniform", "blend"])
def test_what_forward_passes_count_stays_and_states_may_leave_layers_out(profile: str) -> None:
    network = Counting()
    small = halved(network, images=images(), profile=profile)
    assert small.refitted
    assert network.seen == small.network.seen == 7


class Prefixed(Odd):
    """Has other names in its state dict, and a tensor besides."""

    def state_dict(self, *args: Any, **settings: Any) -> Any:
        return {f"model.{name}": each for name, each in super().state_dict(*args, **settings).items()}

    def get_extra_state(self) -> Any:
        return torch.ones(3)

    def set_extra_state(self, state: Any) -> None: ...


@pytest.mark.parametrize("kind", [Counting, Prefixed])
def test_files_hold_all_tensors_whatever_the_state_dict_says(kind: Callable[[], nn.Module], tmp_path: Path) -> None:
    small = halved(kind(), images=images(), profile="uniform")
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=kind())
    assert torch.equal(again(images()), small.network(images()))


def test_networks_that_draw_numbers_take_no_step_of_the_callers_stream() -> None:
    network = Odd(behind=lambda net, x: net.last(functional.dropout(x.mean((2, 3)), 0.1)))
    before = torch.get_rng_state()
    halved(network)
    assert torch.equal(torch.get_rng_state(), before)


def hooked() -> Odd:
    def keep(_: nn.Module, __: Any, made: Tensor) -> None:
        network.found["b"] = made

    network = Odd(behind=lambda net, x: net.last(net.found["b"].mean((2, 3))), found={})
    network.b.register_forward_hook(keep)
    with torch.no_grad():
        network.eval()(images())  # without what it left, no copy of it would run
    return network


def wrapped() -> Odd:
    network = Odd(between=normed, norm=nn.BatchNorm2d(8))
    inner = network.norm.forward
    network.norm.forward = lambda x: 2 * inner(x)  # type: ignore[method-assign]
    return network


def nested() -> Odd:
    network = Odd(between=lambda net, x: net.steps_of_its_own[0](x))

    def relu(x: Tensor) -> Tensor:
        return scaled(x).relu()

    def scaled(x: Tensor) -> Tensor:
        return x * network.a.weight.mean()

    network.steps_of_its_own = [relu]
    return network


def bound() -> Odd:
    network = Odd(between=lambda net, x: net.norm.run(x), norm=nn.BatchNorm2d(8))
    inner = network.norm.forward
    network.norm.run = MethodType(lambda _, x: 2 * inner(x), network.norm)
    return network


def partly() -> Odd:
    network = Odd(between=normed, norm=nn.BatchNorm2d(8))
    inner = network.norm.forward
    network.norm.forward = partial(lambda by, x: by * inner(x), 2)  # type: ignore[method-assign]
    return network


def scaling() -> Odd:
    scale = nn.Parameter(torch.ones(8, 1, 1))
    network = Odd(scale=scale)
    network.a.register_forward_hook(lambda _, __, made: made * scale)
    return network


INNER: Any = None
"""A name as scripts have them, which is in no closure."""


def of_a_script() -> Odd:
    network = Odd(between=normed, norm=nn.BatchNorm2d(8))
    globals()["INNER"] = network.norm.forward
    network.norm.forward = lambda x: 2 * INNER(x)  # type: ignore[method-assign]
    return network


def counting() -> Odd:
    kept = {"passes": 0}
    network = Odd(kept=kept)

    def count(*_: Any) -> None:
        kept["passes"] += 1

    network.a.register_forward_hook(count)
    return network


CLOSURES = {
    "b._forward_hooks": hooked, "norm.forward": wrapped, "steps_of_its_own": nested, "norm.run": bound,
    "norm.forward, partial": partly, "a._forward_hooks": scaling, "norm.forward, of a script": of_a_script,
    "a._forward_hooks, counting": counting,
}  # fmt: skip


@pytest.mark.parametrize("place", CLOSURES)
def test_functions_that_hold_the_network_are_refused(place: str) -> None:
    network = CLOSURES[place]()
    before = {name: each.clone() for name, each in network.named_buffers()}
    name = re.escape(place.partition(",")[0])
    with pytest.raises(UsageError, match=f"a function kept as '{name}' holds the network itself"):
        halved(network, images=images(), profile="uniform")
    assert all(torch.equal(each, before[name]) for name, each in network.named_buffers())


def test_functions_that_hold_something_else_are_kept() -> None:
    seen, network = [], Odd()
    network.a.register_forward_hook(lambda module, _, made: seen.append(made.mean()))
    network.b.register_full_backward_hook(lambda *_: seen.append(network))
    assert halved(network, images=images(), profile="uniform").network(images(1)).shape == (1, 5)
    assert seen


def test_settings_that_a_network_and_its_functions_look_up_and_compiled_calls_are_no_such_functions() -> None:
    settings = {"slope": 0.1, "kinds": ["leaky"]}
    network = Odd(between=lambda _, x: functional.leaky_relu(x, settings["slope"]), settings=settings)
    network.act = lambda x: functional.leaky_relu(x, settings["slope"])
    network.compile()
    assert halved(network, images=images(), profile="uniform").network(images(1)).shape == (1, 5)


def test_weights_that_are_computed_are_not_touched() -> None:
    network = Odd(between=lambda net, x: net.norm(x), norm=nn.Conv2d(8, 8, 1)).train()
    torch.nn.utils.parametrizations.spectral_norm(network.norm)
    before = {name: each.clone() for name, each in network.named_buffers()}
    small = halved(network, keep=0.8, image_shape=SHAPE)
    for each in (network, small.network):
        assert all(torch.equal(buffer, before[name]) for name, buffer in each.named_buffers())


class Mixed(Odd):
    """Runs in half precision by its own code: all of it, or its second convolution."""

    def __init__(self, part: bool) -> None:
        super().__init__(between=normed, norm=nn.BatchNorm2d(8))
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        if self.part:
            x = self.norm(self.a(x)).relu()
        with torch.autocast(x.device.type, torch.bfloat16):
            scores: Tensor = self.last(self.b(x).relu().mean((2, 3))) if self.part else super().forward(x)
        return scores


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("profile", ["uniform", "sensitivity"])
def test_networks_that_turn_autocast_on_are_pruned_and_refitted(part: bool, profile: str) -> None:
    network = Mixed(part).eval()
    small = halved(network, images=images(), profile=profile)
    assert {"a", "b"} <= set(small.profile.keep)
    assert small.macs[1] < 0.62 * small.macs[0]
    assert small.refitted
    assert distance(outputs_of(small.network, images()), outputs_of(network, images())) < 0.1


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_layers_may_be_called_by_the_names_of_their_inputs(norm: Callable[[int], nn.Module]) -> None:
    network = Odd(between=lambda net, x: net.norm(input=x), norm=norm(8)).eval()
    small = halved(network, images=images(), profile="uniform")
    assert small.refitted
    assert small.network.norm.num_features == small.network.a.out_channels < 8


def test_buffers_may_have_several_names(tmp_path: Path) -> None:
    def sharing() -> Odd:
        network, scale = Odd(between=lambda net, x: x * net.scale + net.a.again), torch.rand(8, 1, 1)
        network.register_buffer("scale", scale)
        network.a.register_buffer("again", scale)
        return network

    network = sharing()
    small = halved(network, images=images(), profile="uniform")
    assert small.network.scale is small.network.a.again and small.network.scale is not network.scale
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=sharing())
    assert torch.equal(again(images()), small.network(images()))


def test_weights_of_zero_hide_no_mistake() -> None:
    network = Odd(between=lambda net, x: x * net.b.weight.shape[1]).eval()
    nn.init.zeros_(network.last.weight)
    assert Plan("odd", network, SHAPE).table.names == ("b",)
    untrained = Odd()
    nn.init.zeros_(untrained.last.weight)
    with pytest.warns(UserWarning, match="no cut changes what the network gives") as said:
        prune(untrained, images=images())
    assert [Path(each.filename).name for each in said] == [Path(__file__).name]


def test_what_a_first_forward_pass_makes_is_there_when_pruning_is_checked() -> None:
    def wide(net: nn.Module, x: Tensor) -> Tensor:
        return x * net.b.weight.shape[1]  # type: ignore[union-attr]

    def scaled(net: nn.Module, x: Tensor) -> Tensor:
        if getattr(net, "scale", None) is None:
            net.scale = nn.Parameter(torch.zeros(5, 1))  # which would hide that mistake
        return net.last(x.mean((2, 3))) * net.scale[:, 0]  # type: ignore[operator,union-attr,index]

    assert Plan("odd", Odd(between=wide, behind=scaled).eval(), SHAPE).table.names == ("b",)

    def stateful(net: nn.Module, x: Tensor) -> Tensor:
        if getattr(net, "state", None) is None:
            net.state = torch.ones(len(x), 4, *x.shape[2:])
        return net.mixer(torch.cat([x, net.state], 1))  # type: ignore[operator,list-item]

    with pytest.raises(UsageError, match="runs on one image, but not on two random ones"):
        assert Plan("odd", Odd(between=stateful, mixer=nn.Conv2d(12, 8, 1)).eval(), SHAPE).table
