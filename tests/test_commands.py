"""The commands as people run them: results, resuming after a kill, and one sentence for every mistake."""

import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import start
from rich.console import Console

from profilesearch import __version__
from profilesearch.__main__ import VERBS
from profilesearch.applying.settings import Applying
from profilesearch.cli.console import Output, run
from profilesearch.errors import UsageError
from profilesearch.measure.intervals import mean_interval
from profilesearch.networks import latency
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import load_pruned
from profilesearch.networks.clock import pass_times
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget
from profilesearch.reporting.stored import PROFILES, profile_row
from profilesearch.store import Store
from profilesearch.tasks.pools import Member

Arguments = list[str | Path]


def call(verb: str, *arguments: str | Path) -> None:
    """Runs a command in this process, as `python -m profilesearch.VERB` does."""
    run(importlib.import_module(f"profilesearch.{verb}").main, list(map(str, arguments)))


@pytest.fixture
def place(tmp_path: Path, pool_dir: Path, members: list[Member], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a trained pool."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROFILESEARCH_DATA", raising=False)
    assert members
    shutil.copytree(pool_dir, tmp_path / "pools")
    return tmp_path


EVALUATIONS = 20  # two updates of PPO
TRAIN: Arguments = ["--arch", "resnet8", "--evaluations", str(EVALUATIONS), "--images", "50"]


def train(capsys: pytest.CaptureFixture[str], *more: str | Path) -> dict[str, Any]:
    call("train", *TRAIN, "--json", *more)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def uniform(place: Path) -> Path:
    """A profile of ResNet-8."""
    space = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8)).space(Budget("macs", 0.5))
    space.profile(space.uniform(), {}).save(place / "uniform.json")
    return place / "uniform.json"


def test_train_stores_a_profile_that_says_where_it_comes_from(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("train", *TRAIN, "--json")
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert "python -m profilesearch.train --arch resnet8 --data cifar10 --data-dir data --download" in err
    assert "smallest" in err
    assert "uniform" in err
    profile = json.loads(Path(result["profile"]).read_text())
    assert [member["data"] for member in profile["found"]["pool"]] == ["digits", "digits"]
    assert profile["budget"]["reached"] == pytest.approx(0.5, rel=0.005)
    assert profile["found"]["policy"]["own_cost"] > 0
    command = next(line for line in err.splitlines() if line.startswith("    python -m profilesearch.apply "))
    told = Applying.parser().parse_args(shlex.split(command)[3:])
    assert (told.data, told.profile, Path(told.checkpoint).is_file()) == (["digits"], result["profile"], True)
    folder = Path(result["run"])
    assert {path.name for path in folder.iterdir()} == {"profile.png", "search.png", "history.csv", "result.json"}
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + EVALUATIONS


@pytest.mark.xdist_group("engines")
def test_a_killed_search_resumes_to_the_same_profile(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    straight = Path(train(capsys, "--runs", "straight", "--store", "straight")["profile"]).read_bytes()
    ledger = place / "killed" / "ledger.jsonl"
    process = start("train", [*map(str, TRAIN), "--runs", "killed", "--store", "killed", "--quiet"], place)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not ledger.exists() or ledger.read_bytes().count(b"\n") < 30):
        time.sleep(0.005)
    process.kill()
    process.join()
    done = ledger.read_bytes()
    assert not list((place / "killed").glob("*/*.json"))
    resumed = Path(train(capsys, "--runs", "killed", "--store", "killed")["profile"]).read_bytes()
    assert resumed == straight
    assert ledger.read_bytes().startswith(done[: done.rindex(b"\n")])
    rows = ledger.read_text().splitlines()[1:]
    assert len({row.split('"')[3] for row in rows}) == len(rows)  # nothing was scored twice


def test_apply_writes_a_network_that_a_fresh_process_loads_bit_for_bit(
    uniform: Path, capsys: pytest.CaptureFixture[str], members: list[Member]
) -> None:
    options: Arguments = ["--data", "digits", "--checkpoint", members[1].path, "--profile", uniform]
    call("apply", "--arch", "resnet8", *options, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["after"]["macs"] / report["before"]["macs"] == pytest.approx(0.5, rel=0.005)
    assert report["after"]["bytes"] < report["before"]["bytes"]
    assert report["after"]["accuracy"] > 0.7
    assert report["after"]["latency_ms"]["batch64"] > 0
    assert json.loads(Path("applied/profile.json").read_text())["evidence"] == [report["evidence"]]
    code = (
        "import sys, torch; from profilesearch import load_pruned; torch.manual_seed(0)\n"
        "torch.save(load_pruned('applied/pruned.safetensors')(torch.rand(4, 1, 8, 8)), sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, "fresh.pt"], check=True)
    from profilesearch import load_pruned  # noqa: PLC0415

    torch.manual_seed(0)
    here = load_pruned("applied/pruned.safetensors")(torch.rand(4, 1, 8, 8))
    assert torch.equal(torch.load("fresh.pt"), here)


def test_a_torchvision_network_on_a_folder_of_images_is_pruned_tuned_and_exported(
    place: Path, capsys: pytest.CaptureFixture[str], write_images: Callable[..., Path]
) -> None:
    write_images(place / "photos", ["cat", "dog"], 20)
    torch.manual_seed(0)
    torch.save(build("squeezenet1_1", 2).state_dict(), place / "mine.pth")
    options: Arguments = ["--checkpoint", "mine.pth", "--data", "photos@32", "--profile", "uniform", "--finetune", "1"]
    call("apply", "--arch", "squeezenet1_1", *options, "--lr", "0.01", "--export", "onnx", "pt2", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["after"]["macs"] / report["before"]["macs"] == pytest.approx(0.5, rel=0.005)
    assert report["after"]["peak_memory"] < report["before"]["peak_memory"]
    assert [(entry["file"], entry["same"]) for entry in report["exports"]] == [("pruned.onnx", 1), ("pruned.pt2", 1)]
    assert Path("applied/pruned.onnx").stat().st_size > 1e6


def test_a_latency_budget_is_searched_and_applied(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    monkeypatch.setattr(latency, "pass_times", pass_times)  # one round alone may be far off: prices then leave gaps
    options: Arguments = ["--arch", "resnet8", "--data", "digits", "--metric", "latency", "--keep", "0.95"]
    call("train", *options, "--seeds", "0", "--evaluations", "16", "--searcher", "random", "--json")
    captured = capsys.readouterr()
    assert "really pruned" in captured.err
    profile = json.loads(Path(json.loads(captured.out)["profile"]).read_text())
    assert profile["budget"]["metric"] == "latency"
    assert profile["budget"]["reached"] == pytest.approx(0.95, rel=0.02)
    call("apply", *options, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["after"]["macs"] < report["before"]["macs"]


@pytest.mark.usefixtures("one_thread")
def test_two_processes_finetune_as_one(place: Path, members: list[Member], capsys: pytest.CaptureFixture[str]) -> None:
    options: Arguments = ["--arch", "resnet8", "--data", "digits", "--checkpoint", members[0].path, "--finetune", "2"]
    options += ["--profile", "uniform", "--keep", "0.3", "--criterion", "l1", "--refit", "none", "--json"]
    call("apply", *options, "--out", "one")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "profilesearch.apply"]
    command = [sys.executable, *launcher, *map(str, options), "--out", "two"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
    (line,) = done.stdout.splitlines()  # one process talks
    one, two = (json.loads(said)["evidence"] for said in (capsys.readouterr().out, line))
    assert one["pruned_accuracy"] == two["pruned_accuracy"] < two["finetuned_accuracy"]
    assert two["finetuned_accuracy"] == pytest.approx(one["finetuned_accuracy"], abs=0.06)
    assert not list(Path("two").glob("*resume*"))


def test_a_profile_serves_a_relative_when_asked(uniform: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build("resnet32", 10, 1).state_dict(), "deeper.pth")
    options: Arguments = ["--arch", "resnet32", "--checkpoint", "deeper.pth", "--data", "digits", "--profile", uniform]
    with pytest.raises(SystemExit):
        call("apply", *options)
    assert "--map-by-position" in capsys.readouterr().err
    call("apply", *options, "--map-by-position", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["profile"]["found"]["mapped_from"]["architecture"] == "resnet8"
    assert report["after"]["macs"] / report["before"]["macs"] == pytest.approx(0.5, rel=0.005)


def test_finetuning_helps(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(
        "apply",
        "--arch",
        "resnet8",
        "--profile",
        "uniform",
        "--keep",
        "0.3",
        "--refit",
        "none",
        "--finetune",
        "3",
        "--json",
    )
    evidence = json.loads(capsys.readouterr().out)["evidence"]
    assert evidence["finetuned_accuracy"] > evidence["pruned_accuracy"]
    assert not list(Path("applied").glob("*resume*"))


def test_compare_scores_all_searchers_on_an_unseen_model(uniform: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluations = 10
    searchers: Arguments = ["--searchers", "ppo", "random", "exhaustive", "sensitivity", "--repeats", "2"]
    searchers += ["--random-sample", "5", "--evaluations", str(evaluations), "--profile", uniform]
    call("compare", *TRAIN, "--seeds", "0", "--json", *searchers)
    report = json.loads(capsys.readouterr().out)
    assert [target["name"] for target in report["targets"]] == ["resnet8-digits-seed1"]
    rows = {row["name"]: row for row in report["rows"]}
    assert {"unpruned", "uniform", "random, median", "ppo", "random", "exhaustive", "sensitivity"} <= rows.keys()
    for name, row in rows.items():
        assert name == "unpruned" or row["cost"] == pytest.approx(0.5, rel=0.005)
    assert rows["ppo"]["evaluations"] == rows["random"]["evaluations"] == evaluations
    assert len(rows["ppo"]["runs"]) == 2
    assert rows["ppo"]["interval"] == pytest.approx(mean_interval(rows["ppo"]["runs"])[1])
    for name in ("exhaustive", "taper", "sensitivity"):  # which draw nothing: they would find the same again
        assert (len(rows[name]["runs"]), rows[name]["interval"]) == (1, None)
    assert rows["unpruned"]["time"]["64"] == [1, 1, 1]
    assert all(0 < low <= part <= high for row in rows.values() for part, low, high in row["time"].values())
    assert (Path(report["run"]) / "curves.png").exists()


def test_pool_lists_own_and_foreign_members(
    place: Path, capsys: pytest.CaptureFixture[str], members: list[Member]
) -> None:
    call("pool", "--arch", "resnet8", "--data", "digits", "--list", "--json")
    listed = json.loads(capsys.readouterr().out)["members"]
    assert [row["name"] for row in listed] == ["resnet8-digits-seed0", "resnet8-digits-seed1"]
    foreign = place / "foreign.th"
    torch.save({"state_dict": members[0].load().state_dict()}, foreign)
    call("pool", "--arch", "resnet8", "--data", "digits", "--checkpoint", f"digits={foreign}", "--json")
    (row,) = json.loads(capsys.readouterr().out)["members"]
    assert row["trained_on"] == "every training image"
    assert row["held_out_accuracy"] == pytest.approx(listed[0]["held_out_accuracy"], abs=0.01)


@pytest.mark.parametrize("verb", VERBS)
def test_help_reads_like_a_manual_page(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        call(verb, "--help")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "examples:" in text
    assert "files" in text
    assert bool(re.search(r"--seeds?\b", text)) == (verb not in ("list", "groups", "report"))  # which draw nothing
    assert "--json" in text


def test_groups_say_what_can_be_pruned_and_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    call("groups", "--arch", "resnet8", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert {group["scope"] for group in shown["groups"]} == {"block", "all"}
    assert "padding" in shown["excluded"][0]["reason"]


def test_own_networks_go_by_module_and_name(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "mynets.py").write_text(
        "from torch import nn\n\n\n"
        "def tiny(num_classes, in_channels=1):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(),\n"
        "                         nn.Flatten(), nn.Linear(96, num_classes))\n"
    )
    monkeypatch.syspath_prepend(place)
    options: Arguments = ["--arch", "mynets:tiny", "--data", "digits"]
    call("groups", "--arch", "mynets:tiny", "--channels", "1", "--image-size", "8", "--json")
    assert [group["name"] for group in json.loads(capsys.readouterr().out)["groups"]] == ["0", "2"]
    call("train", *options, "--seeds", "0", "--evaluations", "16", "--searcher", "random")
    call("apply", *options)
    assert (place / "profiles" / "mynets--tiny").is_dir()
    with pytest.raises(UsageError, match="if you trust that name"):
        load_pruned("applied/pruned.safetensors")
    assert load_pruned("applied/pruned.safetensors", "mynets:tiny")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nosuchmodule:net", "cannot import nosuchmodule"), ("json:nosuch", "json has no 'nosuch'"),
     ("json:dumps", "json:dumps cannot be built"), ("resnet57", "did you mean")],
)  # fmt: skip
def test_unknown_architectures_give_one_sentence(name: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        call("groups", "--arch", name)
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


def test_the_list_of_profiles_fits_80_columns() -> None:
    file = io.StringIO()
    output = Output(False, Console(file=file, width=150, force_terminal=False))
    stored = next(Store(Path("nowhere")).profiles("resnet20"))
    names = ["mobilenet_v2/macs0.5-ppo", "ppo, mapped from resnet110", "on cifar100@64, fashionmnist@64"]
    lines = [profile_row(stored), ["\n".join(names), *profile_row(stored)[1:]]]
    output.table("stored profiles", PROFILES, lines)
    assert max(map(len, file.getvalue().splitlines())) <= 80
    assert "resnet20/macs0.3-ppo" in file.getvalue()


def test_help_and_version_do_not_load_torch() -> None:
    code = "import sys\nfrom profilesearch.__main__ import main\nmain()\nassert 'torch' not in sys.modules"
    for words, said in ((["--help"], "usage: profilesearch VERB"), (["--version"], f"profilesearch {__version__}")):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(said)


def test_console_script_knows_its_verbs() -> None:
    said = subprocess.run([sys.executable, "-m", "profilesearch", "--help"], capture_output=True, text=True, check=True)
    assert all(verb in said.stdout for verb in VERBS)
    wrong = subprocess.run(
        [sys.executable, "-m", "profilesearch", "trian"], capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, wrong.stderr) == (2, "error: unknown verb 'trian'; did you mean train or transfer?\n")


MISTAKES: dict[str, tuple[str, Arguments]] = {
    "unknown architecture 'resnet57'; did you mean resnet56": ("train", ["--arch", "resnet57"]),
    "unknown data set 'cifar', and no folder of that name; did you mean cifar10": (
        "train",
        [*TRAIN, "--data", "cifar"],
    ),
    "unknown criterion 'l3'; did you mean l": ("train", [*TRAIN, "--criterion", "l3"]),
    "unknown statistics 'batches'; did you mean batch": ("train", [*TRAIN, "--statistics", "batches"]),
    "unknown searcher 'pop'": ("train", [*TRAIN, "--searcher", "pop"]),
    "unknown metric 'mac'; did you mean macs": ("train", [*TRAIN, "--metric", "mac"]),
    "unknown scope 'blok'; did you mean block": ("train", [*TRAIN, "--scope", "blok"]),
    "keep must be in (0, 1], got 1.5": ("train", [*TRAIN, "--keep", "1.5"]),
    "the reachable range is 0.1": ("train", [*TRAIN, "--keep", "0.05"]),
    "--multiple-of must be at least 1": ("train", [*TRAIN, "--multiple-of", "0"]),
    "unknown device 'gpu'; choose from cpu, cuda": ("train", [*TRAIN, "--device", "gpu"]),
    "there is no device 'cuda:99' here": ("apply", ["--arch", "resnet8", "--device", "cuda:99"]),
    "unknown engine 'rai'; did you mean ray": ("train", [*TRAIN, "--engine", "rai"]),
    "--storage is for Optuna's searchers": ("train", [*TRAIN, "--storage", "sqlite:///x.db"]),
    "at least 1 evaluation": ("train", [*TRAIN, "--evaluations", "0"]),
    "at least 1 image": ("train", [*TRAIN, "--images", "0"]),
    "cifar-10-batches-py; put the files there": ("train", [*TRAIN, "--data", "cifar10", "--data-dir", "nowhere"]),
    "cannot read the checkpoint missing.th": ("train", [*TRAIN, "--checkpoint", "missing.th"]),
    "other.th is of another architecture": ("train", [*TRAIN, "--checkpoint", "other.th"]),
    "classes.th has 7 classes, but digits has 10": ("train", [*TRAIN, "--checkpoint", "classes.th"]),
    "cannot name a stored profile": ("train", [*TRAIN, "--name", "../x"]),
    "is no ledger of this version": ("train", [*TRAIN, "--runs", "foreign"]),
    "cannot write file:": ("train", [*TRAIN, "--store", "file"]),
    "cannot write file/applied:": ("apply", ["--arch", "resnet8", "--out", "file/applied"]),
    "broken JSON": ("apply", ["--arch", "resnet8", "--profile", "broken.json"]),
    "cannot read the profile nowhere.json": ("apply", ["--arch", "resnet8", "--profile", "nowhere.json"]),
    "--finetune must be 0 or more": ("apply", ["--arch", "resnet8", "--finetune", "-1"]),
    "unknown schedule": ("apply", ["--arch", "resnet8", "--schedule", "step"]),
    "a target must be a model that the search does not see": (
        "compare",
        [*TRAIN, "--data", "digits", "--target", "pools/resnet8/digits-seed0.safetensors"],
    ),
    "does not see with --target FILE": (
        "compare",
        [*TRAIN, "--checkpoint", "pools/resnet8/digits-seed0.safetensors"],
    ),
    "at least 1 epoch": ("pool", ["--arch", "resnet8", "--data", "digits", "--seeds", "9", "--epochs", "0"]),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_give_one_sentence_and_exit_code_2(
    place: Path, capsys: pytest.CaptureFixture[str], message: str
) -> None:
    torch.save(build("resnet32", 10, 1).state_dict(), "other.th")
    torch.save(build("resnet8", 7, 1).state_dict(), "classes.th")
    Path("broken.json").write_text('{"schema": 1, "keep"')
    Path("file").write_text("no folder")
    Path("foreign").mkdir()
    Path("foreign/ledger.jsonl").write_text("not ours\n")
    verb, arguments = MISTAKES[message]
    with pytest.raises(SystemExit) as stop:
        call(verb, *arguments)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2
    assert error.startswith("error: ")
    assert message in error
    assert not Path("profiles").exists()
    assert not Path("applied").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_apply_tunes_and_measures_on_a_gpu(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--arch", "resnet8", "--data", "digits", "--profile", "uniform", "--finetune", "2"]
    call("apply", *options, "--device", "cuda", "--export", "pt2", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["after"]["accuracy"] > 0.9
    assert report["exports"][0]["same"] == 1
    assert report["after"]["peak_memory"] < report["before"]["peak_memory"]


def test_ctrl_c_leaves_a_hint(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr("profilesearch.scoring.score.Scorer.score", interrupt)
    with pytest.raises(SystemExit) as stop:
        call("train", *TRAIN)
    assert stop.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_a_profile_of_another_architecture_is_refused(uniform: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build("resnet32", 10, 1).state_dict(), "other.th")
    with pytest.raises(SystemExit, match="2"):
        call("apply", "--arch", "resnet32", "--data", "digits", "--checkpoint", "other.th", "--profile", uniform)
    assert "no keep ratio for group 'layer1.1.conv1'" in capsys.readouterr().err
