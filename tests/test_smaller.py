"""`prune`: any network with image inputs, in one call; real networks of torchvision, of timm and one's own."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.fcn import FCNHead

from profilesearch import Profile, UsageError, load_pruned, prune, search
from profilesearch.evidence import AtHand
from profilesearch.networks.architectures import build
from profilesearch.networks.names import INPUTS
from profilesearch.networks.outputs import outputs
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget
from profilesearch.pruning import prune_with_profile
from profilesearch.refitting import refit_on
from profilesearch.standing import evidence_against
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member
from profilesearch.tasks.predicting import accuracy

SHIPPED = Path(__file__).parent.parent / "profiles" / "resnet20" / "macs0.5-ppo.json"


class Finder(nn.Module):
    """Boxes, scores and a list of features of an image, as detectors give them; a name that no profile knows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU()
        )
        self.boxes = nn.Conv2d(24, 4, 1)
        self.scores = nn.Conv2d(24, 7, 1)

    def forward(self, images: Tensor) -> Any:
        found = self.body(images)
        return {"boxes": self.boxes(found), "classes": (self.scores(found), [found.mean((2, 3))]), "count": 1}


def segmenter() -> nn.Module:
    """Torchvision's FCN, as `fcn_resnet50` makes it, on a smaller body: a dictionary of maps."""
    body = IntermediateLayerGetter(models.resnet18(weights=None), {"layer2": "aux", "layer3": "out"})
    return models.segmentation.FCN(body, FCNHead(256, 5), FCNHead(128, 5))


def timm_network(name: str, **settings: Any) -> nn.Module:
    network: nn.Module = pytest.importorskip("timm").create_model(name, pretrained=False, **settings)
    return network


@pytest.mark.full
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (segmenter, (3, 48, 48)),
        (lambda: models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None), (3, 32, 32)),
        (lambda: timm_network("test_efficientnet", num_classes=9), (3, 48, 48)),
        (lambda: timm_network("test_resnet", features_only=True), (3, 48, 48)),
        (Finder, (3, 40, 48)),
    ],
)
def test_any_network_gets_smaller_and_keeps_the_shapes_of_its_outputs(network: Any, shape: Any) -> None:
    torch.manual_seed(0)
    full = network().eval()
    images = torch.randn(4, *shape)
    small = prune(full, keep=0.6, images=images, criterion="l1")
    with torch.no_grad():
        before, after = (outputs(each(images)) for each in (full, small.network))
    assert [each.shape for each in before] == [each.shape for each in after]
    assert small.macs[1] / small.macs[0] == pytest.approx(0.6, abs=0.015)
    assert small.params == tuple(sum(each.numel() for each in net.parameters()) for net in (full, small.network))
    assert small.source == "uniform"
    assert len(small.refitted) >= 3
    assert f"{len(small.refitted)} weights refitted" in str(small)
    assert small.refit.startswith(INPUTS)
    assert "no weights refitted: no refit came closer to the full network" in str(
        replace(small, refitted=(), refit="as cut")
    )


def test_channels_are_chosen_on_images_where_there_are_some(members: list[Member], digits: DataSet) -> None:
    full, images = members[0].load(), digits.normalize(digits.train[:60].pixels)
    for given, criterion in ((images, "reconstruction"), (None, "l1")):
        made = (prune(full, 0.5, (1, 8, 8), given, refit="none", criterion=each) for each in (None, criterion))
        one, other = (small.network.state_dict() for small in made)
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.full
def test_a_refit_on_images_is_worth_its_while(members: list[Member], digits: DataSet) -> None:
    full = members[0].load()
    state = {name: tensor.clone() for name, tensor in full.state_dict().items()}
    images = digits.normalize(digits.train[:300].pixels)
    bare, fitted = (prune(full, 0.4, (1, 8, 8), images=each).network for each in (None, images))
    reached = [accuracy(each, digits, digits.test, "fp32") for each in (bare, fitted, full)]
    assert reached[0] + 0.1 < reached[1] <= reached[2] + 0.02
    assert all(torch.equal(tensor, full.state_dict()[name]) for name, tensor in state.items())


def test_images_may_come_class_after_class(members: list[Member], digits: DataSet) -> None:
    full, sorted_ones = members[0].load(), digits.train[digits.train.labels.argsort(stable=True)]
    small = prune(full, 0.3, images=digits.normalize(sorted_ones.pixels), criterion="l1")
    assert accuracy(small.network, digits, digits.test, "fp32") > accuracy(full, digits, digits.test, "fp32") - 0.1


def test_a_stored_profile_is_found_by_the_groups_alone(tmp_path: Path) -> None:
    network = build("resnet20", 7)  # other classes than the profile's networks had
    small = prune(network, 0.3, (3, 32, 32), store=tmp_path)
    assert Path(small.source).parent.name == "resnet20"
    stored = Profile.load(small.source)
    assert replace(small.profile, reached=stored.reached) == stored
    assert small.profile.found["searcher"] == "ppo"
    assert small.macs[1] / small.macs[0] == pytest.approx(0.3, rel=0.01)
    for keep in (0.45, 0.5):  # no stored profile keeps the first; that of the second lost more than it gained
        assert prune(network, keep, (3, 32, 32), store=tmp_path).source == "uniform"
    assert prune(network, image_shape=(3, 32, 32), profile=SHIPPED).source == "given"


def test_profiles_that_need_no_search_go_by_name(tmp_path: Path) -> None:
    network = build("resnet20", 10)
    uniform, widest = (prune(network, 0.5, (3, 32, 32), profile=name) for name in ("uniform", "widest"))
    assert (uniform.source, widest.source) == ("uniform", "widest")  # although a stored one would fit
    assert widest.params[1] > 1.1 * uniform.params[1]
    assert widest.macs[1] == pytest.approx(uniform.macs[1], rel=0.01)


def test_own_stored_profiles_come_first_and_broken_ones_do_not_count(tmp_path: Path) -> None:
    space = Plan("mine:Finder", Finder(), (3, 40, 48)).space(prune(Finder(), 0.6, (3, 40, 48)).profile.budget)
    mine = space.profile(space.sample(1, np.random.default_rng(3))[0], {"searcher": "random"})
    (tmp_path / "mine--Finder").mkdir()
    (tmp_path / "mine--Finder" / "broken.json").write_text('{"schema": 1')
    assert prune(Finder(), 0.6, (3, 40, 48), store=tmp_path).source == "uniform"
    mine.save(tmp_path / "mine--Finder" / "found.json")
    found = prune(Finder(), 0.6, (3, 40, 48), store=tmp_path)
    assert Path(found.source) == tmp_path / "mine--Finder" / "found.json"


class Straight(nn.Module):
    """Residual blocks of one convolution: no channels but those of the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        found = self.stem(images)
        for block in self.blocks:
            found = torch.relu(block(found) + found)
        scores: Tensor = self.head(found.mean((2, 3)))
        return scores


def test_networks_of_nothing_but_a_stream_have_it_cut_unless_told_otherwise() -> None:
    small = prune(Straight(), 0.5, (3, 16, 16))
    assert small.profile.scope == "all"
    assert 0.45 < small.macs[1] / small.macs[0] <= 0.5
    wide = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), Straight())
    wide[2].stem = nn.Conv2d(64, 16, 1)
    for part, scope in ((0.8, "block"), (0.3, "all")):
        assert prune(wide, part, (3, 16, 16)).profile.scope == scope
    with pytest.raises(UsageError, match="in scope 'block'; `profilesearch groups` says why; try `scope='all'`"):
        prune(Straight(), 0.5, (3, 16, 16), scope="block")


def test_dtype_and_mode_of_the_network_are_respected() -> None:
    full = Finder().half().train()
    full.body[1].float()
    small = prune(full, 0.6, (3, 40, 48))
    assert full.training
    assert not small.network.training
    kept = {name: each.dtype for name, each in full.state_dict().items()}
    assert {name: each.dtype for name, each in small.network.state_dict().items()} == kept
    assert len(set(kept.values())) == 3  # with the counter of BatchNorm


def test_the_layout_of_the_network_changes_no_group_and_is_kept(tmp_path: Path) -> None:
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    full = nn.Sequential(*layers, nn.Linear(24, 5))
    first = prune(full, 0.5, (3, 12, 12))
    last = prune(full.to(memory_format=torch.channels_last), 0.5, (3, 12, 12))
    assert last.profile == first.profile
    assert set(first.profile.keep) == {"0", "2"}
    last.save(tmp_path / "last.safetensors")
    again = load_pruned(tmp_path / "last.safetensors", network=full)
    laid = {torch.contiguous_format: (first.network,), torch.channels_last: (last.network, again)}
    for small, layout in ((each, layout) for layout, several in laid.items() for each in several):
        assert all(small[place].weight.is_contiguous(memory_format=layout) for place in (0, 2))
    assert all(map(torch.equal, first.network.parameters(), last.network.parameters()))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_a_pruned_network_comes_back_in_its_precision(kind: torch.dtype, tmp_path: Path) -> None:
    small, images = prune(Finder().to(kind), 0.6, (3, 40, 48)), torch.rand(2, 3, 40, 48, dtype=kind)
    small.save(tmp_path / "small.safetensors")
    again = load_pruned(tmp_path / "small.safetensors", network=Finder().to(kind))
    with torch.no_grad():
        assert all(map(torch.equal, outputs(again(images)), outputs(small.network(images))))
    plain = load_pruned(tmp_path / "small.safetensors", network=Finder())
    assert torch.equal(plain.boxes.weight, small.network.boxes.weight.float())


def test_a_pruned_network_comes_back_from_its_file_with_an_untrained_one(tmp_path: Path) -> None:
    small, images = prune(Finder(), 0.6, (3, 40, 48)), torch.rand(2, 3, 40, 48)
    small.save(tmp_path / "small.safetensors")
    again, other = load_pruned(tmp_path / "small.safetensors", network=Finder()), Finder().train()
    with torch.no_grad():
        assert all(map(torch.equal, outputs(again(images)), outputs(small.network(images))))
    load_pruned(tmp_path / "small.safetensors", network=other)
    assert other.training
    assert other.boxes.in_channels == 24
    with pytest.raises(UsageError, match="does not hold the tensors of CifarResNet"):
        load_pruned(tmp_path / "small.safetensors", network=build("resnet20", 10))
    other.body[0] = nn.Conv2d(3, 16, 5, 2)
    with pytest.raises(UsageError, match="does not hold the tensors of Finder"):
        load_pruned(tmp_path / "small.safetensors", network=other)
    with pytest.raises(UsageError, match="if you trust that name"):
        load_pruned(tmp_path / "small.safetensors")


@pytest.mark.parametrize("refit", ["auto", "sequential", "full", "none"])
def test_pruning_takes_no_step_of_the_callers_random_stream(refit: str) -> None:
    network, images = Finder().eval(), torch.randn(8, 3, 24, 24)
    before = torch.get_rng_state()
    prune(network, keep=0.6, images=images, refit=refit)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.full
def test_a_search_over_own_networks_takes_three_lines(members: list[Member], digits: DataSet) -> None:
    networks = [member.load() for member in members]
    images, labels = digits.normalize(digits.train[:600].pixels), digits.train.labels[:600]
    profile = search(networks, images, labels, 0.4, searcher="random", evaluations=12)
    small = prune(networks[0], images=images, profile=profile)
    assert small.macs[1] / small.macs[0] == pytest.approx(0.4, rel=0.01) == profile.reached
    assert [entry["name"] for entry in profile.found["pool"]] == ["network0", "network1"]
    assert profile.found["score"]["search"] >= profile.found["score"]["uniform_search"] * 0.8
    assert {entry["images"] for entry in profile.found["pool"]} == {270}
    again = search(networks, images, labels, 0.4, searcher="random", evaluations=12)
    assert again.keep == profile.keep


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_search_takes_every_precision_and_tracked_images(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(40, 3, 8, 8, dtype=kind, requires_grad=True), torch.arange(40) % 4
    profile = search(Deep().to(kind).requires_grad_(False), images, labels, searcher="random", evaluations=2)
    assert profile.reached == pytest.approx(0.5, abs=0.05)


def test_a_network_that_is_right_on_no_image_is_one_sentence(members: list[Member], digits: DataSet) -> None:
    wrong = (digits.train.labels[:200] + 1) % 10
    with pytest.raises(
        UsageError, match=r"^network0 is right on none of the \d+ held-out images that .*; give images with labels"
    ):
        search(members[0].load(), digits.normalize(digits.train[:200].pixels), wrong, evaluations=2, searcher="random")


class Deep(nn.Module):
    """Convolutions over the depth of an image of one channel, too."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Conv3d(1, 16, 3, padding=1), nn.Conv3d(16, 12, (1, 3, 3)), nn.Linear(12, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.two(self.one(images[:, None]).relu()).relu().mean((2, 3, 4)))


def test_progress_tells_every_part_of_the_work(members: list[Member], digits: DataSet) -> None:
    network, images = members[0].load(), digits.normalize(digits.train[:64].pixels)
    told: list[tuple[int, int, str]] = []
    small = prune(network, images=images, profile="blend", progress=lambda *each: told.append(each))
    assert all(0 <= done < total for done, total, _ in told)
    parts = list(dict.fromkeys(what.partition(":")[0] for *_, what in told))
    assert parts == [
        "choosing channels",
        "measuring what each layer can lose",
        "refitting weights, to see what comes of it",
        "refitting weights",
    ]
    measured = [each for each in told if each[2].startswith("measuring")]
    assert [done for done, *_ in measured] == list(range(measured[0][1]))
    same = prune(network, images=images, profile="blend")
    assert same.profile.keep == small.profile.keep
    assert torch.equal(same.network(images), small.network(images))


def test_what_is_cut_and_not_refitted_is_the_same_to_the_last_bit() -> None:
    full = Finder().double()
    nowhere_else = torch.nextafter(full.body[0].weight.detach(), torch.tensor(9.0, dtype=torch.float64))
    full.body[0].weight.data = nowhere_else
    rows = [
        {tuple(row) for row in net.body[0].weight.flatten(1).tolist()}
        for net in (full, prune(full, 0.6, (3, 40, 48)).network)
    ]
    assert rows[1] < rows[0]


class Remembering(nn.Module):
    """Keeps what it made of earlier images, and a grid for as long as images are as many."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 12, 3), nn.Linear(12, 4)
        self.seen: list[Tensor] = []
        self.grid = torch.zeros(0)

    def forward(self, images: Tensor) -> Tensor:
        made = self.one(images).relu()
        if len(self.grid) != len(made):
            self.grid = torch.linspace(0.5, 1.5, made.shape[-1]).expand(len(made), 1, *made.shape[2:]).contiguous()
        self.seen.append(made)
        scores: Tensor = self.out(self.two(made * self.grid).relu().mean((2, 3)))
        return scores


@pytest.mark.parametrize("refit", ["auto", "none"])
def test_nothing_is_left_of_the_passes_that_pruning_takes(refit: str) -> None:
    full = Remembering()
    small = prune(full, 0.6, images=torch.randn(20, 3, 8, 8), profile="uniform", refit=refit)
    for network in (full, small.network):
        assert not network.seen
        assert not len(network.grid)


def test_what_is_refitted_in_place_runs_outside_of_it() -> None:
    plan, images = Plan("mine:Remembering", Remembering(), (3, 8, 8)), torch.randn(20, 3, 8, 8)
    space = plan.space(Budget("macs", 0.6))
    pruned = prune_with_profile(plan.network, space.profile(space.uniform(), {}), (3, 8, 8))
    before = len(pruned.network.seen), len(pruned.network.grid)
    refit_on(pruned, plan.network, images)
    assert (len(pruned.network.seen), len(pruned.network.grid)) == before
    plan.network(images[:4]).sum().backward()  # what passes left there is no tensor of inference


def test_a_stored_profile_that_lost_is_passed_over_as_apply_does(tmp_path: Path) -> None:
    profile = Profile.load(SHIPPED)
    for low, high, found in ((-0.001, 0.002, True), (-0.002, 0.001, False), (-0.002, -0.001, False)):
        entry = {"data": "cifar10", "gain": (low + high) / 2, "gain_interval": [low, high]}
        mine = replace(profile, fingerprint=f"own{high}", evidence=(entry,))
        mine.save(tmp_path / "own" / f"{low}{high}.json")
        assert (Store(tmp_path).fitting(mine.fingerprint, 0.5, "macs") is not None) == found
        assert evidence_against(mine, True, AtHand("digits")) != found


def test_the_profile_says_what_it_reaches_in_this_network(tmp_path: Path) -> None:
    stored = replace(Profile.load(SHIPPED), reached=0.9)
    full, named = build("resnet20", 100, 1), ({"profile": stored}, {"profile": "uniform", "keep": 0.3})
    stored.save(tmp_path / "resnet20" / "mine.json")
    for given in (*named, {"store": tmp_path}):
        small = prune(full, image_shape=(1, 48, 40), **given)  # type: ignore[arg-type]
        assert small.profile.reached == pytest.approx(small.macs[1] / small.macs[0])
        assert small.profile.reached < 0.9


def test_a_stored_profile_that_would_miss_the_budget_here_is_moved_onto_it() -> None:
    small = prune(build("resnet20", 1000), 0.5, (3, 32, 32), metric="params")  # found with ten classes
    assert Path(small.source).name == "params0.5-ppo.json"
    assert small.params[1] / small.params[0] == pytest.approx(0.5, rel=0.005)
    assert small.profile.found["projected_from"]["architecture"] == "resnet20"
    assert small.why.endswith("moved onto the budget: it would keep 59.6% of the params here")


def test_what_the_user_stored_comes_before_what_is_shipped(tmp_path: Path) -> None:
    own = replace(Profile.load(SHIPPED.with_name("macs0.3-ppo.json")), evidence=(), found={})
    own.save(tmp_path / "resnet20" / "mine.json")
    assert prune(build("resnet20", 10, 3), 0.3, (3, 32, 32), store=tmp_path).source.endswith("mine.json")
    assert prune(build("resnet20", 10, 3), 0.3, (3, 32, 32)).source.endswith("macs0.3-ppo.json")


class Listed(nn.Conv2d):
    """Returns its class scores in a list."""

    def forward(self, images: Tensor) -> Any:
        return [super().forward(images).mean((2, 3))]


class Picky(nn.Conv2d):
    """Its own code refuses images, as few networks do by a RuntimeError."""

    def __init__(self) -> None:
        super().__init__(1, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        raise LookupError("no such image")


WRONG: dict[str, dict[str, Any]] = {
    "labels go up to 12": {"labels": torch.full((40,), 12)},
    "one class from 0 for each image, got torch.int64 (3,)": {"labels": torch.zeros(3, dtype=torch.int64)},
    "one class from 0 for each image, got torch.float32": {"labels": torch.zeros(40)},
    "normalized as for training, got torch.uint8": {"images": torch.zeros(40, 1, 8, 8, dtype=torch.uint8)},
    "holding some out for a search needs 20": {"images": torch.rand(9, 1, 8, 8), "labels": torch.zeros(9).long()},
    "give one trained torch.nn.Module": {"networks": []},
    "images must be a torch.Tensor, got a ndarray": {"images": np.zeros((40, 1, 8, 8))},
    "labels must be a torch.Tensor, got a list": {"labels": [0] * 40},
    "give its .module": {"networks": nn.DataParallel(Finder())},
    "has no weights of floating point": {"networks": nn.Flatten()},
    "evaluations must be a whole number, 1 or more, got 2.5": {"evaluations": 2.5},
    "evaluations must be a whole number, 1 or more, got 0": {"evaluations": 0},
    "seed must be a whole number, 0 or more, at most 4294967295, got -1": {"seed": -1},
    "at most 4294967295, got 4294967296": {"seed": 2**32},
    "unknown searcher 'None'": {"searcher": None},
    "got torch.complex64": {"labels": torch.zeros(40, dtype=torch.complex64)},
    "images must be finite": {"images": torch.full((40, 1, 8, 8), 1e300, dtype=torch.float64)},
    "LookupError: no such image": {"networks": Picky()},
    "cannot take these images (RuntimeError: Given groups=1": {"images": torch.rand(40, 3, 8, 8)},
    "keep must be a number in (0, 1], got '0.5'": {"keep": "0.5"},
    "unknown searcher 'pop'": {"searcher": "pop"},
    "one tensor (N, C), to be searched": {"networks": Finder(), "images": torch.rand(40, 3, 40, 48)},
    "Listed must return its class scores, as one tensor (N, C)": {"networks": Listed(1, 2, 1)},
}


@pytest.mark.parametrize("message", WRONG)
def test_mistakes_before_a_search_are_one_sentence(message: str, members: list[Member]) -> None:
    given = {"networks": members[0].load(), "images": torch.rand(40, 1, 8, 8), "labels": torch.zeros(40).long()}
    with pytest.raises(UsageError) as said:
        search(**{**given, **WRONG[message]})  # type: ignore[arg-type]
    assert message in str(said.value)


def test_numbers_of_numpy_are_numbers_of_a_search(members: list[Member], digits: DataSet) -> None:
    images, labels = digits.normalize(digits.train[:80].pixels), digits.train.labels[:80]
    count, seed = np.arange(2, 4)
    found = search(members[0].load(), images, labels, searcher="random", evaluations=count, seed=seed).found
    assert (found["evaluations"], found["seed"]) == (2, 3)


MISTAKES: dict[str, tuple[Any, dict[str, Any]]] = {
    "takes a torch.nn.Module, got a dict": (dict, {}),
    "compiled to TorchScript": (lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1))), {}),
    "the network was compiled with torch.compile": (lambda: torch.compile(Finder()), {}),
    "'1', was compiled with torch.compile": (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), torch.compile(Finder())), {}),
    "give its .module": (lambda: nn.DataParallel(Finder()), {}),
    "has no weights of floating point": (nn.ReLU, {}),
    "load them first": (lambda: Finder().to("meta"), {}),
    "layers of unknown size": (lambda: nn.Sequential(nn.LazyConv2d(4, 1)), {}),
    "remove_weight_norm": (lambda: nn.Sequential(torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 1))), {}),
    "keep must be in (0, 1], got 1.5": (Finder, {"keep": 1.5}),
    "is out of reach": (Finder, {"keep": 0.001}),
    "unknown metric 'mac'; did you mean macs": (Finder, {"metric": "mac"}),
    "unknown scope 'every'": (Finder, {"scope": "every"}),
    "unknown refit 'yes'": (Finder, {"refit": "yes"}),
    "seed must be a whole number, 0 or more, got 1.5": (Finder, {"profile": "random", "seed": 1.5}),
    "got -1": (Finder, {"profile": "random", "seed": -1}),
    "unknown criterion 'l3'": (Finder, {"criterion": "l3"}),
    "'taylor' needs labels": (Finder, {"criterion": "taylor", "images": torch.rand(2, 3, 40, 48)}),
    "'reconstruction' needs images": (Finder, {"criterion": "reconstruction"}),
    "got torch.uint8": (Finder, {"images": torch.zeros(2, 3, 40, 48, dtype=torch.uint8)}),
    "got torch.float32 (3, 40, 48)": (Finder, {"images": torch.zeros(3, 40, 48)}),
    "got list": (Finder, {"images": [1]}),
    "finite values alone": (Finder, {"images": torch.full((2, 3, 40, 48), torch.nan)}),
    "at least one image": (Finder, {"images": torch.zeros(0, 3, 40, 48)}),
    "two or more: one to fit on and one to check the fit; got 1": (
        Finder,
        {"images": torch.rand(1, 3, 40, 48)},
    ),
    "but image_shape is (3, 8, 8)": (Finder, {"images": torch.zeros(2, 3, 40, 48), "image_shape": (3, 8, 8)}),
    "image_shape must be (channels, height, width)": (Finder, {"image_shape": (40, 48)}),
    "whole numbers above 0, got 48": (Finder, {"image_shape": 48}),
    "whole numbers above 0, got ()": (Finder, {"image_shape": ()}),
    "cannot trace Finder with an input of shape (1, 1, 8, 8)": (Finder, {"image_shape": (1, 8, 8)}),
    "cannot read the profile nowhere.json": (Finder, {"profile": "nowhere.json"}),
    "profile must be a Profile, its file or a name, got a dict": (Finder, {"profile": {}}),
    "the profile is for resnet20": (Finder, {"profile": SHIPPED}),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_one_sentence(message: str) -> None:
    network, settings = MISTAKES[message]
    with pytest.raises(UsageError) as said:
        prune(network(), **{"image_shape": (3, 40, 48), **settings} if "images" not in settings else settings)
    assert message in str(said.value)
    assert "\n" not in str(said.value)


def test_images_that_are_not_normalized_are_not_silently_refitted_on(members: list[Member], digits: DataSet) -> None:
    full, pixels = members[0].load(), digits.train[:60].pixels
    normalized = digits.normalize(pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for known in (normalized, digits.normalize(digits.test.pixels)[-40:], normalized[:8]):
            prune(full, 0.5, images=known, criterion="l1")
        prune(build("resnet8", 10, 1), 0.5, images=200 * normalized, criterion="l1")  # it never saw any
    for strange in (pixels.float(), pixels.float() / 255, normalized + 5):
        with pytest.warns(UserWarning, match=r"images look unlike those .* normalized as for training\?$"):
            prune(full, 0.5, images=strange, criterion="l1")
    assert not any(module._forward_pre_hooks for module in full.modules())
