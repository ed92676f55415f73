"""What people really have: own networks, own files, own folders; each mistake is one sentence, and no work is lost."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_commands import call
from torch import Tensor, nn

from profilesearch.applying.exports import check_format
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import load_network, load_pruned
from profilesearch.networks.graph import trace
from profilesearch.networks.mapping import carry
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget, Profile
from profilesearch.pruning import reestimate_statistics
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.parallel import joined
from profilesearch.tasks.pools import foreign_member, train_member, trained_member
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.sources import open_data
from profilesearch.tasks.training import NotFinite, train
from profilesearch.tasks.unfinished import Unfinished


class Small(nn.Module):
    """Three convolutions and a classifier."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.a = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.c(self.b(self.a(images).relu()).relu()).relu()
        scores: Tensor = self.fc(hidden.mean((2, 3)))
        return scores


class Pair(Small):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images), images  # type: ignore[return-value]


class Tied(Small):
    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__(num_classes, in_channels)
        self.c.weight = self.b.weight


class Summed(Small):
    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.a(images)
        hidden = hidden + self.b(hidden).relu()
        scores: Tensor = self.fc((hidden + self.c(hidden).relu()).mean((2, 3)))
        return scores


class Scaled(Small):
    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.a(images).relu()
        hidden = self.c(self.b(hidden / (hidden.max() + 1)).relu())
        scores: Tensor = self.fc(hidden.mean((2, 3)))
        return scores


class Deciding(Small):
    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.a(images).relu()
        if images[0, 0, 4, 4] > 1:
            hidden = self.b(hidden).relu()
        scores: Tensor = self.fc(self.c(hidden).relu().mean((2, 3)))
        return scores


class Checking(Small):
    def forward(self, images: Tensor) -> Tensor:
        assert images.abs().max() < 8
        return super().forward(images)


class Reading(Small):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images / (1 + images.abs().max().item()))


def plan_of(network: nn.Module) -> Plan:
    return Plan("test_own:Small", network, (1, 8, 8))


@pytest.mark.full
@pytest.mark.parametrize("name", ["squeezenet1_1", "timm:test_convnext", "mnasnet0_5", "googlenet"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_checkpoints_load_whatever_the_order_of_their_tensors(tmp_path: Path, name: str, ending: str) -> None:
    network = build(name, 7).eval()
    path = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save(network.state_dict(), path)
    else:
        save_file({key: value.clone() for key, value in network.state_dict().items()}, path)
    again = load_network(name, path)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert again(images).shape == (1, 7)
        assert torch.equal(again(images), network(images))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_wrappers_prefixes_are_taken_off(tmp_path: Path, prefix: str) -> None:
    tensors = {f"{prefix}{name}": tensor for name, tensor in build("resnet8", 10).state_dict().items()}
    torch.save({"model_state_dict": tensors, "epoch": 3}, tmp_path / "own.pt")
    assert load_network("resnet8", tmp_path / "own.pt")(torch.rand(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.full
def test_networks_that_return_more_than_scores_are_refused(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    torch.save(Pair().state_dict(), tmp_path / "pair.pth")
    with pytest.raises(UsageError, match="returns a tuple; it must return its class scores"):
        foreign_member("test_own:Pair", tmp_path / "pair.pth", digits)
    with pytest.raises(UsageError, match="returns a tuple; it must return its class scores"):
        train_member("test_own:Pair", digits, 0, tmp_path / "pools")
    torch.save(build("alexnet", 10).state_dict(), tmp_path / "alexnet.pth")
    with pytest.raises(
        UsageError, match=r"AlexNet cannot take a batch of images of shape \(3, 8, 8\).*size of its `images`"
    ):
        foreign_member("alexnet", tmp_path / "alexnet.pth", digits)


def test_shared_weights_and_empty_scopes_give_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"shares one weight under two names, 'b.weight' and 'c.weight'"):
        _ = plan_of(Tied()).table
    with pytest.raises(UsageError, match="in scope 'block'; `profilesearch groups` says why; try `scope='all'`"):
        plan_of(Summed()).space(Budget("macs", 0.5))
    assert plan_of(Summed()).space(Budget("macs", 0.5), "all").size == 1


def test_a_network_that_divides_by_its_maximum_is_traced() -> None:
    table = trace(Scaled(), torch.rand(1, 1, 8, 8))
    assert [group.name for group in table.within("block").groups] == ["b", "c"]


def test_control_flow_that_depends_on_the_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Deciding decides by what the images show.*\(b for some of them alone\)"):
        _ = plan_of(Deciding()).table
    for other in (Reading(), Checking()):
        assert plan_of(other).table.names == plan_of(Small()).table.names


def test_modules_with_mistakes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("def net(:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="broken_module cannot be imported: SyntaxError"):
        build("broken_module:net", 10)


def test_a_profile_file_never_makes_a_module_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    plan = Plan("resnet8", build("resnet8", 10), (3, 32, 32))
    space = plan.space(Budget("macs", 0.5))
    foreign = replace(space.profile(space.uniform(), {}), architecture="evil_module:net")
    with pytest.raises(UsageError, match="somebody's own code"):
        carry(foreign, plan)


def sorted_folder(folder: Path, count: int = 40) -> Path:
    for place, name in enumerate(("dark", "light")):
        for part in ("train", "val"):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.full((8, 8, 3), 40 + 150 * place + index, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index:03}.png")
    return folder


def test_the_first_images_of_a_folder_are_of_all_classes(tmp_path: Path) -> None:
    data = open_data(f"{sorted_folder(tmp_path / 'photos')}@8")
    for part in (data.train, data.test):
        assert part[:20].labels.unique().tolist() == [0, 1]
        bright = part[:20].pixels.float().mean(dim=(1, 2, 3)) > 120
        assert torch.equal(bright.long(), part[:20].labels)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    reestimate_statistics(network, data, data.train[:20], batch=10)
    first, whole = network[1].running_mean.clone(), data.train  # type: ignore[union-attr, operator]
    reestimate_statistics(network, data, whole)
    assert torch.allclose(first, network[1].running_mean, atol=0.35)  # type: ignore[arg-type]


def test_a_part_of_imagenet_serves_a_network_of_its_own_classes(place: Path, write_images: Callable[..., Path]) -> None:
    wnids = ["n01440764", "n03000684"]
    for part in ("train", "val"):
        write_images(place / "part" / part, wnids)
    data = open_data("part@8")
    assert (data.num_classes, data.train.labels.unique().tolist()) == (2, [0, 1])
    sure = build("resnet8", 2)
    with torch.no_grad():
        sure.linear.bias.copy_(torch.tensor([0.0, 99.0]))  # type: ignore[union-attr, operator]
    torch.save(sure.state_dict(), "two.pth")
    call("apply", "--arch", "resnet8", "--checkpoint", "two.pth", "--data", "part@8", "--profile", "uniform")
    report = json.loads((place / "applied" / "report.json").read_text())
    assert report["before"]["accuracy"] == report["after"]["accuracy"] == 0.5  # the second class, each time


def test_a_folder_of_few_images_is_refused(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="has 4 images; 10 or more"):
        open_data(str(write_images(tmp_path / "few", ["a", "b"], count=2)))


def test_pools_of_two_folders_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    first = open_data(f"{sorted_folder(tmp_path / 'one' / 'photos')}@8")
    second = open_data(f"{sorted_folder(tmp_path / 'two' / 'photos', count=20)}@8")
    assert first.name == second.name
    pools, recipe = tmp_path / "pools", Recipe(epochs=1, batch=16, shift=1)
    members = [train_member("test_own:Small", data, 0, pools, recipe) for data in (first, second)]
    assert [trained_member("test_own:Small", data, 0, pools) for data in (first, second)] == members
    assert members[0].path != members[1].path
    members[0].path.replace(members[1].path)
    with pytest.raises(UsageError, match="was trained on other images that are called photos@8 too"):
        trained_member("test_own:Small", second, 0, pools)


def whole_and_interrupted(make: Callable[[], nn.Module], data: DataSet, folder: Path) -> tuple[nn.Module, nn.Module]:
    """Trains two networks alike, the second with an interruption after which somebody else drew random numbers."""
    recipe, state = Recipe(epochs=2, lr=0.05, batch=64, shift=1), Unfinished(folder / "state")
    whole, parted, again = make(), make(), make()
    train(whole, data, data.train, recipe)

    def stop(done: int, total: int, _: str) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(parted, data, data.train, recipe, progress=stop, resume=state)
    assert list(folder.glob("state.*"))
    torch.rand(7)
    train(again, data, data.train, recipe, resume=state)
    return whole, again


def test_frozen_weights_stay_and_the_training_goes_on(digits: DataSet, tmp_path: Path) -> None:
    def frozen() -> nn.Module:
        torch.manual_seed(0)
        network = Small()
        network.b.requires_grad_(False)
        return network

    whole, again = whole_and_interrupted(frozen, digits, tmp_path)
    assert torch.equal(again.b.weight, frozen().b.weight)  # type: ignore[arg-type, union-attr]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


RANKS = """
import os, sys
from pathlib import Path
import torch
from test_own import Small
from profilesearch.networks.reading import tensor_digest
from profilesearch.tasks.data import load_data
from profilesearch.tasks.parallel import joined
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.training import train
from profilesearch.tasks.unfinished import Unfinished

torch.backends.cudnn.deterministic = True
data, device, rank = load_data("digits"), torch.device(sys.argv[1]), os.environ["RANK"]


def trained(world, stop_at):
    torch.manual_seed(world.rank)
    network = Small().to(world.device)

    def stop(step, steps):
        if step == stop_at:
            raise KeyboardInterrupt

    recipe = Recipe(2, lr=0.05, batch=64, shift=1)
    try:
        with Unfinished(Path(f"rank{rank}") / "state") as state:  # a disk of its own
            train(network, data, data.train, recipe, resume=state, world=world, hook=stop)
    except KeyboardInterrupt:
        return len(list(Path(f"rank{rank}").glob("*")))
    return tensor_digest(network.state_dict())


for port, stop_at in zip(sys.argv[2:], (-1, len(data.train) // 64 + 3, -1)):
    os.environ["MASTER_PORT"] = port
    with joined(device) as world:
        assert world.first(lambda: {"rank": world.rank}) == {"rank": 0}
        print(trained(world, stop_at))
    threads = [(each / "comm").read_text() for each in Path("/proc/self/task").glob("*")]
    assert not [name for name in threads if "gloo" in name], "one that is left may end this process with an abort"
"""


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs 2 GPUs"))]


@pytest.mark.full
@pytest.mark.parametrize("device", DEVICES)
def test_processes_without_the_firsts_files_go_on_where_it_is(tmp_path: Path, device: str) -> None:
    (tmp_path / "ranks.py").write_text(RANKS)
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [str(each.getsockname()[1]) for each in free]
    for each in free:
        each.close()
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": paths}
    processes = [
        subprocess.Popen(
            [sys.executable, "ranks.py", device, *ports], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **common, "OMP_NUM_THREADS": "1", "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    (whole, stopped, again), (others, nothing, same) = (
        process.communicate(timeout=300)[0].splitlines() for process in processes
    )
    assert (stopped, nothing) == ("1", "0")
    assert whole == again == others == same


def test_processes_share_out_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UsageError, match="write `device='cuda'`, not cuda:1"), joined(torch.device("cuda:1")):
        pass
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="process 2 of this machine finds 1 CUDA device"), joined(torch.device("cuda")):
        pass


def test_dropout_is_the_same_after_an_interruption(digits: DataSet, tmp_path: Path) -> None:
    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10))

    whole, again = whole_and_interrupted(network, digits, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_diverged_training_goes_back_to_its_last_good_epoch(digits: DataSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, good = Small(), {}
    recipe = Recipe(epochs=3, lr=0.05, batch=64, shift=1)

    def break_it(step: int, steps: int) -> None:
        if step == steps // 3:
            good.update({name: tensor.clone() for name, tensor in network.state_dict().items()})
        if step > steps // 3:
            with torch.no_grad():
                network.a.weight.fill_(torch.nan)

    with pytest.raises(NotFinite) as error:
        train(network, digits, digits.train, recipe, hook=break_it, resume=Unfinished(tmp_path / "state"))
    assert error.value.finished == 1
    assert all(torch.equal(tensor, good[name]) for name, tensor in network.state_dict().items())


def test_apply_saves_the_last_good_network(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["apply", "--arch", "resnet8", "--data", "digits", "--profile", "uniform", "--out", place / "out"]
    monkeypatch.setattr(Recipe, "rate", lambda _, step, steps: 0.01 if step < steps // 2 else 1e20)
    with pytest.raises(SystemExit, match="2"):
        call(*command, "--finetune", "2")
    said = capsys.readouterr().err
    assert "no longer finite in epoch 2" in said
    assert f"the network after epoch 1 is in {place / 'out' / 'last-good.safetensors'}" in said
    assert load_pruned(place / "out" / "last-good.safetensors")(torch.rand(2, 1, 8, 8)).isfinite().all()


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"label_smoothing": 1.5}, {"distill": 3.0}, {"lr": float("nan")}, {"lr": float("inf")}):
        with pytest.raises(UsageError):
            Recipe(epochs=1, **wrong)  # type: ignore[arg-type]
    check_format("pt2")
    with pytest.raises(UsageError, match="unknown format 'onyx'; did you mean onnx"):
        check_format("onyx")


def test_another_programs_variables_give_one_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="2"):
        call("apply", "--arch", "resnet8", "--data", "digits", "--profile", "uniform")
    assert "start processes with torchrun" in capsys.readouterr().err.splitlines()[-1]


def test_grey_images_for_a_network_of_colours_are_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build("resnet8", 10).state_dict(), "colours.pth")
    options = ["--checkpoint", "colours.pth", "--profile", "uniform", "--criterion", "l1", "--refit", "none"]
    call("apply", "--arch", "resnet8", "--data", "digits", *options)
    assert "(digits; mean 0.305, std 0.376; grey, repeated for its 3 channels)" in capsys.readouterr().out


def test_what_a_given_profile_overrides_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8))
    space = plan.space(Budget("macs", 0.7))
    space.profile(space.uniform(), {}).save(place / "mine.json")
    call("apply", "--arch", "resnet8", "--data", "digits", "--profile", "mine.json", "--keep", "0.3", "--json")
    said = capsys.readouterr()
    assert "of resnet8 in scope 'block', whatever --keep" in said.err
    assert "the profile keeps 70.1% of the macs of this network" in said.err
    report = json.loads(said.out)
    assert report["after"]["macs"] / report["before"]["macs"] == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("which", ["uniform", "mine.json"])
def test_a_given_profile_is_rounded_to_multiples(place: Path, capsys: pytest.CaptureFixture[str], which: str) -> None:
    space = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8)).space(Budget("macs", 0.5))
    space.profile(space.sample(1, np.random.default_rng(0))[0], {}).save(place / "mine.json")
    command = ["--arch", "resnet8", "--data", "digits", "--profile", which, "--multiple-of", "8", "--json"]
    call("apply", *command)
    report = json.loads(capsys.readouterr().out)
    assert {width % 8 for width in report["widths"]} == {0}
    assert report["after"]["macs"] / report["before"]["macs"] == pytest.approx(0.5, abs=0.03)
    Profile.from_json(report["profile"]).save(place / "mine.json")
    call("apply", *command[:-4], "mine.json", *command[-3:])
    again = capsys.readouterr()
    assert json.loads(again.out)["widths"] == report["widths"]
    assert "widths are rounded" not in again.err


def test_a_grey_network_takes_coloured_images(tmp_path: Path) -> None:
    data = open_data(f"{sorted_folder(tmp_path / 'photos')}@8")
    pixels = data.train[:4].pixels
    grey = data.normalize(pixels, 1)
    red, green, blue = data.normalize(pixels).unbind(1)
    assert torch.allclose(grey[:, 0], 0.299 * red + 0.587 * green + 0.114 * blue)
    with pytest.raises(UsageError, match="takes 2 channels, but photos@8 has 3; give its own `data`"):
        data.normalize(pixels, 2)
