"""What commands find out and say before any work, and what they suggest."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from profilesearch import apply, compare, groups, pool, train
from profilesearch.cli.baseline import state, state_pool, state_trained
from profilesearch.cli.console import Output
from profilesearch.cli.outcome import known_worth
from profilesearch.errors import UsageError
from profilesearch.list import main as list_main
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.profiles import Budget, Profile
from profilesearch.reporting.runs import read_part
from profilesearch.research.study.page import Entry, Section, read_entries, write_page
from profilesearch.research.transfers.about import remember
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet, load_data
from profilesearch.tasks.pools import Member, default_recipe, foreign_member, train_member
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.splits import split

TINY = """\
from torch import nn


def tiny(num_classes, in_channels=1):
    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))
"""
ARCH = ["--arch", "smallnets:tiny"]
UNTRAINED = ["--score", "divergence"]
"""How networks are scored that are right on hardly any image."""
SEARCH = ["--evaluations", "3", "--images", "20", "--searcher", "random", "--keep", "0.7", *UNTRAINED]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_images: Callable[..., Path]) -> Path:
    """An empty working folder with a small network of one's own, four checkpoints, and two image folders."""
    (tmp_path / "smallnets.py").write_text(TINY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROFILESEARCH_DATA", raising=False)
    monkeypatch.delitem(sys.modules, "smallnets", raising=False)
    for seed, (classes, channels) in enumerate([(10, 1), (10, 1), (2, 3), (2, 3)]):
        torch.manual_seed(seed)
        torch.save(build("smallnets:tiny", classes, channels).state_dict(), f"net {seed}.pth")
    write_images(tmp_path / "photos", ["cat", "dog"], 30)
    shutil.copytree(tmp_path / "photos", tmp_path / "my photos.v2 ü")
    return tmp_path


def said(capsys: Captured) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def stored_profile(**found: Any) -> Profile:
    return Profile("resnet8", "block", "x", {"layer1.0.conv1": 0.5}, Budget(), 0.5, found)


def test_a_wrong_image_size_is_asked_about_before_the_table(here: Path, capsys: Captured) -> None:
    apply.main([*ARCH, "--checkpoint", "net 2.pth", "--data", "photos", "--image-size", "16", "--profile", "uniform"])
    out = capsys.readouterr().out
    first, second, third = out.splitlines()[:3]
    assert "12 test images right, at 16 by 16 pixels (photos@16; mean 0.485 0.456 0.406, std 0.229 " in first
    assert second.startswith("photos@16 came without test images")
    assert third.startswith("is this your accuracy? saying the most frequent class each time gives ")
    assert "--image-size N" in third
    assert out.index(third) < out.index("before and after")
    page = Path("applied/result.html").read_text()
    assert "photos@16 came without test images" in page
    assert "profile by uniform, no fine-tuning" in page


def test_a_good_network_is_asked_about_only_at_another_size(
    place: Path, members: list[Member], capsys: Captured
) -> None:
    options = ["--arch", "resnet8", "--data", "digits", "--checkpoint", str(members[0].path), "--profile", "uniform"]
    apply.main(options)
    out = capsys.readouterr().out
    assert out.startswith("digits-seed0, unpruned: 9")
    assert "359 test images right, at 8 by 8 pixels (digits; mean 0.305, std 0.376)" in out
    assert "is this your accuracy" not in out
    apply.main([*options, "--image-size", "12"])
    assert "says that it was trained on digits; if the network was trained on images of another size than 12 by 12" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(("said", "theirs"), [(0.0615, True), (0.0, True), (0.1, True), (0.6, False), (None, False)])
def test_a_network_that_its_training_here_left_at_chance_is_not_asked_for_its_image_size(
    here: Path, capsys: Captured, digits: DataSet, said: float | None, theirs: bool
) -> None:
    told = {} if said is None else {"held_out_accuracy": said}
    save_network("poor.safetensors", build("smallnets:tiny", 10, 1), told)
    member = foreign_member("smallnets:tiny", Path("poor.safetensors"), digits)
    state(Output(False, Console(width=200)), member, 0.1, digits.test, "test", digits, 1)
    out = capsys.readouterr().out
    assert ("its training reached no more" in out, "--image-size N" in out) == (theirs, not theirs)


def test_the_image_size_is_an_option_of_pools_too(here: Path, capsys: Captured) -> None:
    pool.main([*ARCH, "--data", "digits", "--image-size", "12", "--checkpoint", "net 0.pth", "digits=net 1.pth"])
    assert capsys.readouterr().out.count("at 12 by 12 pixels (digits@12; ") == 2
    with pytest.raises(UsageError, match="'digits@9' says 9 pixels, but `image_size=12`; give one of them"):
        pool.main([*ARCH, "--data", "digits@9", "--image-size", "12", "--checkpoint", "net 0.pth"])
    with pytest.raises(UsageError, match="--image-size must be at least 1 pixel, at most 9999, got 0"):
        pool.main([*ARCH, "--data", "digits", "--image-size", "0", "--checkpoint", "net 0.pth"])


@pytest.mark.full
@pytest.mark.parametrize(
    ("data", "file", "name"),
    [("digits@12", "net 0.pth", "digits-12"), ("photos/", "net 2.pth", "photos"),
     ("my photos.v2 ü@24", "net 2.pth", "my-photos.v2-u-24")],
)  # fmt: skip
def test_searches_on_any_name_are_stored(here: Path, capsys: Captured, data: str, file: str, name: str) -> None:
    size = [] if "@" in data else ["--image-size", "24"]
    train.main([*ARCH, "--data", data, *size, "--checkpoint", file, *SEARCH, "--json"])
    result, stem = said(capsys), f"macs0.7-{name}{'-24' if size else ''}-random3-seed0"
    assert Path(result["profile"]) == Path("profiles/smallnets--tiny") / f"{stem}.json"
    assert Path(result["run"]) == Path("runs/smallnets--tiny") / stem


@pytest.mark.full
def test_what_is_taken_from_a_file_is_said_once(here: Path, capsys: Captured) -> None:
    torch.save({"model": torch.load("net 0.pth", weights_only=True)}, "wrapped.pth")
    train.main([*ARCH, "--data", "digits", "--checkpoint", "wrapped.pth", *SEARCH])
    assert capsys.readouterr().out.count("wrapped.pth: took the tensors under 'model'") == 1


def test_names_that_cannot_be_stored_are_refused_before_the_search(here: Path) -> None:
    for name in ("a/b", "..", "x" * 250, ""):
        with pytest.raises(UsageError, match="cannot name a stored profile"):
            train.main([*ARCH, "--data", "digits", "--name", name, *SEARCH])
    assert not Path("pools").exists()


@pytest.mark.full
def test_two_searches_of_one_name_keep_their_runs(here: Path, capsys: Captured) -> None:
    folders = []
    for store, images in (("a", "20"), ("b", "40"), ("a", "20")):
        options = [*SEARCH, "--images", images, "--store", store, "--json", "--runs", "runs"]
        train.main([*ARCH, "--data", "digits", "--checkpoint", "net 0.pth", *options])
        folders.append(said(capsys)["run"])
    assert folders[0] == folders[2] != folders[1]
    for folder in map(Path, folders):
        assert read_part(folder).curves
    values = [json.loads((Path(folder) / "result.json").read_text()) for folder in folders[:2]]
    assert [value["profile"]["found"]["score_settings"]["images"] for value in values] == [20, 40]


@pytest.mark.full
def test_two_comparisons_keep_their_results(here: Path, capsys: Captured) -> None:
    options = ["--data", "digits", "--checkpoint", "net 0.pth", "--target", "net 1.pth", "--searchers", "random"]
    folders = []
    for keep in ("0.7", "0.6", "0.7"):
        more = ["--evaluations", "2", "--images", "20", "--random-sample", "2", "--keep", keep, "--json"]
        compare.main([*ARCH, *options, *more])
        folders.append(said(capsys)["run"])
    assert folders[0] == folders[2] != folders[1]
    assert [json.loads((Path(f) / "result.json").read_text())["budget"]["keep"] for f in folders[:2]] == [0.7, 0.6]


@pytest.mark.full
def test_the_suggested_search_is_on_the_users_own_network_and_images(here: Path, capsys: Captured) -> None:
    data = ["--data", "my photos.v2 ü", "--image-size", "24", "--mean", "0.5", "--std", "0.25", "0.5", "0.25"]
    own = [*ARCH, *data, "--checkpoint", "net 2.pth", "--keep", "0.65", "--store", "my store", "--seed", "3"]
    apply.main(own)
    line = next(line for line in capsys.readouterr().out.splitlines() if "searches one" in line)
    assert line.startswith("using the blend profile: no stored profile of ")
    words = shlex.split(line.split("`")[1])
    assert words[:3] == ["python", "-m", "profilesearch.train"]
    train.main([*words[3:], "--evaluations", "3", "--images", "12", "--searcher", "random", *UNTRAINED, "--json"])
    found = said(capsys)
    assert [(member["name"], member["data"]) for member in found["pool"]] == [("net 2", "my photos.v2 ü@24")]
    apply.main(own)
    out = capsys.readouterr().out
    known = "that search is all that is known of it on my photos.v2 ü@24"
    assert known in out or re.search("it is the (uniform|widest) profile, since none", out)
    assert "nothing is known" not in out


def test_what_was_searched_on_the_data_is_not_unknown() -> None:
    score = {"fresh": 0.9412, "uniform_fresh": 0.9}
    profile = stored_profile(pool=[{"data": "mine"}], score=score)
    assert "0.941 of the unpruned accuracy, 0.900 of the unpruned accuracy with uniform" in known_worth(profile, "mine")
    assert "nothing is known of it on other" in known_worth(profile, "other")
    profile = replace(profile, found=profile.found | {"score_settings": {"measure": "divergence"}})
    assert "0.941 of the unpruned exp(-divergence), 0.900" in known_worth(profile, "mine")


def test_a_cut_profile_does_not_stop_the_search_that_its_message_asks_for(tmp_path: Path) -> None:
    store, profile = Store(tmp_path, shipped=tmp_path / "none"), stored_profile()
    first = store.add(profile, "mine")
    first.write_text(first.read_text()[:40])
    with pytest.raises(UsageError, match=r"broken JSON .* remove it, and fetch or make it again"):
        Profile.load(first)
    assert store.add(profile, "mine").name == "mine-2.json"
    first.unlink()
    assert store.add(profile, "mine").name == "mine.json"


def test_files_are_read_before_anything_is_trained(here: Path) -> None:
    for verb, more in (
        (compare, ["--target", "missing.th"]),
        (compare, ["--profile", "missing.json"]),
        (train, ["--checkpoint", "digits:5", "missing.th"]),
        (train, ["--evaluations", "0"]),
        (train, ["--images", "0"]),
        (train, ["--workers", "-1"]),
        (apply, ["--keep", "2"]),
        (apply, ["--multiple-of", "0"]),
        (apply, ["--finetune", "1", "--lr", "0"]),
        (apply, ["--label-smoothing", "1", "--finetune", "1"]),
        (apply, ["--out", "."]),
        (pool, ["--pool-dir", "photos/cat/0.png"]),
        (train, ["--tensorboard", "photos/cat/0.png"]),
    ):
        uniform = ["--profile", "uniform"] if verb is apply else []
        with pytest.raises(UsageError):
            verb.main([*ARCH, "--data", "digits", *uniform, *more])
    assert not Path("pools").exists()


def test_members_that_were_trained_otherwise_are_named(place: Path, capsys: Captured) -> None:
    options = ["--arch", "resnet8", "--data", "digits", "--seeds", "0"]
    pool.main([*options, "--epochs", "40"])
    out = capsys.readouterr().out
    assert "resnet8-digits-seed0 is there already and was trained with epochs 12, not epochs 40" in out
    assert "remove pools/resnet8/digits-seed0.safetensors to train it anew, or give another --pool-dir" in out
    pool.main([*options, "--epochs", "12"])
    assert "is there already" not in capsys.readouterr().out


def test_an_empty_pool_names_the_whole_command(here: Path, capsys: Captured) -> None:
    pool.main([*ARCH, "--data", "my photos.v2 ü", "--seeds", "3", "4", "--list"])
    asked = "`profilesearch pool --arch smallnets:tiny --data 'my photos.v2 ü' --seeds 3 4`"
    assert asked in capsys.readouterr().out


def test_a_ledger_that_is_removed_meanwhile_is_written_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs" / "ledger.jsonl")
    ledger.put("first", 0.25, model="m")
    shutil.rmtree(tmp_path / "runs")
    ledger.put("second", 0.5)
    again = Ledger(tmp_path / "runs" / "ledger.jsonl")
    assert (again.get("first"), again.get("second"), again.damaged) == (0.25, 0.5, 0)


def test_a_profile_that_transfer_wrote_is_shown(tmp_path: Path) -> None:
    for task in ("cifar100", "fashionmnist"):
        entry = {"data": task, "model": "m", "finetuned_accuracy": 0.5, "recipe": {"finetune": "linear"}}
        stored_profile().with_evidence(entry).save(tmp_path / f"{task}.json")
    part = read_part(tmp_path / "cifar100.json")
    assert part.blocks[0].rows == (("m", "cifar100", "", "50.00%", "", ""),)
    assert [point[:2] for point in part.points.values()] == [(0.5, 0.5)]
    assert "It does not fit resnet8" in part.blocks[0].text[1]
    assert "no keep ratio for group 'layer2.0.conv1'" in part.blocks[0].text[1]


def test_a_study_of_an_architecture_with_a_colon_lies_in_one_folder(tmp_path: Path) -> None:
    section = Section("ranks", "Ranks", "Do they?", ("a",), (), "Yes.")
    page = write_page(tmp_path / "results", "timm:resnet10t", [Entry(section, "Here.", "command")])
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["timm--resnet10t"]
    assert "## timm:resnet10t" in page.read_text()
    assert list(read_entries(tmp_path / "results", "timm:resnet10t")) == ["ranks"]


def test_settings_that_share_a_folder_have_files_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "commands.json"
    asked = [("one", "a"), ("two", "b"), ("one", "c"), ("two", "b")]
    assert [remember(file, *each) for each in asked] == [
        (["a"], ""), (["b"], "-two"), (["a", "c"], ""), (["b"], "-two"),
    ]  # fmt: skip


def test_a_result_among_the_images_is_refused(here: Path) -> None:
    with pytest.raises(UsageError, match="photos/cat/applied lies among the images of photos@12"):
        apply.main([*ARCH, "--data", "photos@12", "--checkpoint", "net 2.pth", "--out", "photos/cat/applied"])


def test_networks_that_label_the_same_images_differently_take_two_commands(here: Path) -> None:
    for name, ours in (("n01440764", "cat"), ("n03000684", "dog")):
        shutil.copytree(here / "photos" / ours, here / "part" / name)
    torch.save(build("smallnets:tiny", 1000, 3).state_dict(), "thou.pth")
    for files, sentence in ((("net 2.pth", "thou.pth"), "net 2.pth tells 2 classes apart, thou.pth 1,000; give them"),
                            (("thou.pth", "net 2.pth"), "thou.pth tells 1,000 classes apart, net 2.pth 2; give them"),
                            (("net 2.pth", "net 0.pth"), "net 0.pth has 10 classes, but part@12 has 2")):  # fmt: skip
        with pytest.raises(UsageError, match=sentence):
            pool.main([*ARCH, "--data", "part@12", "--checkpoint", *files])
    pool.main([*ARCH, "--data", "part@12", "--checkpoint", "thou.pth", "--quiet"])


def test_a_pool_says_how_many_images_its_accuracies_are_of(here: Path, capsys: Captured) -> None:
    pool.main([*ARCH, "--data", "digits", "--checkpoint", "net 0.pth"])
    held_out = split(load_data("digits")).unsearched
    assert f"of {len(held_out)} held-out images right" in capsys.readouterr().out.replace("\n", " ")


def test_what_ones_own_module_prints_does_not_stand_before_the_json(here: Path, capsys: Captured) -> None:
    Path("loudnets.py").write_text(f"print('hello')\n{TINY}")
    groups.main(["--arch", "loudnets:tiny", "--image-size", "12", "--json"])
    found = capsys.readouterr()
    assert json.loads(found.out)["architecture"] == "loudnets:tiny"
    assert "hello" in found.err
    print("afterwards")
    assert capsys.readouterr().out == "afterwards\n"


def test_a_data_sets_name_that_is_a_folder_too_says_which_is_taken(here: Path, capsys: Captured) -> None:
    shutil.copytree("photos", "digits")
    pool.main([*ARCH, "--data", "digits", "--checkpoint", "net 0.pth"])
    assert "digits is the data set of that name, and not the folder here, which is ./digits" in capsys.readouterr().out
    pool.main([*ARCH, "--data", "./digits@12", "--checkpoint", "net 2.pth"])
    assert "data set of that name" not in capsys.readouterr().out
    shutil.copytree("photos", "dtd")
    pool.main([*ARCH, "--data", "dtd@12", "--checkpoint", "net 2.pth"])
    assert "dtd is the folder here; the data set of that name" in capsys.readouterr().out


def test_a_network_that_overflows_is_named(here: Path) -> None:
    state = build("resnet8", 10, 1).state_dict()
    torch.save({name: each * 1e30 if name == "conv1.weight" else each for name, each in state.items()}, "huge.pth")
    options = ["--arch", "resnet8", "--data", "digits", "--checkpoint", "huge.pth", "--profile", "uniform", "--quiet"]
    with pytest.raises(UsageError, match=r"the layers of huge give on its images overflows, so 'bn1\.running_var'"):
        apply.main([*options, "--refit", "none"])


def test_a_store_that_is_none_is_said_to_be(here: Path, capsys: Captured) -> None:
    Path("file.json").write_text("{}")
    options = [*ARCH, "--checkpoint", "net 2.pth", "--data", "photos@8", "--store"]
    for command, given in ((list_main, ["--store"]), (apply.main, options)):
        with pytest.raises(UsageError, match=r"^file\.json is a file; .*store.* takes a folder"):
            command([*given, "file.json"])
    apply.main([*options, "nowhere"])
    assert "there is no folder nowhere; the profiles of the installation" in capsys.readouterr().out
    list_main(["--arch", "resnet20", "--store", "nowhere"])
    assert "there is no folder nowhere; the profiles of the installation" in capsys.readouterr().out
    list_main(["--arch", "resnet20"])
    assert "no folder" not in capsys.readouterr().out


@pytest.mark.full
def test_what_a_pool_reaches_before_a_search_is_its_own_accuracy(
    digits: DataSet, tmp_path: Path, capsys: Captured
) -> None:
    """Searches give BatchNorm new statistics, with which a network that was trained little is another one."""
    recipe = replace(default_recipe(digits), epochs=1)
    member = train_member("resnet8", digits, 0, tmp_path, recipe)
    problem = Problem([member], {"digits": digits}, Budget(), default_settings(), Ledger())
    own = accuracy(member.load(), digits, split(digits).images(digits, "search"))
    assert abs(float(problem.base()[0]) - own) > 0.02
    state_pool(Output(False, Console(width=200)), problem, lambda _: digits)
    assert f"unpruned: {own:.2%} of 287 held-out images right" in " ".join(capsys.readouterr().out.split())


def test_a_pool_says_where_a_training_has_taught_nothing(here: Path, capsys: Captured) -> None:
    options = ["--arch", "resnet8", "--data", "digits", "--seeds", "0"]
    pool.main([*options, "--epochs", "1", "--lr", "1e-9"])
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "of held-out images right" in line]
    assert said.startswith("resnet8-digits-seed0: ") and "its training reached no more" in said
    pool.main([*options, "--list"])
    assert said in capsys.readouterr().out
    pool.main([*options, "--epochs", "3", "--pool-dir", "others"])
    assert "of held-out images right" not in capsys.readouterr().out


def test_few_images_do_not_make_a_good_network_one_that_was_taught_nothing(here: Path, capsys: Captured) -> None:
    digits = load_data("digits")
    images = replace(digits.train[:200], labels=torch.tensor([0] * 180 + [1] * 20))
    few = replace(digits, train=images, test=images, num_classes=2)
    save_network("good.safetensors", build("smallnets:tiny", 2, 1), {"held_out_accuracy": 1.0})
    member = foreign_member("smallnets:tiny", Path("good.safetensors"), few)
    output = Output(False, Console(width=300))
    state(output, member, 1.0, images[165:181], "test", few, 1)
    state_trained(output, member, few)
    out = capsys.readouterr().out
    assert "100.00% of 16 test images right" in out
    assert "reached no more" not in out and "is this your accuracy" not in out
    save_network("poor.safetensors", build("smallnets:tiny", 2, 1), {"held_out_accuracy": 0.5})
    state_trained(output, replace(member, path=Path("poor.safetensors")), few)
    assert "50.00% of held-out images right" in capsys.readouterr().out
