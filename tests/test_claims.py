"""What files claim: ranges of numbers, what a profile reaches, and which stored profile is the best."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from profilesearch.cli.outcome import known_loss, known_worth
from profilesearch.errors import UsageError
from profilesearch.evidence import AtHand
from profilesearch.list import main as list_main
from profilesearch.measure.intervals import mean_interval
from profilesearch.measure.reaching import reached_in
from profilesearch.networks.architectures import build
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget, Profile
from profilesearch.pruning import prune_with_profile
from profilesearch.research.study.analysis import (
    MARGIN,
    Estimate,
    accuracy_gap,
    difference,
    gap_between,
    mean_of,
    standing,
)
from profilesearch.research.study.jobs import FineTune, Score, Search, Tuned, identity
from profilesearch.research.study.rows import FINETUNES, of_finetune
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.standing import evidence_against
from profilesearch.store import Store, Stored
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.names import Precision
from profilesearch.tasks.pools import foreign_member
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.sources import open_data
from profilesearch.tasks.training import train
from profilesearch.tasks.unfinished import Unfinished


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan("resnet20", build("resnet20", 10), (3, 32, 32))


@pytest.fixture
def profile(plan: Plan) -> Profile:
    space = plan.space(Budget("macs", 0.5))
    return space.profile(space.uniform(), {"searcher": "uniform", "pool": [{"data": "cifar10"}]})


GOOD = {"data": "cifar10", "gain": 0.01, "gain_interval": [0.0, 0.02], "pruned_accuracy": 0.5}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("evidence", [GOOD | {"gain": float("nan")}]),
        ("evidence", [GOOD | {"gain": 7}]),
        ("evidence", [GOOD | {"gain": "much"}]),
        ("evidence", [GOOD | {"gain": 10**400}]),
        ("evidence", [GOOD | {"gain_interval": 3}]),
        ("evidence", [GOOD | {"pruned_accuracy": 52.1}]),
        ("evidence", [GOOD | {"finetuned_accuracy": True}]),
        ("evidence", [GOOD | {"data": 3}]),
        ("evidence", [GOOD | {"recipe": []}]),
        ("found", {"pool": 3}),
        ("found", {"pool": [{"data": None}]}),
        ("found", {"score": {"fresh": float("inf")}}),
        ("found", {"score": {"fresh": 1e300}}),
        ("found", {"score": {"uniform_fresh": "0.5"}}),
        ("keep", {"layer1.0.conv1": 1e-7}),
        ("keep", {"layer1.0.conv1": 10**400}),
    ],
)
def test_numbers_out_of_their_range_are_refused(profile: Profile, tmp_path: Path, field: str, value: Any) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(profile.to_json() | {field: value}))
    with pytest.raises(UsageError, match=r"p\.json: "):
        Profile.load(path)


def test_a_ratio_that_keeps_no_channel_is_refused_by_the_network(plan: Plan, profile: Profile) -> None:
    ratios = {**profile.keep, "layer1.0.conv1": 0.01}
    with pytest.raises(UsageError, match=r"0\.01 of group 'layer1\.0\.conv1', which is none of its 16 channels"):
        prune_with_profile(plan.network, replace(profile, keep=ratios))


def test_a_stored_profile_reaches_what_its_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = Plan("resnet20", build("resnet20", 2, 1), (1, 8, 8)).space(Budget("params", 0.5))
    made = space.profile(space.uniform(), {"searcher": "uniform", "pool": [{"data": "faces@8"}]})
    other = replace(made, keep=dict(list(made.keep.items())[1:]))
    pruned = prune_with_profile(build("resnet20", 200), made)  # another head: another part of the parameters
    assert reached_in(made, pruned.cost, pruned.widths).reached > 0.51
    for profile, name in ((made, "good"), (other, "bad")):
        Store(tmp_path, tmp_path).add(profile, name)
    list_main(["--arch", "resnet20", "--store", str(tmp_path), "--json"])
    shown = capsys.readouterr().err
    assert f"{made.reached:.1%}" in shown
    assert "not the" not in shown
    assert "does not fit resnet20" in shown


def named(space_profile: Profile, store: Store, entries: dict[str, dict[str, tuple[float, float, float]]]) -> None:
    for name, known in entries.items():
        evidence = tuple(
            {"data": data, "model": name, "gain": value, "gain_interval": [low, high]}
            for data, (low, value, high) in known.items()
        )
        store.replace(replace(space_profile, evidence=evidence), name)


@pytest.mark.parametrize(
    ("entries", "best"),
    [
        ({"wide": {"cifar100": (-0.1, 0.3, 0.7)}, "proven": {"cifar10": (0.005, 0.01, 0.015)}}, "proven"),
        ({"wide": {"cifar10": (-0.1, 0.3, 0.7)}, "proven": {"cifar10": (0.005, 0.01, 0.015)}}, "proven"),
        ({"loser": {"cifar10": (-0.03, -0.02, -0.01)}, "unknown": {}}, "unknown"),
        ({"loser": {"cifar100": (-0.03, -0.02, -0.01)}, "unknown": {}}, "unknown"),
        ({"loser": {"cifar10": (-0.03, -0.02, -0.01), "cifar100": (0.1, 0.2, 0.3)}, "unknown": {}}, "unknown"),
        ({"elsewhere": {"cifar100": (0.01, 0.02, 0.03)}, "unknown": {}}, "elsewhere"),
        ({"worse": {"cifar10": (-0.05, -0.02, 0.01)}, "bad": {"cifar10": (-0.06, -0.05, -0.04)}}, "worse"),
    ],
)
def test_the_best_profile_is_the_one_that_is_shown_to_be(
    profile: Profile, tmp_path: Path, entries: dict[str, Any], best: str
) -> None:
    store = Store(tmp_path, tmp_path)
    named(profile, store, entries)
    assert store.best("resnet20", 0.5, "macs", "cifar10").name == best


SHIPPED_GAIN = {"cifar10": (0.01, 0.02, 0.03)}


@pytest.mark.parametrize(
    ("pool", "own", "entries", "network", "best"),
    [
        ({"data": "cifar10"}, True, {}, "", "mine"),
        ({"data": "cifar100"}, True, {}, "", "shipped"),  # of other data: evidence decides
        ({"data": "cifar10"}, True, {"cifar10": (-0.03, -0.02, -0.01)}, "", "shipped"),
        ({"data": "cifar10", "name": "mine"}, False, {}, "mine", "mine"),  # in the installation's own folder
        ({"data": "cifar10", "name": "mine"}, False, {}, "other", "shipped"),
    ],
)
def test_what_the_users_own_search_found_comes_first(
    profile: Profile, tmp_path: Path, pool: dict[str, str], own: bool, entries: dict[str, Any], network: str, best: str
) -> None:
    shipped = Store(tmp_path / "shipped", tmp_path / "shipped")
    named(profile, shipped, {"shipped": SHIPPED_GAIN})
    searched = replace(profile, found={"searcher": "ppo", "pool": [pool]}, evidence=())
    named(searched, Store(tmp_path / "own") if own else shipped, {"mine": entries})
    store = Store(tmp_path / "own", tmp_path / "shipped")
    found = store.best("resnet20", 0.5, "macs", "cifar10", network=network)
    assert (found.name, found.own) == (best, best == "mine" and own)


DIGESTS = {"data_digest": "these", "weights": "ours"}


@pytest.mark.parametrize(
    ("about", "best"),
    [
        ({}, "mine"),  # of an earlier version: names alone
        (DIGESTS, "mine"),
        (DIGESTS | {"data_digest": "others"}, "shipped"),
        (DIGESTS | {"weights": "others"}, "mine"),  # another network, but the user's own images
    ],
)
def test_other_images_and_weights_of_the_same_names_are_told_apart(
    profile: Profile, tmp_path: Path, about: dict[str, str], best: str
) -> None:
    shipped = Store(tmp_path / "shipped", tmp_path / "shipped")
    named(profile, shipped, {"shipped": {"else": (0.01, 0.02, 0.03)}})
    pool: Any = [{"name": "best", "data": "photos@64", **about}]
    searched = replace(profile, found={"searcher": "ppo", "pool": pool})
    Store(tmp_path / "own").add(searched, "mine")
    store = Store(tmp_path / "own", tmp_path / "shipped")
    here = AtHand("photos@64", "best", **DIGESTS)
    found = store.find("resnet20", profile.budget, here)
    assert found is not None
    assert found.name == best
    (member,) = searched.seen(here).found["pool"]
    assert (member["name"] == "best") == (about.get("weights") != "others")
    entry: Any = {"data": "photos@64", "model": "best", "gain": -0.5, "gain_interval": [-0.6, -0.4], **about}
    lost = Stored(profile.with_evidence(entry), tmp_path / "p.json")
    assert evidence_against(lost.profile, lost.own, here) or about.get("data_digest") == "others"
    assert ("nothing is known" in known_worth(lost.profile.seen(here), here.data)) == (best == "shipped")


def test_a_profile_is_left_alone_for_what_it_lost(profile: Profile) -> None:
    shipped: Any = [
        {"data": data, "gain": gain, "gain_interval": [-0.1, 0.1]} for data, gain in (("a", 0.01), ("b", -0.04))
    ]
    stored = Stored(replace(profile, evidence=tuple(shipped)), Path("p.json"))
    assert evidence_against(stored.profile, stored.own, AtHand("mine"))
    said = "it lost 1.50 points to uniform in the mean of a, b, and on mine nothing is known of it"
    assert known_loss(stored.profile, "mine") == said
    assert known_loss(stored.profile, "b") == "it lost 4.00 points to uniform on b"


def test_a_search_says_which_images_and_weights_it_saw(
    tmp_path: Path, digits: DataSet, write_images: Callable[..., Path]
) -> None:
    digests = []
    for name in ("one", "two"):
        photos = write_images(tmp_path / name / "photos", ["a", "b"], 20)
        if name == "two":
            (photos / "a" / "0.png").write_bytes((photos / "a" / "1.png").read_bytes())
        for data in (open_data(f"{photos}@8"), digits):
            torch.save(
                build("resnet8", data.num_classes, data.image_shape[0]).state_dict(), tmp_path / name / "best.pth"
            )
            member = foreign_member("resnet8", tmp_path / name / "best.pth", data)
            problem = Problem([member], {data.name: data}, Budget("macs", 0.5), default_settings(), Ledger())
            digests += problem.digests()
    assert len({each["weights"] for each in digests}) == 4
    first, none, second, no = (each.get("data_digest") for each in digests)
    assert None not in (first, second)
    assert first != second
    assert none is no is None  # built-in data sets go by name


def test_intervals_are_students_at_any_number_of_runs() -> None:
    random = np.random.default_rng(0)
    for count, quantile in ((2, 12.7062), (11, 2.2281), (30, 2.0452), (121, 1.9799)):
        values = random.normal(size=count).tolist()
        mean, half = mean_interval(values)
        assert half == pytest.approx(quantile * np.std(values, ddof=1) / np.sqrt(count), rel=1e-4)
        assert mean == pytest.approx(np.mean(values))


def test_repeats_within_a_cluster_are_no_further_evidence() -> None:
    values, clusters = [1.0, 1.01, 0.99, 3.0, 3.01, 2.99], ["a", "a", "a", "b", "b", "b"]
    plain, clustered = mean_of(values), mean_of(values, clusters)
    assert plain.positive
    assert clustered.value == pytest.approx(2)
    assert (clustered.low, clustered.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), rel=1e-3)
    assert difference(values, [0.0] * 6, clusters) == clustered
    assert np.isnan(mean_of(values[:3], clusters[:3]).low)


def test_runs_of_two_searches_are_not_paired() -> None:
    ours, theirs = [0.50, 0.52, 0.54], [0.40, 0.44, 0.42]
    gap = gap_between(ours, theirs)
    assert gap.value == pytest.approx(0.1)
    assert gap_between(ours, theirs[::-1]) == gap
    assert gap.high - gap.value == pytest.approx(2.7764 * 0.02 * np.sqrt(2 / 3), rel=1e-3)  # four degrees of freedom
    assert np.isnan(gap_between([0.5], theirs).low)
    assert gap_between([0.5, 0.5], [0.4, 0.4]).low == pytest.approx(0.1)


def test_not_told_apart_is_not_as_good() -> None:
    assert standing(Estimate(0.0, -0.004, 0.004)) == "as good"
    assert standing(Estimate(0.0, -0.04, 0.04)) == "not told apart"
    assert standing(Estimate(0.0, np.nan, np.nan)) == "not told apart"
    assert standing(Estimate(0.01, 0.001, 0.02)) == "better"
    assert standing(Estimate(-0.01, -0.02, -0.001)) == "worse"
    assert not Estimate(0.1, -0.01, 0.2).not_worse(MARGIN)
    perfect = accuracy_gap(1.0, 1.0, 50)
    assert perfect.low < -0.05 < 0.05 < perfect.high  # 50 images without an error show little


def test_measurements_in_another_precision_are_others(tmp_path: Path) -> None:
    job = FineTune("m", (3, 4))
    rows = [of_finetune(job, Tuned(0.5, 0.6, 0.5, (3, 4)), lambda _: "p", precision) for precision in ("fp32", "bf16")]  # type: ignore[arg-type]
    assert rows[0]["id"] != rows[1]["id"]
    assert [row["precision"] for row in rows] == ["fp32", "bf16"]
    assert set(rows[0]) == set(FINETUNES)
    for each in (Score("m", "test", (3, 4)), Search("ppo", ("m",), 0.5, 10, 0, 125)):
        assert identity(each, "fp32") != identity(each, "bf16")


def test_a_training_is_not_resumed_in_another_precision(digits: DataSet, tmp_path: Path) -> None:
    def batches(precision: Precision) -> int:
        torch.manual_seed(0)
        network, done = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), []
        recipe, resume = Recipe(2, precision=precision), Unfinished(tmp_path / "member")
        train(network, digits, digits.train[:10], recipe, None, lambda *said: done.append(said), resume)
        return len(done)

    assert [batches(precision) for precision in ("fp32", "fp32", "bf16", "bf16", "fp32")] == [2, 0, 2, 0, 0]
