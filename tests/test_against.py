"""`apply --against`: two networks made alike, one table, one verdict."""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, bootstrap

from profilesearch import apply, load_pruned
from profilesearch.applying import choosing, making, running
from profilesearch.applying.against import spoiled
from profilesearch.applying.settings import Applying
from profilesearch.applying.writing import SAME
from profilesearch.cli.console import Output
from profilesearch.errors import UsageError
from profilesearch.measure.intervals import paired_difference
from profilesearch.networks.architectures import build
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget
from profilesearch.reporting.runs import read_part
from profilesearch.research.settings import Training
from profilesearch.tasks import training
from profilesearch.tasks.parallel import World
from profilesearch.tasks.training import NotFinite

pytestmark = pytest.mark.xdist_group("against")  # what they share is made once

OPTIONS = ["--arch", "resnet8", "--data", "digits", "--keep", "0.4"]


def test_the_interval_of_a_difference_is_that_of_pairs() -> None:
    random = np.random.default_rng(0)
    ours = random.random(800) < 0.9
    theirs = np.where(random.random(800) < 0.08, ~ours, ours)
    found = paired_difference(torch.from_numpy(ours), torch.from_numpy(theirs))
    differences = ours.astype(float) - theirs
    resampled = bootstrap((differences,), np.mean, n_resamples=2000, rng=random).confidence_interval
    assert found[0] == pytest.approx(differences.mean())
    assert found[1:] == pytest.approx((resampled.low, resampled.high), abs=0.003)
    alone = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    assert (found[1] > 0 or found[2] < 0) == (binomtest(alone[0], sum(alone)).pvalue < 0.05)


def test_networks_that_agree_are_not_told_apart_for_sure() -> None:
    same = torch.ones(20, dtype=torch.bool)
    difference, low, high = paired_difference(same, same)
    assert (difference, low) == (0, -high)
    assert 0.1 < high < 0.3  # with so few images


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What trainings were given; each is as good as none."""
    calls: list[dict[str, Any]] = []

    def note(network: Any, data: Any, images: Any, recipe: Any, teacher: Any, *rest: Any) -> None:
        calls.append({"recipe": recipe, "teacher": teacher, "images": images.digest})

    monkeypatch.setattr(making, "train", note)
    return calls


def test_both_are_made_alike_and_stand_side_by_side(
    place: Path, capsys: pytest.CaptureFixture[str], trained: list[dict[str, Any]]
) -> None:
    options = [*OPTIONS, "--profile", "uniform", "--finetune", "1", "--lr", "0.01", "--json"]
    apply.main([*options[:-1], "--out", "alone", "--quiet"])
    apply.main([*options, "--against", str(widened(place / "wide profile.json"))])
    report, out = json.loads((said := capsys.readouterr()).out), said.err
    one, ours, theirs = trained
    assert one["recipe"] == ours["recipe"] == theirs["recipe"]
    assert (ours["images"], ours["teacher"]) == (theirs["images"], theirs["teacher"])
    rival = report["against"]
    assert rival["difference"] == pytest.approx(report["after"]["accuracy"] - rival["after"]["accuracy"], abs=1e-6)
    assert rival["interval"][0] <= rival["difference"] <= rival["interval"][1]
    assert rival["verdict"] in out
    assert "the profile keeps " in out
    assert "wide profile.json keeps " in out
    assert "not told apart" in out or "is better than" in out or "is worse than" in out
    assert rival["profile"]["keep"] != report["profile"]["keep"]
    assert load_pruned("applied/against.safetensors")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert report["files"].keys() >= {"against.safetensors", "result.html"}
    alone = json.loads(Path("alone/report.json").read_text())
    assert alone["after"]["accuracy"] == report["after"]["accuracy"]
    assert "against" not in alone
    assert alone["settings"] != report["settings"]


def widened(file: Path) -> Path:
    """Another profile on the budget of the uniform one."""
    space = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8)).space(Budget("macs", 0.4))
    random = space.sample(1, np.random.default_rng(0))[0]
    space.profile(random, {"searcher": "random"}).save(file)
    return file


@pytest.mark.parametrize(
    ("profile", "rival", "sentence"),
    [
        ("uniform", "uniform", "--against uniform is the very profile that is applied"),
        ("uniform", "nowhere.json", "cannot read the profile nowhere.json"),
    ],
)
def test_a_rival_that_makes_no_sense_is_one_sentence(place: Path, profile: str, rival: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        apply.main([*OPTIONS, "--profile", profile, "--against", rival, "--quiet"])
    assert not Path("applied").exists()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options for a small network of one's own, in an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    torch.manual_seed(0)
    torch.save(build("test_own:Small", 10, 1).state_dict(), "small.pth")
    return ["--arch", "test_own:Small", "--checkpoint", "small.pth", *OPTIONS[2:], "--profile", "uniform"]


def test_a_rival_that_diverges_leaves_the_profile_its_result(
    small: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def diverge(network: Any, *rest: Any) -> None:
        calls.append(len(calls))
        if len(calls) == 2:
            raise NotFinite("the loss became nan in epoch 1; try a lower --lr")

    monkeypatch.setattr(making, "train", diverge)
    apply.main([*small, "--finetune", "1", "--against", "taper", "--card", "--json"])
    report, said = json.loads((out := capsys.readouterr()).out), out.err
    rival, page = report["against"], Path("applied/result.html").read_text()
    assert rival["verdict"] == "taper cannot be compared, it diverged: the loss became nan in epoch 1; try a lower --lr"
    assert 0 < rival["untuned_accuracy"] < 1
    assert "after" not in rival
    for text in (said, page):
        assert "taper cannot be compared, it diverged" in text
        assert "--lr 0.005" in text  # what to do next
    assert load_pruned("applied/pruned.safetensors", "test_own:Small")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert not Path("applied/against.safetensors").exists()
    assert "applied" in read_part(Path("applied")).blocks[0].title


def test_a_fine_tuning_that_did_harm_gives_no_verdict(
    small: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(network: Any, data: Any, *rest: Any) -> None:
        with torch.no_grad():
            for each in network.parameters():
                each.zero_()

    monkeypatch.setattr(making, "accuracy", lambda *_: 0.9)  # before
    monkeypatch.setattr(making, "train", spoil)
    apply.main([*small, "--finetune", "1", "--against", "taper", "--json"])
    report, said = json.loads((out := capsys.readouterr()).out), out.err
    verdict = report["against"]["verdict"]
    assert verdict.startswith("fine-tuning lost ")
    assert verdict.endswith(" points; at this rate nothing can be judged, try a lower --lr")
    for text in (said, Path("applied/result.html").read_text()):
        assert verdict in text
        assert "not told apart" not in text
    assert "--lr 0.005" in said
    assert "taper" in Path("applied/result.html").read_text()


@pytest.mark.parametrize(("after", "harm"), [(0.8, True), (0.88, False), (0.95, False)])
def test_harm_is_what_chance_does_not_explain(after: float, harm: bool) -> None:
    assert bool(spoiled(0.9, after, 200)) == harm
    assert spoiled(None, after, 200) == ""


def test_a_rival_that_the_profiles_budget_has_no_room_for_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8)).space(Budget("macs", 0.5, 0.5))
    space.profile(space.uniform(), {"searcher": "random"}).save("two.json")
    with pytest.raises(UsageError, match=r"a budget of 0\.5 of the macs and 0\.5 of the params fixes these"):
        apply.main(["--arch", "resnet8", "--data", "digits", "--profile", "two.json", "--against", "widest", "--quiet"])
    assert not Path("pools").exists()


def test_a_rival_that_was_decided_to_be_the_profile_is_left_out(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    apply.main([*OPTIONS, "--against", "blend"])
    said = " ".join(capsys.readouterr().out.split())
    assert "using the blend profile: no stored profile" in said
    assert "so there is nothing to hold it against; --against uniform is another one" in said
    assert json.loads(Path("applied/report.json").read_text())["against"] == {"name": "blend", "verdict": SAME}


def test_of_processes_that_train_together_the_first_alone_decides(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[bool]()

    class Another(World):
        def first(self, make: Callable[[], Any]) -> Any:
            asked.append(False)
            made = pickle.loads(pickle.dumps(make()))
            asked.append(True)
            return made

    def measured(*_: Any) -> str:
        assert asked[-1:] == [False]  # latency is measured for it, and by one process at a time
        return "all"

    monkeypatch.setattr(choosing, "first_scope", measured)
    settings = Applying.read([*OPTIONS, "--against", "taper", "--quiet"])
    running.apply(settings, Output.of(settings), Another(), Training)
    report = json.loads(Path("applied/report.json").read_text())
    assert report["profile"]["scope"] == report["against"]["profile"]["scope"] == "all"


def test_the_same_name_twice_is_found_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the very profile that is applied"):
        apply.main(["--arch", "resnet8", "--data", "digits", "--profile", "taper", "--against", "taper", "--quiet"])
    assert not Path("pools").exists()


@pytest.mark.full
def test_a_kill_while_the_rival_is_tuned_repeats_nothing(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []
    real: Callable[..., Iterator[None]] = training._epoch

    def count(step: Any, batches: Any, epoch: int, *rest: Any) -> Iterator[None]:
        if len(epochs) == 3:
            epochs.append(-1)
            raise KeyboardInterrupt
        epochs.append(epoch)
        return real(step, replace(batches, images=batches.images[:128]), epoch, *rest)

    monkeypatch.setattr(training, "_epoch", count)
    options = [*small, "--quiet", "--finetune", "2", "--against", "taper"]
    with pytest.raises(KeyboardInterrupt):
        apply.main(options)
    apply.main(options)
    assert epochs == [0, 1, 0, -1, 1]
    assert not list(Path().rglob("*resume*"))
