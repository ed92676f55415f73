"""What scores are worth at the end: other measures, refitted and elastic weights, and the bench that compares them."""

import copy
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch import refitting, study
from profilesearch import train as train_command
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.moments import MomentRefit
from profilesearch.networks.plan import Plan
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import Budget, Profile
from profilesearch.pruning import reestimate_statistics
from profilesearch.research.study import settings as studying
from profilesearch.research.study import tuning
from profilesearch.research.study.analysis import correlation, leading
from profilesearch.research.study.jobs import FineTune, Score, Sources, identity
from profilesearch.research.study.measuring import run_scores
from profilesearch.research.study.rivals import elastic_member
from profilesearch.research.study.sizes import QUICK
from profilesearch.research.study.truth import _among, _regret
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.measures import measured
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import Scorer, ScoreSettings
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.elastic import Elastic, in_steps
from profilesearch.tasks.pools import Member, tuning_recipe
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.splits import Part, split
from profilesearch.tasks.training import train
from profilesearch.tasks.turns import in_turns


def test_measures_are_what_they_are_called() -> None:
    full, labels = torch.tensor([[2.0, 0, 0], [0, 3, 0], [0, 0, 1]]), torch.tensor([0, 1, 0])
    right = functional.softmax(full, dim=1)[torch.arange(3), labels]
    assert measured("accuracy", full, labels) == pytest.approx(2 / 3)
    assert measured("loss", full, labels) == pytest.approx(float(right.log().mean().exp()))
    assert measured("divergence", full + 7, labels, full) == pytest.approx(1)  # shifts change no probability
    assert 0 < measured("divergence", -full, labels, full) < 0.2
    broken = torch.full((3, 3), math.nan)
    assert measured("loss", broken, labels) == measured("divergence", broken, labels, full) == 0


class Twins(nn.Module):
    """Every second hidden channel says the same as the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 12, 3, padding=1)
        self.two = nn.Conv2d(12, 8, 3, stride=2, bias=False)
        self.out = nn.Linear(8, 5)
        with torch.no_grad():
            self.one.weight[1::2] = 1.5 * self.one.weight[::2]
            self.one.bias[1::2] = 1.5 * self.one.bias[::2]

    def forward(self, x: Tensor) -> Tensor:
        return self.out(functional.relu(self.two(functional.relu(self.one(x)))).mean((2, 3)))


def test_moments_mend_what_the_kept_channels_explain() -> None:
    torch.manual_seed(0)
    network, images = Twins(), torch.randn(40, 3, 8, 8)
    table = Plan("own", network, (3, 8, 8)).table
    keep = {group.name: torch.arange(0, group.channels, 2 if group.name == "one" else 1) for group in table.groups}
    cut = Pruner(network, table).prune(keep, share=True)
    kept = copy.deepcopy(cut)
    MomentRefit(network, table, images)(cut, keep)
    with torch.no_grad():
        before, after, full = (each(images) for each in (kept, cut, network))
    assert (after - full).abs().max() < 0.05 * (before - full).abs().max()
    assert torch.equal(network.two.weight[:, ::2], kept.two.weight)  # the full network is as it was


def test_moments_serve_a_network_that_went_to_another_device_since() -> None:
    torch.manual_seed(0)
    network, images = Twins(), torch.randn(40, 3, 8, 8)
    table = Plan("own", network, (3, 8, 8)).table
    keep = {group.name: torch.arange(0, group.channels, 2) for group in table.groups}
    cut = [Pruner(network, table).prune(keep) for _ in range(2)]
    refit = MomentRefit(network, table, images)
    refit(cut[0], keep)
    network.to("meta")  # the only other device that every machine has
    refit(cut[1], keep)
    assert torch.equal(cut[0].two.weight, cut[1].two.weight)


def test_layers_that_overflow_stay_as_cut() -> None:
    network = Twins()
    table = Plan("own", network, (3, 8, 8)).table
    keep = {group.name: torch.arange(0, group.channels, 2) for group in table.groups}
    cut = Pruner(network, table).prune(keep)
    MomentRefit(network, table, torch.full((4, 3, 8, 8), 1e30))(cut, keep)
    assert torch.equal(cut.two.weight, network.two.weight[::2, ::2])


@pytest.mark.parametrize("part", ["train", "search", "choose", "fresh"])
def test_a_study_scores_the_part_that_it_names(
    members: list[Member], digits: DataSet, tmp_path: Path, part: Part
) -> None:
    budget, there = Budget("macs", 0.5), len(getattr(split(digits, members[0].split_seed), part))
    problem = Problem(members[:1], {"digits": digits}, budget, ScoreSettings("batch", there), Ledger())
    widths = problem.space.sample(3, np.random.default_rng(0))
    jobs = [Score(members[0].name, part, tuple(map(int, row)), there) for row in widths]
    scores = run_scores(Sources("resnet8", tuple(members), None, tmp_path), jobs)
    assert scores == problem.evaluate(widths, part)[:, 0].tolist()


@pytest.mark.full
def test_elastic_weights_of_two_models_of_one_name_are_two(tmp_path: Path, digits: DataSet) -> None:
    paths = []
    for number in range(2):
        path = tmp_path / str(number) / "mine.safetensors"
        path.parent.mkdir()
        save_network(path, build("resnet8", 10, in_channels=1), {})
        member = Member("mine", "resnet8", "digits", path, "all")
        sources = Sources("resnet8", (member,), None, tmp_path / "work")
        paths.append(elastic_member(sources, Score("mine", "search", (), elastic=1)).path)
    assert paths[0] != paths[1]
    assert all(path.exists() for path in paths)


@pytest.mark.usefixtures("one_thread")
def test_fine_tunings_in_turns_are_those_one_after_the_other(tmp_path: Path, members: list[Member]) -> None:
    name = members[0].name
    sources = Sources("resnet8", (members[0],), None, tmp_path / "work")
    jobs = [FineTune(name, (8, 16, 32), epochs=1, seed=seed, distill=0.5) for seed in range(2)]
    jobs.append(FineTune(name, (4, 16, 32), criterion="random", epochs=0))
    turns = dict(in_turns(tuning.ready(sources, jobs, 1), 2))
    assert turns == {job: tuning.run_finetune(sources, job) for job in jobs}


def test_a_score_with_other_settings_is_another_one_and_todays_has_its_key(
    problem: Problem, digits: DataSet, members: list[Member]
) -> None:
    network, images = members[0].load(), split(digits).images(digits, "search")
    today = ScoreSettings(images=100)
    settings = [today, replace(today, measure="divergence"), replace(today, refit=True)]
    scorers = [Scorer(network, problem.space.table, digits, images, digits.train, each) for each in settings]
    assert len({scorer.digest for scorer in scorers}) == 3
    assert "measure" not in settings[0].identity()
    assert "refit" not in settings[0].identity()
    widths = problem.space.sample(4, np.random.default_rng(0))
    plain, divergence, refitted = ([scorer.score(row) for row in widths] for scorer in scorers)
    assert np.mean(refitted) > np.mean(plain)
    assert all(0 < value < 1 for value in divergence)
    everything = problem.space.table.channels
    assert scorers[0].score(everything) == pytest.approx(scorers[2].score(everything))  # nothing is cut


def test_measurements_keep_the_names_that_they_had() -> None:
    assert identity(Score("a", "search", (1, 2)), "fp32") == "daff921580"
    assert identity(Score("a", "fresh", (1, 2)), "fp32") != "8f748d7e81"  # was scored on search images
    assert identity(FineTune("a", (1, 2)), "fp32") != identity(FineTune("a", (1, 2), refit="full"), "fp32")


@pytest.mark.full
@pytest.mark.parametrize("sandwich", [False, True])
def test_elastic_weights_serve_narrow_networks(sandwich: bool, digits: DataSet, members: list[Member]) -> None:
    full = members[0].load()
    network = copy.deepcopy(full)
    table = Plan("resnet8", network, (1, *digits.image_shape[1:])).table.within("block")
    recipe, images = in_steps(tuning_recipe(digits, 1, distill=1.0), digits.train, 30)
    elastic = Elastic(network, table, sandwich)
    train(elastic, digits, images, recipe, full, hook=elastic.count)
    settings = ScoreSettings(images=200)
    held = split(digits).images(digits, "search")
    before, after = (
        np.mean([Scorer(each, table, digits, held, digits.train, settings).score(row) for row in _some(table)])
        for each in (full, network)
    )
    assert after > before + 0.05
    reestimate_statistics(network, digits, digits.train)
    assert accuracy(network, digits, digits.test) > 0.9 * accuracy(full, digits, digits.test)


def _some(table: GroupTable) -> IntArray:
    return np.random.default_rng(0).integers(1, table.channels // 2 + 1, size=(6, len(table.groups)))


def test_elastic_steps_train_what_the_pruned_network_uses_and_nothing_else(
    digits: DataSet, members: list[Member]
) -> None:
    network = members[0].load()
    table = Plan("resnet8", network, (1, *digits.image_shape[1:])).table.within("block")
    pruner = Pruner(network, table)
    keep = keep_channels(rank_channels(network, table, "l1"), table, table.channels // 2)
    made = torch.func.functional_call(
        pruner.prune(keep), pruner.cut(keep), (digits.normalize(digits.train[:4].pixels, 1),)
    )
    made.sum().backward()
    group = table.groups[0]
    gone = np.setdiff1d(np.arange(group.channels), keep[group.name].numpy())
    for part in group.slices:
        parameter = dict(network.named_parameters()).get(part.tensor)
        if parameter is not None and parameter.dim() > 1:
            gradient = parameter.grad.movedim(part.dim, 0)
            assert not gradient[part.rows[gone].ravel()].any()
            assert gradient.any()


def test_few_pairs_and_equal_scores_claim_nothing() -> None:
    assert correlation([1, 2, 3, 4], [1, 2, 3, 4]).text(2) == "1.00"  # so are one in 24 orders, by chance
    assert correlation([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]).low < 0.9
    flat, some = correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]), correlation([1, 2, 3, 4, 5], [2, 1, 3, 4, 5])
    assert math.isnan(flat.value)
    assert leading({"accuracy": flat, "parameters": some, "loss": flat}) == "parameters"
    assert leading({("sample", 250): flat, ("batch", 250): some}) == ("batch", 250)


def test_the_order_of_profiles_does_not_choose_among_equal_scores() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.2, 0.1, 0.1, 0.1])  # the fifth of ten has an equal
    after = np.array([0.95, 0.93, 0.94, 0.90, 0.97, 0.91, 0.80, 0.7, 0.6, 0.5])
    turned = np.arange(10)
    turned[4], turned[5] = 5, 4
    half = _among(score, after, 2)
    assert half == correlation(score[:6].tolist(), after[:6].tolist())
    assert _among(score[turned], after[turned], 2).value == pytest.approx(half.value)
    assert _among(score, after, 5).value == pytest.approx(0.5)  # without equals, as many as were asked for
    assert _among(score[:2], after[:2], 5).value == pytest.approx(1)
    level = np.array([0.8, 0.8, 0.1])
    assert [_regret(level[turn], after[:3][turn]) for turn in ([0, 1, 2], [1, 0, 2])] == pytest.approx([1, 1])


def test_steps_are_as_many_as_were_asked_for(digits: DataSet) -> None:
    recipe = tuning_recipe(digits, 1)
    for steps in (1, 7, 30, 100):
        given, images = in_steps(recipe, digits.train, steps)
        assert given.epochs * (len(images) // given.batch) == steps


def test_the_bench_correlates_scores_with_what_comes_of_profiles(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"images": 100, "image_counts": (50,), "elastic": (4,), "distilled": (2,), "truth_pool": 6}
    monkeypatch.setattr(studying, "QUICK", replace(QUICK, **few, truth_epochs=(1, 1)))
    monkeypatch.setattr(refitting, "_REFIT_IMAGES", 40)
    arguments = ["--arch", "resnet8", "--data", "digits", "--seeds", "0", "--target", "digits:1", "--quick",
                 "--workers", "1", "--only", "truth", "--profiles", "4"]  # fmt: skip
    study.main(arguments)
    page = (place / "results.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| truth.")]
    names = [row[2] for row in rows]
    assert {"accuracy", "refitted, divergence", "parameters", "elastic, 4 steps, sandwich, accuracy"} <= set(names)
    assert names[-1] == "the truth, of another seed"
    tuned = (place / "results/resnet8/finetunes.csv").read_text().splitlines()
    assert len(tuned) == 1 + 4 + 2  # all of them with one seed, the better half with another, too
    capsys.readouterr()
    study.main(arguments)
    assert (place / "results/resnet8/finetunes.csv").read_text().splitlines() == tuned


def test_a_search_by_divergence_of_refitted_networks_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--arch", "resnet8", "--data", "digits", "--searcher", "random", "--evaluations", "4", "--images", "50"]
    train_command.main([*options, "--score", "divergence", "--refit-scores"])
    said = capsys.readouterr().out
    assert "exp(-divergence) relative to the unpruned models" in said
    assert re.search(r"unpruned: (9\d|100)\.\d\d% of 50 held-out images right", said)  # the accuracy first, as always
    (path,) = (place / "profiles/resnet8").glob("*.json")
    settings = Profile.load(path).found["score_settings"]
    assert (settings["measure"], settings["refit"]) == ("divergence", True)
