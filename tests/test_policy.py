"""The command `policy`: training, what it goes on from, leaving a family out, and what it shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_commands import call

from envs.policy import Policy
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import TOLERANCE
from profilesearch.policy import main
from profilesearch.profiles import Budget
from profilesearch.scoring.ledger import Ledger
from profilesearch.store import Store
from profilesearch.testing import Interrupted

pytestmark = pytest.mark.full

LITTLE = """
from torch import nn

def net(widths, classes, channels):
    layers = []
    for before, after in zip((channels, *widths), widths):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))

def alpha(num_classes, in_channels):
    return net((8, 16), num_classes, in_channels)

def beta(num_classes, in_channels):
    return net((16, 8, 8), num_classes, in_channels)

def gamma(num_classes, in_channels):
    return net((8, 8, 16), num_classes, in_channels)
"""
NAMES = ("little:alpha", "little:beta", "little:gamma")
TRAIN = ["--data", "digits", "--evaluations", "8", "--images", "20", "--name", "mine"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Three architectures of one's own as --pool takes them; none is trained."""
    folder, pool = tmp_path_factory.mktemp("checkpoints"), []
    (folder / "little.py").write_text(LITTLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for number, name in enumerate(NAMES):
            torch.manual_seed(number)
            path = folder / f"{number}.safetensors"
            save_network(path, build(name, 10, 1), {"architecture": name, "num_classes": 10})
            pool.append(f"{name}={path}")
        yield pool


@pytest.fixture(autouse=True)
def brief_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROFILESEARCH_DATA", raising=False)
    monkeypatch.setattr("envs.mixture.LEVELS", 2)
    monkeypatch.setattr("envs.mixture.DRAWS", 2)
    yield


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    main([*words, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_policy_learns_on_several_architectures_and_has_a_picture_for_another(
    checkpoints: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, "train", "--pool", *checkpoints, *TRAIN)
    path = Path(found["policy"])
    assert path == Path("profiles/policy/mine.safetensors")
    assert path.stat().st_size < 30_000
    about = Policy.load(path).about
    assert set(about["architectures"]) == set(NAMES)
    assert about["architectures"]["little:alpha"]["members"][0]["name"] == "0"
    assert 8 <= about["scores"] <= 10  # one member each; the last episodes end together
    assert about["command"].startswith("python -m profilesearch.policy train --data digits --evaluations 8 ")
    first = path.read_bytes()
    run(capsys, "train", "--pool", *checkpoints, *TRAIN, "--runs", "again")
    assert path.read_bytes() == first
    shown = run(capsys, "--arch", "vgg_tiny", "--keep", "0.4")
    assert Path(shown["picture"]).read_bytes().startswith(b"\x89PNG")
    assert shown["profile"]["budget"]["reached"] == pytest.approx(0.4, rel=0.005)
    assert shown["profile"]["found"]["general"] == found["digest"]


def test_a_killed_training_goes_on(
    checkpoints: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = run(capsys, "train", "--pool", *checkpoints, *TRAIN, "--runs", "straight")["digest"]
    put, left = Ledger.put, [15]

    def stopped(ledger: Ledger, key: str, score: float, **about: Any) -> None:
        put(ledger, key, score, **about)
        left[0] -= 1
        if not left[0]:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "put", stopped)
        with pytest.raises(Interrupted):
            main(["train", "--pool", *checkpoints, *TRAIN, "--quiet"])
    done = Path("runs/ledger.jsonl").read_bytes()
    assert run(capsys, "train", "--pool", *checkpoints, *TRAIN)["digest"] == straight
    assert Path("runs/ledger.jsonl").read_bytes().startswith(done)
    rows = Path("runs/ledger.jsonl").read_text().splitlines()[1:]
    assert len({row.split('"')[3] for row in rows}) == len(rows)  # nothing was scored twice


def test_one_family_after_the_other_is_left_out(checkpoints: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--keeps", "0.5", "--draws", "2", "--search", "2"]
    main(["evaluate", "--pool", *checkpoints, *TRAIN, *sizes])
    assert "little:alpha at 0.5, by a policy that never saw alpha: policy" in capsys.readouterr().out
    trained = run(capsys, "train", "--pool", *checkpoints, *TRAIN)  # takes the evidence of its settings
    evidence = trained["evidence"]
    assert evidence["families"] == 3
    assert {row["architecture"] for row in evidence["rows"]} == set(NAMES)
    names = {"policy", "uniform", "widest", "taper", "sensitivity", "random, median", "random, best", "search"}
    assert set(evidence["rows"][0]["scores"]) == names
    assert set(evidence["gains"]) >= {"uniform", "widest", "search", "widest over uniform", "sensitivity over uniform"}
    with pytest.raises(UsageError, match="the policy mine learned from alpha; measure it on other families"):
        main(["measure", "--pool", checkpoints[0], *TRAIN, *sizes])


def test_a_policy_loses_neither_itself_nor_its_evidence(
    checkpoints: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(run(capsys, "train", "--pool", *checkpoints, *TRAIN)["policy"])
    sizes = ["--keeps", "0.5", "--draws", "2", "--search", "0"]
    run(capsys, "evaluate", "--pool", *checkpoints, *TRAIN, *sizes)
    whole, record = path.read_bytes(), Path("runs/policy/mine.json").read_bytes()
    assert Policy.load(path).about["evidence"]["families"] == 3
    part = run(capsys, "evaluate", "--pool", *checkpoints, *TRAIN, *sizes, "--leave-out", "beta", "gamma", "beta")
    assert (part["families"], part["record"]) == (2, "runs/policy/mine-without-beta-gamma.json")
    assert (path.read_bytes(), Path("runs/policy/mine.json").read_bytes()) == (whole, record)
    with pytest.raises(UsageError, match="trained with other settings, and would be lost; give the new policy another"):
        main(["train", "--pool", *checkpoints, *TRAIN, "--evaluations", "9"])
    assert path.read_bytes() == whole


def test_equal_parameters_have_rows_of_their_own_and_go_on_where_they_were_killed(
    checkpoints: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["evaluate", "--pool", *checkpoints, *TRAIN, "--keeps", "0.5", "--draws", "2", "--search", "0"]
    put, left, ledger = Ledger.put, [4], Path("runs/ledger.jsonl")

    def stopped(ledger: Ledger, key: str, score: float, **about: Any) -> None:
        put(ledger, key, score, **about)
        left[0] -= about["part"] == "fresh"
        if not left[0]:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "put", stopped)
        with pytest.raises(Interrupted):
            main([*words, "--equal-params", "--quiet"])
    done = ledger.read_bytes()
    main([*words, "--equal-params"])
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "all have the parameters of uniform" in said
    assert re.search(r"alpha at 0\.5 and \d\d\.\d% of params, by a policy that never saw alpha: policy", said)
    assert ledger.read_bytes().startswith(done)
    keys = [line.split('"')[3] for line in ledger.read_text().splitlines()[1:]]
    assert len(set(keys)) == len(keys)  # nothing was scored twice
    path = Path(run(capsys, "train", "--pool", *checkpoints, *TRAIN)["policy"])
    assert "evidence" not in Policy.load(path).about
    alone = run(capsys, *words)
    whole = [each.read_bytes() for each in (path, Path(alone["record"]), ledger)]
    equal = run(capsys, *words, "--equal-params")
    assert equal["record"] == "runs/policy/mine-equal-params.json"
    assert [each.read_bytes() for each in (path, Path(alone["record"]), ledger)] == whole
    for row, before in zip(equal["rows"], alone["rows"], strict=True):
        assert row["params"]["uniform"] == before["params"]["uniform"]
        assert row["keep_params"] == pytest.approx(row["params"]["uniform"], rel=TOLERANCE)  # or the nearest in reach
        assert list(row["params"].values()) == pytest.approx([row["keep_params"]] * len(row["params"]), rel=0.03)


def test_what_apply_makes_of_profiles_is_the_evidence_that_comes_first(
    checkpoints: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["evaluate", "--pool", *checkpoints, *TRAIN, "--keeps", "0.5", "--draws", "2", "--search", "0"]
    main([*words, "--as-applied"])
    said = capsys.readouterr().out
    assert "blend over uniform" in said
    assert "refitted" in said
    found = json.loads(Path("runs/policy/mine-as-applied.json").read_text())["evidence"]
    row = found["rows"][0]
    member = checkpoints[0].partition("=")[2]
    applied = ["--arch", NAMES[0], "--checkpoint", member, "--data", "digits", "--keep", "0.5", "--criterion", "l1"]
    call("apply", *applied, "--profile", "blend", "--json")
    made = json.loads(capsys.readouterr().out)
    assert made["after"]["params"] / made["before"]["params"] == pytest.approx(row["params"]["blend"])
    with monkeypatch.context() as patch:  # another time, every accuracy is in the ledger
        patch.setattr("profilesearch.research.policy.applied.refit_on", None)
        assert run(capsys, *words, "--as-applied")["rows"] == found["rows"]
    path = Path(run(capsys, "train", "--pool", *checkpoints, *TRAIN)["policy"])
    assert "blend over uniform" in Policy.load(path).about["evidence"]["gains"]
    main(words)
    assert "keeps the evidence of --as-applied" in capsys.readouterr().out
    assert "blend over uniform" in Policy.load(path).about["evidence"]["gains"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "give --pool NAME"),
        (["learn"], "unknown action 'learn'"),
        ([], "give --arch NAME"),
        (["train", "--pool", "vgg_tinny"], "did you mean vgg_tiny"),
        (["train", "--pool", "vgg_tiny", "vgg_tiny=a.th"], "with a checkpoint and without"),
        (["train", "--pool", "vgg_tiny", "--objective", "best"], "unknown objective 'best'"),
        (["train", "--pool", "vgg_tiny", "--keep-params", "0.5"], "budgets of one metric"),
        (["train", "--pool", "vgg_tiny", "--equal-params"], "--equal-params is for `policy evaluate` and"),
        (["train", "--pool", "vgg_tiny", "--as-applied"], "--as-applied is for `policy evaluate` and"),
        (["evaluate", "--pool", "vgg_tiny", "--equal-params", "--metric", "params"], "has equal parameters already"),
        (["--arch", "vgg_tiny", "--store", "."], "no policy is stored"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilesearch.deciding.SHIPPED", Path("nowhere"))
    with pytest.raises(SystemExit) as stop:
        call("policy", *words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_apply_says_which_profile_it_uses_and_why(
    checkpoints: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilesearch.deciding.SHIPPED", Path("nowhere"))
    space = Plan("little:beta", build("little:beta", 10, 1), (1, 8, 8)).space(Budget())
    lost = {"data": "digits", "gain": -0.01, "gain_interval": [-0.02, -0.005]}
    Store(Path("profiles")).add(
        space.profile(space.sample(1, np.random.default_rng(0))[0], {"searcher": "ppo"}).with_evidence(lost), "mine"
    )
    call("apply", "--arch", "little:beta", "--data", "digits", "--checkpoint", checkpoints[1].partition("=")[2])
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert (
        "using the blend profile: stored profile mine is left alone, it lost 1.00 points to uniform on digits; "
        "no policy for any network is stored; what each layer can lose is measured on "
        "training images; `python -m profilesearch.train --arch little:beta" in said
    )
    report = json.loads(Path("applied/report.json").read_text())
    assert report["profile"]["found"]["searcher"] == "blend"
    assert float(space.relative(np.array(report["widths"]))) == pytest.approx(0.5, abs=0.02)
