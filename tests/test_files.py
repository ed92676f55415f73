"""Profiles and the store: what is written comes back, what is broken is refused in one sentence."""

import errno
import json
import math
import multiprocessing
import os
import signal
import tempfile
from dataclasses import astuple, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from profilesearch import load_network, load_pruned
from profilesearch.cli.outcome import known_worth
from profilesearch.errors import UsageError
from profilesearch.evidence import AtHand, Evidence
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget, Profile
from profilesearch.pruning import prune_with_profile
from profilesearch.research.searched import store_safely
from profilesearch.standing import gains
from profilesearch.store import Store
from profilesearch.system.files import write_atomically, write_json
from profilesearch.system.temporary import scratch_folder


@pytest.fixture
def profile() -> Profile:
    space = Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget("macs", 0.5))
    widths = space.sample(1, np.random.default_rng(0))[0]
    return space.profile(widths, {"searcher": "random", "pool": [{"data": "digits"}]})


def test_profile_round_trip_keeps_the_widths(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "p.json")
    loaded = Profile.load(tmp_path / "p.json")
    assert loaded.to_json() == profile.to_json()
    model = build("resnet20", 100, 1)
    one, two = (prune_with_profile(model, p, (1, 28, 28)).widths for p in (profile, loaded))
    assert np.array_equal(one, two)


def test_the_readmes_three_lines_take_plain_strings(profile: Profile, tmp_path: Path) -> None:
    torch.save(build("resnet20", 10).state_dict(), tmp_path / "mine.th")
    profile.save(f"{tmp_path}/mine.json")
    network = load_network("resnet20", f"{tmp_path}/mine.th")
    pruned = prune_with_profile(network, Profile.load(f"{tmp_path}/mine.json")).network
    about = {"architecture": "resnet20", "num_classes": 10, "in_channels": 3}
    save_network(f"{tmp_path}/pruned.safetensors", pruned, about)
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_pruned(f"{tmp_path}/pruned.safetensors")(images), pruned(images))


BREAKS: dict[str, Any] = {
    "no profile file": {"hello": 1},
    "schema 99 is unknown": {"schema": 99},
    "'keep' is missing": {"keep": None},
    r"must be in \(0, 1\]": {"keep": {"layer1.0.conv1": 1.5}},
    "no channel group": {"keep": {}},
    "unknown scope": {"scope": "everything"},
    "'reached' is missing": {"budget": {"metric": "macs", "keep": 0.5}},
    "unknown metric": {"budget": {"metric": "time", "keep": 0.5, "reached": 0.5}},
    "'evidence' is missing": {"evidence": {}},
    "'multiple_of' in the profile's found has": {"found": {"multiple_of": "8"}},
    "'gain_interval' in the profile's evidence has": {"evidence": [{"gain": 0.1, "gain_interval": [0.3, -0.1]}]},
    "'base_accuracy' in the profile's evidence has": {"evidence": [{"base_accuracy": "high"}]},
}


@pytest.mark.parametrize("message", BREAKS)
def test_broken_profiles_are_refused(profile: Profile, tmp_path: Path, message: str) -> None:
    value = BREAKS[message] if message == "no profile file" else profile.to_json() | BREAKS[message]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UsageError, match=message):
        Profile.load(path)


def test_truncated_profiles_are_refused(profile: Profile, tmp_path: Path) -> None:
    text = json.dumps(profile.to_json())
    for length in range(0, len(text) - 1, 97):
        (tmp_path / "p.json").write_text(text[:length])
        with pytest.raises(UsageError, match="broken JSON"):
            Profile.load(tmp_path / "p.json")


def test_profile_of_another_architecture_names_the_first_misfit(profile: Profile) -> None:
    with pytest.raises(UsageError, match=r"no keep ratio for group 'layer1\.3\.conv1'"):
        prune_with_profile(build("resnet32", 10), profile)
    ratios = dict(profile.keep)
    ratios["layer1.0.convX"] = ratios.pop("layer1.0.conv1")
    misspelt = Profile.from_json(profile.to_json() | {"keep": ratios})
    with pytest.raises(UsageError, match=r"'layer1\.0\.convX' does not exist.*did you mean layer1\.0\.conv1"):
        prune_with_profile(build("resnet20", 10), misspelt)


def test_store_never_loses_another_profile(profile: Profile, tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=tmp_path / "none")
    first = store.add(profile.with_evidence({"data": "digits", "gain": 1}), "mine")
    assert store.add(profile, "mine") == first
    assert Profile.load(first).evidence == ({"data": "digits", "gain": 1},)
    other = Profile.from_json(profile.to_json() | {"found": {"searcher": "ppo"}})
    assert store.add(other, "mine").name == "mine-2.json"
    assert [stored.name for stored in store.profiles("resnet20")] == ["mine", "mine-2"]


def test_a_profile_among_those_of_another_architecture_is_named(profile: Profile, tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=tmp_path / "none")
    place = tmp_path / "resnet56" / "copied.json"
    place.parent.mkdir()
    store.add(profile, "copied").rename(place)
    with pytest.raises(UsageError, match=f"move it to the folder {tmp_path / profile.architecture}"):
        store.find("resnet56", profile.budget, AtHand("digits"))
    assert store.fitting(profile.fingerprint, profile.budget.keep, "macs")  # whatever the network is called


def test_the_same_profile_found_on_another_day_is_no_second_one(profile: Profile, tmp_path: Path) -> None:
    def found(**about: Any) -> Profile:
        return Profile.from_json(profile.to_json() | {"found": {"searcher": "ppo", **about}})

    store = Store(tmp_path, shipped=tmp_path / "none")
    first = store.add(found(date="2026-01-01", versions={"torch": "2.6"}).with_evidence({"data": "digits"}), "mine")
    content = first.read_bytes()
    assert store.add(found(date="2026-01-02", versions={"torch": "2.7"}), "mine") == first
    assert first.read_bytes() == content
    store.add(found(date="2026-01-03").with_evidence({"data": "cifar10"}), "mine")
    there = Profile.load(first)
    assert [entry["data"] for entry in there.evidence] == ["digits", "cifar10"]
    assert there.found["date"] == "2026-01-01"
    assert store.add(found(seed=1), "mine").name == "mine-2.json"


@pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_store_on_a_disk_without_links_never_loses_a_profile(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", refuse)
    store = Store(tmp_path, shipped=tmp_path / "none")
    first = store.add(profile, "mine")
    assert store.add(profile, "mine") == first
    other = Profile.from_json(profile.to_json() | {"found": {"searcher": "ppo"}})
    assert store.add(other, "mine").name == "mine-2.json"
    assert Profile.load(first).to_json() == profile.to_json()
    assert {path.name for path in first.parent.iterdir()} == {"mine.json", "mine-2.json"}


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_broken_file_in_the_store_does_not_lose_a_new_profile(profile: Profile, tmp_path: Path, content: str) -> None:
    (tmp_path / "resnet20").mkdir()
    (tmp_path / "resnet20" / "mine.json").write_text(content)
    assert Store(tmp_path).add(profile, "mine").name == "mine-2.json"
    assert (tmp_path / "resnet20" / "mine.json").read_text() == content


def test_a_profile_is_kept_elsewhere_if_the_store_cannot_be_written(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "store").write_text("became a file meanwhile")
    with pytest.raises(UsageError, match=r"is a file; .*; the profile is kept in .*runs/resnet20/mine\.json"):
        store_safely(profile, "mine", tmp_path / "store", tmp_path / "runs")
    assert Profile.load(tmp_path / "runs" / "resnet20" / "mine.json").to_json() == profile.to_json()
    with pytest.raises(UsageError, match=r"the profile is kept in .*temporary"):
        store_safely(profile, "mine", tmp_path / "store", tmp_path / "store")
    assert Profile.load(tmp_path / "temporary/profilesearch/resnet20/mine.json").to_json() == profile.to_json()


def test_names_may_be_as_long_as_the_disk_takes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".json")
    write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(UsageError, match="too long; give a shorter name"):
        write_json(tmp_path / ("n" * 251 + ".json"), {"a": 1})


def _write_slowly(folder: Path, said: Connection) -> None:
    def write(path: Path) -> None:
        with scratch_folder() as scratch:
            path.write_text("half")
            (scratch / "much").write_text("half")
            said.send("there")
            signal.pause()

    write_atomically(folder / "file.json", write)


def test_what_a_killed_process_left_is_removed_by_the_next_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said, saying = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_write_slowly, args=(tmp_path, saying))
    process.start()
    assert said.recv() == "there"
    write_json(tmp_path / "other.json", {})
    with scratch_folder():
        pass
    assert len(list(tmp_path.iterdir())) == 3, "what is in use stays"
    process.kill()
    process.join()
    write_json(tmp_path / "other.json", {})
    with scratch_folder():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_store_picks_by_data_then_by_measured_gain(profile: Profile, tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=tmp_path / "none")
    for name, data, fresh in (("a", "cifar10", 0.9), ("b", "digits", 0.6), ("c", "digits", 0.7)):
        found = {"pool": [{"data": data}], "score": {"fresh": fresh, "uniform_fresh": 0.5}}
        store.add(Profile.from_json(profile.to_json() | {"found": found}), name)
    assert store.best("resnet20", 0.5, "macs", "digits").name == "c"
    assert store.best("resnet20", 0.5, "macs", "cifar100").name == "a"
    with pytest.raises(UsageError, match=r"keeps 0\.3 of the macs; there are profiles that keep 0\.5 of the macs"):
        store.best("resnet20", 0.3, "macs", "digits")
    with pytest.raises(UsageError, match="none is stored yet"):
        store.best("resnet32", 0.5, "macs", "digits")


def test_a_gain_without_an_interval_says_nothing_of_a_profile(profile: Profile) -> None:
    single: Evidence = {"data": "digits", "gain": 0.5, "gain_interval": [math.nan, math.nan]}
    known: Evidence = {"data": "digits", "gain": 0.1, "gain_interval": [0.05, 0.15]}
    assert gains(profile.with_evidence(single)) == {}
    for order in ((single, known), (known, single)):
        assert gains(replace(profile, evidence=order)) == gains(profile.with_evidence(known))


def test_evidence_says_what_to_expect_of_a_profile(profile: Profile) -> None:
    for data, value in (("cifar10", 0.0109), ("fashionmnist", -0.0202), ("fashionmnist", -0.01)):
        interval = [value - 0.008, value + 0.008]
        entry = {"data": data, "gain": value, "gain_interval": interval, "model": str(value)}
        profile = profile.with_evidence(entry)
    known = {data: astuple(gain) for data, gain in gains(profile).items()}
    assert known["cifar10"] == pytest.approx((0.0109, 0.0029, 0.0189))
    assert known["fashionmnist"] == pytest.approx((-0.0151, -0.0282, -0.002))
    assert known_worth(profile, "cifar10") == "it gained 1.09 points (0.29 to 1.89) over uniform on cifar10"
    unsure = profile.with_evidence(entry | {"data": "digits", "gain": 0.005, "gain_interval": [-0.01, 0.02]})
    assert known_worth(unsure, "digits").endswith(
        "0.50 points (-1.00 to 2.00) over uniform on digits, which may be chance"
    )
    assert "lost 1.51 points" in known_worth(profile, "fashionmnist")
    assert "nothing is known of it on flowers" in known_worth(profile, "flowers")


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "/etc/passwd"])
def test_profile_names_cannot_leave_the_store(profile: Profile, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a stored profile"):
        Store(tmp_path).add(profile, name)


def test_pruned_files_rebuild_themselves_bit_for_bit(profile: Profile, tmp_path: Path) -> None:
    pruned = prune_with_profile(build("resnet20", 100, 1), profile, (1, 28, 28)).network
    path = tmp_path / "pruned.safetensors"
    save_network(path, pruned, {"architecture": "resnet20", "num_classes": 100, "in_channels": 1})
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        assert torch.equal(load_pruned(path)(images), pruned(images))


def test_a_read_only_place_gives_one_sentence(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(UsageError, match="cannot write"):
        Store(tmp_path / "file" / "store").add(profile, "mine")


def test_a_writer_that_replaces_its_file_is_not_taken_for_abandoned(tmp_path: Path) -> None:
    def replaced(temporary: Path) -> None:  # as safetensors does
        other = temporary.with_name("other")
        other.write_text("content")
        other.replace(temporary)
        write_atomically(tmp_path / "neighbour", lambda path: path.write_text("their own"))

    write_atomically(tmp_path / "file", replaced)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "content", "neighbour": "their own"}
