"""What is the same and what is not: data sets by their images, networks by what they compute."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_own import Small, Summed, sorted_folder
from torch import Tensor, nn

from profilesearch.cli.console import Output
from profilesearch.cli.workspace import Workspace
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.graph import trace
from profilesearch.networks.identity import network_identity
from profilesearch.research.settings import Training
from profilesearch.research.study.jobs import Sources
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.sizes import QUICK
from profilesearch.scoring.score import Scorer, ScoreSettings
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member, check_unseen, foreign_member, pool_path, train_member, trained_member
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.sources import open_labelled, open_once
from profilesearch.tasks.training import train
from profilesearch.tasks.unfinished import Unfinished

SHORT = Recipe(epochs=1, lr=0.01, batch=64, shift=1)


class Calling(nn.Module):
    """Two convolutions with a function between them."""

    def __init__(self, function: Callable[[Tensor], Tensor], stride: int = 1) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1, stride=stride)
        self.fc = nn.Linear(4, 10)
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.b(self.function(self.a(images))).mean((2, 3)))
        return scores


FORWARDS: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.relu, torch.tanh, lambda x: x * 2, lambda x: x * 2.5, lambda x: x * torch.tensor(2.0),
    lambda x: x * torch.tensor(3.0), lambda x: x[:, :, ::2], lambda x: x[:, :, 1::2], lambda x: x + x.flip(2),
    lambda x: torch.from_numpy(x.numpy() * 3), lambda x: x / x.abs().max().item(),
)  # fmt: skip


def test_a_network_is_its_weights_and_what_it_computes() -> None:
    torch.manual_seed(0)
    state, found = Calling(torch.relu).state_dict(), set()
    for function in FORWARDS:
        for stride in (1, 2):
            network = Calling(function, stride)
            network.load_state_dict(state)
            identity = network_identity(network, (1, 8, 8))
            assert identity == network_identity(network.train(), (1, 8, 8))
            found.add(identity)
    assert len(found) == 2 * len(FORWARDS)
    renamed = Calling(lambda x: x.relu())  # other code that computes the same
    renamed.load_state_dict(state)
    assert network_identity(renamed, (1, 8, 8)) in found
    with torch.no_grad():
        renamed.fc.bias[0] += 1
    assert network_identity(renamed, (1, 8, 8)) not in found


def test_where_and_how_a_network_lies_in_memory_does_not_count() -> None:
    for kernel in (1, 3):
        layers = nn.Conv2d(3, 4, kernel), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (9 - kernel) ** 2, 10)
        network = nn.Sequential(*layers)
        identity = network_identity(network, (3, 8, 8))
        assert network_identity(network.to(memory_format=torch.channels_last), (3, 8, 8)) == identity


def test_state_outside_the_state_dict_counts() -> None:
    one, two = Small(), Small()
    two.load_state_dict(one.state_dict())
    assert network_identity(one, (1, 8, 8)) == network_identity(two, (1, 8, 8))
    two.register_buffer("scale", torch.ones(1), persistent=False)
    assert network_identity(one, (1, 8, 8)) != network_identity(two, (1, 8, 8))


def test_an_edited_forward_gets_new_scores(digits: DataSet) -> None:
    first, second = Small(), Summed()
    second.load_state_dict(first.state_dict())
    table = trace(first, torch.rand(1, 1, 8, 8))
    images = digits.train[:100]
    ours, theirs, again = (
        Scorer(network, table, digits, images, images, ScoreSettings()).digest for network in (first, second, first)
    )
    assert ours == again != theirs


def test_another_networks_training_is_not_continued(digits: DataSet, tmp_path: Path) -> None:
    def network(kind: type[Small]) -> Small:
        torch.manual_seed(0)
        return kind()

    def stop(done: int, total: int, _: str) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    recipe, state = replace(SHORT, epochs=2), Unfinished(tmp_path / "state")
    with pytest.raises(KeyboardInterrupt):
        train(network(Small), digits, digits.train[:256], recipe, progress=stop, resume=state)
    assert list(tmp_path.iterdir())
    resumed, whole = network(Summed), network(Summed)
    train(resumed, digits, digits.train[:256], recipe, resume=state)
    train(whole, digits, digits.train[:256], recipe)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), whole.parameters(), strict=True))


def test_what_a_file_says_of_its_images_is_compared_with_them(digits: DataSet, tmp_path: Path) -> None:
    path = train_member("test_own:Small", digits, 0, tmp_path, SHORT).path
    assert foreign_member("test_own:Small", path, digits).trained_on == "train"
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(1))
    for other in (digits.train[order], digits.train[:-1], replace(digits.train, labels=9 - digits.train.labels)):
        assert foreign_member("test_own:Small", path, replace(digits, train=other)).trained_on == "all"
        with pytest.raises(UsageError, match="was trained on other images that are called digits too"):
            trained_member("test_own:Small", replace(digits, train=other), 0, tmp_path)


def test_a_member_of_older_code_is_refused(digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = train_member("test_own:Small", digits, 0, tmp_path, SHORT)
    assert trained_member("test_own:Small", digits, 0, tmp_path) == member
    monkeypatch.setattr(Small, "forward", Summed.forward)
    with pytest.raises(
        UsageError, match="was trained when test_own:Small computed something else; give it to `load_network`"
    ):
        trained_member("test_own:Small", digits, 0, tmp_path)
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    with pytest.raises(UsageError, match=r"or in other steps \(torch [0-9][^ ]* wrote it, 9\.9\.9 reads it\); give"):
        trained_member("test_own:Small", digits, 0, tmp_path)
    assert foreign_member("test_own:Small", member.path, digits).trained_on == "train"


def test_a_member_whose_held_out_images_are_others_now_is_not_trusted(digits: DataSet, tmp_path: Path) -> None:
    path = train_member("test_own:Small", digits, 0, tmp_path, SHORT).path
    assert foreign_member("test_own:Small", path, replace(digits, held_out=0.2)).trained_on == "all"


@pytest.mark.parametrize("form", ["copied", "half", "bfloat16", "wrapped"])
def test_a_target_is_no_copy_of_a_pool_member(tmp_path: Path, form: str) -> None:
    torch.manual_seed(0)
    state = build("resnet20", 10, 1).state_dict()
    torch.save(state, tmp_path / "pool.pth")
    file = tmp_path / "target.safetensors"
    if form == "wrapped":
        file = tmp_path / "target.pth"
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, file)
    else:
        kind = {"copied": torch.float32, "half": torch.float16, "bfloat16": torch.bfloat16}[form]
        save_file({n: t.to(kind) if t.is_floating_point() else t for n, t in state.items()}, file)
    torch.save(build("resnet20", 10, 1).state_dict(), tmp_path / "other.pth")
    pool, target, other = (
        Member(path.stem, "resnet20", "digits", path, "all")
        for path in (tmp_path / "pool.pth", file, tmp_path / "other.pth")
    )
    check_unseen([other], [pool])
    with pytest.raises(UsageError, match=r"target\.\w+ has the weights of .*pool\.pth, which is in the pool"):
        check_unseen([other, target], [pool])


def test_two_folders_of_one_name_are_two_data_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, copy = (sorted_folder(tmp_path / name / "photos", count) for name, count in
                           (("one", 20), ("two", 10), ("three", 10)))  # fmt: skip
    (first / "train" / "dark" / "note.txt").write_text("no image")
    asked = [f"{folder}@8" for folder in (first, second, copy)]
    settings = Training.read(["--arch", "resnet20", "--data", *asked])
    workspace = Workspace(settings, Output.of(settings))
    data = [workspace.data(text) for text in asked]
    assert [len(each.train) for each in data] == [40, 20, 20]
    assert data[0].name == "photos@8" != data[1].name == data[2].name
    assert all(workspace.data(each.name).identity == each.identity for each in data)
    assert "files of unknown kinds (1: .txt)" in capsys.readouterr().out
    assert len({pool_path(tmp_path, "resnet20", each.own_name, 0) for each in data}) == 2


def test_records_are_of_the_same_images_and_code(tmp_path: Path) -> None:
    folder = sorted_folder(tmp_path / "photos", 10)
    asked, file = f"{folder}@8", tmp_path / "small.pth"
    output = Output.of(Training.read(["--arch", "resnet20"]))
    torch.manual_seed(0)
    torch.save(Small(2, 3).state_dict(), file)

    def lab(architecture: str = "test_own:Small") -> Lab:
        for cached in (open_once, open_labelled):
            cached.cache_clear()
        member = Member("small", architecture, "photos@8", file, "all")
        sources = Sources(architecture, (member,), None, tmp_path / "work", (("photos@8", asked),))
        return Lab(sources, ("small",), ("small",), tmp_path / "results", QUICK, 1, output, tmp_path / "profiles")

    lab()
    lab()
    with pytest.raises(UsageError, match=r"network small is not what it was .*give another --results"):
        lab("test_own:Summed")
    image = folder / "train" / "dark" / "003.png"
    image.write_bytes((folder / "train" / "dark" / "004.png").read_bytes())
    with pytest.raises(UsageError, match=r"data set photos@8 is not what it was"):
        lab()
