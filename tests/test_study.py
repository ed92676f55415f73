"""The study: statistics that are right, records that survive, rivals at equal cost, a command that resumes."""

import json
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from forked import start
from test_commands import call

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.mapping import map_by_place
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import TOLERANCE, ProfileSpace
from profilesearch.profiles import Budget, Profile
from profilesearch.research.study.analysis import (
    correlation,
    correlation_gap,
    difference,
    rank_correlation,
    top_overlap,
)
from profilesearch.research.study.cells import text, whole
from profilesearch.research.study.profiles import parameters, widest_profile
from profilesearch.research.study.records import Records
from profilesearch.research.study.rows import PROFILES
from profilesearch.research.study.sizes import QUICK
from profilesearch.research.study.thresholds import IMPORTANCES, global_threshold
from profilesearch.standing import Gain, gains
from profilesearch.store import Store


def space_of(name: str, keep: float = 0.5) -> ProfileSpace:
    return Plan(name, build(name, 10), (3, 32, 32)).space(Budget("macs", keep))


def test_rank_correlation_sees_order_alone_and_its_interval_shrinks_with_the_sample() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=200)
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert np.isnan(rank_correlation(values, np.ones(200)))
    noisy = values + random.normal(size=200)
    few, many = correlation(values[:20], noisy[:20]), correlation(values, noisy)
    assert many.low < 0.69 < many.high  # 6 / pi * asin(0.71 / 2), the correlation behind the sample
    assert many.high - many.low < few.high - few.low


def test_the_gap_between_two_scores_is_resolved_by_pairing() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=60)
    good, bad = truth + 0.2 * random.normal(size=60), truth + 2 * random.normal(size=60)
    assert correlation_gap(truth, bad, good).negative
    assert not correlation_gap(truth, good, good).negative
    assert not correlation_gap([1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]).not_worse(0.05)  # four pairs show nothing
    assert correlation_gap([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [3, 4, 5, 6, 7]).not_worse(0.05)
    assert difference([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]).value == pytest.approx(0.1)


def test_top_overlap_counts_members_of_both_tops() -> None:
    first, second = [5, 4, 3, 2, 1], [4, 5, 1, 2, 3]
    assert top_overlap(first, second, top=2, within=2) == 2
    assert top_overlap(first, second, top=3, within=3) == 2
    assert top_overlap(first, second, top=3, within=5) == 3


TABLE = {"id": text, "value": text}


def test_first_writers_that_meet_lose_no_row(tmp_path: Path) -> None:
    writers = 8
    for number in range(40):
        path, meet = tmp_path / f"{number}.csv", threading.Barrier(writers)

        def write(name: str, path: Path = path, meet: threading.Barrier = meet) -> None:
            records = Records(path, TABLE)
            meet.wait()
            records.put({"id": name, "value": "1"})

        threads = [threading.Thread(target=write, args=(str(name),)) for name in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(Records(path, TABLE)) == writers


def test_records_that_are_deleted_meanwhile_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.csv"
    records = Records(path, TABLE)
    records.put({"id": "a", "value": "1"})
    path.unlink()
    path.parent.rmdir()
    records.put({"id": "b", "value": "2"})
    assert [row["id"] for row in Records(path, TABLE).rows()] == ["a", "b"]


def test_readers_of_records_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for content in (b"", b"id,va", b"id,value\na,1\n", b"id,value\na,1\nb,0.6"):
        path.write_bytes(content)
        there = [row["id"] for row in Records(path, TABLE).rows()]
        assert path.read_bytes() == content
        records = Records(path, TABLE)
        records.put({"id": "c", "value": "2"})
        assert path.read_bytes() == (
            b"id,value\na,1\nc,2\n" if there else b"id,value,check\nc,2,%08x\n" % crc32(b"c,2\n")
        )


def test_records_survive_a_half_written_line_and_refuse_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    records = Records(path, TABLE)
    records.put({"id": "a", "value": "1"})
    records.put({"id": "b", "value": "x,y"})
    records.put({"id": "a", "value": "2"})
    with path.open("a") as file:
        file.write("c,half")
    again = Records(path, TABLE)
    assert [row["value"] for row in again.rows()] == ["1", "x,y"]
    again.put({"id": "c", "value": "3"})
    lines = (b"a,1", b'b,"x,y"', b"c,3")
    assert path.read_bytes() == b"id,value,check\n" + b"".join(
        b"%s,%08x\n" % (line, crc32(line + b"\n")) for line in lines
    )
    with pytest.raises(UsageError, match="another version"):
        Records(path, {"id": text, "other": whole()})


@pytest.mark.full
@pytest.mark.parametrize("importance", IMPORTANCES)
def test_torch_prunings_threshold_is_held_to_our_groups_and_macs(importance: str) -> None:
    space = space_of("resnet8")
    torch.manual_seed(0)
    network = build("resnet8", 10).eval()
    example = torch.rand(1, 3, 32, 32)
    batch = torch.rand(16, 3, 32, 32), torch.randint(10, (16,))
    before = [tensor.clone() for tensor in network.state_dict().values()]
    pruned, widths = global_threshold(network, space.table, space.cost, 0.5, importance, example, batch)
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    assert 0.5 * (1 - 4 * TOLERANCE) <= space.relative(widths) <= 0.5
    assert len(set(widths / space.table.channels)) > 1
    assert pruned(example).shape == (1, 10)
    untouched = [name for name, tensor in network.named_parameters() if name.endswith("conv2.weight")]
    shapes = {name: tensor.shape[0] for name, tensor in pruned.named_parameters()}
    assert all(shapes[name] == dict(network.named_parameters())[name].shape[0] for name in untouched)


def test_mapping_by_place_keeps_stages_and_order() -> None:
    small, deep = space_of("resnet20"), space_of("resnet56")
    ratios = np.array([0.2, 0.3, 0.4, 0.9, 0.8, 0.7, 0.5, 0.5, 0.5])
    carried = map_by_place(ratios, small.table.channels, deep.table.channels)
    assert carried.shape == (27,)
    assert (np.diff(carried[:9]) >= 0).all()
    assert (np.diff(carried[9:18]) <= 0).all()
    assert carried[18:] == pytest.approx(0.5)
    assert map_by_place(ratios, small.table.channels, small.table.channels) == pytest.approx(ratios)
    assert deep.relative(deep.project(carried[None])[0]) == pytest.approx(0.5, rel=TOLERANCE)


def test_the_best_stored_profile_is_the_one_with_the_best_evidence(tmp_path: Path) -> None:
    space = space_of("resnet8")
    plain = space.profile(space.uniform(), {"pool": [{"data": "cifar10"}], "score": {"fresh": 0.9}})
    store = Store(tmp_path, tmp_path)
    store.replace(plain, "unproven")
    for name, value in (("weak", 0.01), ("strong", 0.03)):
        entry = {"data": "cifar10", "gain": value, "gain_interval": [0.0, 0.05]}
        store.replace(replace(plain, evidence=(entry,)), name)
    store.replace(replace(plain, evidence=(entry | {"data": "cifar100", "gain": 0.02},)), "elsewhere")
    assert store.best("resnet8", 0.5, "macs", "cifar10").name == "strong"
    assert gains(store.best("resnet8", 0.5, "macs", "cifar10").profile) == {"cifar10": Gain(0.03, 0.0, 0.05)}
    twice = (
        {"data": "a", "gain": 0.125, "gain_interval": [0.0, 0.2]},
        {"data": "a", "gain": 0.375, "gain_interval": [0.1, 0.5]},
    )
    assert gains(replace(plain, evidence=twice)) == {"a": Gain(0.25, 0.0, 0.5)}
    models = tuple({**entry, "model": name} for name, entry in zip("mnn", (twice[0], *twice), strict=True))
    assert gains(replace(plain, evidence=models))["a"].value == pytest.approx((twice[0]["gain"] + 0.25) / 2)
    assert gains(plain) == {}


STUDY = ["--arch", "resnet8", "--data", "digits", "--seeds", "0", "--target", "digits:1", "--quick", "--workers", "1"]


@pytest.mark.xdist_group("engines")
def test_a_killed_study_goes_on_and_repeats_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = place / "results" / "resnet8" / "finetunes.csv"
    process = start("study", [*STUDY, "--only", "spread"], place)
    deadline = time.monotonic() + 240
    while not (rows.exists() and rows.read_text().count("\n") > 3):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()
    before = rows.read_text()
    call("study", *STUDY, "--only", "spread", "ranks")
    after = rows.read_text()
    assert after.startswith(before[: before.rfind("\n") + 1])
    names = [line.split(",")[0] for line in after.splitlines()]
    assert len(names) == len(set(names))
    page = (place / "results.md").read_text()
    assert "| spread.1 | uniform |" in page
    assert "C3: the top profiles" in page
    assert (place / "results" / "resnet8" / "spread.png").stat().st_size > 5000

    entries = place / "results" / "resnet8" / "sections.json"
    entries.write_text(entries.read_text().replace("PyTorch ", "PyTorch of another day, "))
    call("study", *STUDY, "--only", "spread", "ranks")
    assert rows.read_text() == after
    assert (place / "results.md").read_text() == page.replace("PyTorch ", "PyTorch of another day, ")

    space = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8)).space(Budget("macs", 0.5))
    widest = next(row for row in Records(rows.with_name("profiles.csv"), PROFILES).rows()
                  if row["widths"] == "-".join(map(str, widest_profile(space))))  # fmt: skip
    assert f"| widest | {parameters(space, [widest_profile(space)])}" in re.sub(r"\| \d+\.\d+% ", "", page)
    rows.write_text("".join(line for line in after.splitlines(True) if widest["profile"] not in line))
    call("study", *STUDY, "--only", "spread", "--recorded")
    assert "| widest |" not in (place / "results.md").read_text()
    assert "| spread.1 | uniform |" in (place / "results.md").read_text()
    with pytest.raises(SystemExit, match="2"):
        call("study", *STUDY, "--only", "headline", "--recorded")
    assert "'headline' is not on record" in capsys.readouterr().err
    rows.write_text(after)

    capsys.readouterr()
    call("study", *STUDY, "--row", "spread.1", "--json")
    measured = json.loads(capsys.readouterr().out)["measurements"]
    assert {number for _, number, *_ in measured} == {"before", "after", "cost"}
    for _, _, recorded, now in measured:
        assert isinstance(recorded, float)
        assert recorded == pytest.approx(now, abs=0.02)


def test_records_from_before_a_criterion_are_a_section_without_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilesearch.research.study.criteria.CRITERIA", ("random", "l1", "reconstruction"))
    call("study", *STUDY, "--only", "criteria")
    page, rows = (place / "results.md").read_text(), place / "results" / "resnet8" / "finetunes.csv"
    assert "| criteria.3 | reconstruction |" in page
    rows.write_text("".join(line for line in rows.read_text().splitlines(True) if ",reconstruction," not in line))
    call("study", *STUDY, "--only", "criteria", "--recorded")
    without = (place / "results.md").read_text()
    assert "reconstruction" not in without
    assert all(line in page for line in without.splitlines() if line.startswith("| criteria."))


def test_a_short_search_is_said_to_be_short(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilesearch.research.study.settings.QUICK", replace(QUICK, seeds=1, random=4))
    call("study", *STUDY, "--only", "searchers")
    page = (place / "results.md").read_text()
    assert f"After {QUICK.evaluations} evaluations PPO" in page
    assert f"| search after {QUICK.evaluations} / all |" in page


def test_the_page_keeps_the_budgets_that_are_on_record(place: Path) -> None:
    call("study", *STUDY, "--only", "landing")
    call("study", *STUDY, "--keeps", "0.4", "0.5", "--only", "ranks")
    page = (place / "results.md").read_text()
    assert "| landing.1 | 0.5 | 1 |" in page
    assert "| landing.2 | 0.5 | 0 |" in page
    assert re.search(r"--quick --precision (fp32|bf16) --only landing", page)
    assert re.search(r"--quick --keeps 0.4 0.5 --precision (fp32|bf16) --only ranks", page)
    assert "| 0.4 |" not in page
    assert "C3: the top profiles" in page


def test_one_policy_ships_profiles_for_the_budgets_between(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("study", *STUDY, "--only", "budgets")
    assert "| budgets.1 | 0.6 | resnet8-digits-seed1 (digits) |" in (place / "results.md").read_text()
    profile = Store(place / "profiles", place / "profiles").best("resnet8", 0.6, "macs", "digits").profile
    assert profile.found["family"] == [0.6]
    assert profile.found["evaluations"] == QUICK.evaluations
    assert profile.reached == pytest.approx(0.6, rel=TOLERANCE)
    assert gains(profile).keys() == {"digits"}

    old = replace(profile, found={**profile.found, "date": "2026-01-01"})
    Store(place / "profiles").replace(old, "macs0.6-family")
    call("study", *STUDY, "--only", "budgets")
    again = Store(place / "profiles", place / "profiles").best("resnet8", 0.6, "macs", "digits").profile
    assert again == old


def test_other_weights_under_a_recorded_name_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = place / "results" / "resnet8" / "models.csv"
    known.parent.mkdir(parents=True)
    known.write_text("model,data,weights\nresnet8-digits-seed1,digits,0123\n")
    with pytest.raises(SystemExit):
        call("study", *STUDY, "--only", "ranks")
    assert "has other weights than the resnet8-digits-seed1 of the records" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "spraed"], "unknown experiment 'spraed'.*spread"),
        (["--row", "spread.1"], "not on record"),
        (["--target", "digits:0"], "given twice"),
        (["--workers", "-1"], "--workers"),
        (["--long-epochs", "0"], "--long-epochs"),
        (["--evaluations", "0"], "--evaluations"),
        (["--map-from", "resnet21"], "no stored profile of resnet21"),
    ],
)
def test_mistakes_in_a_study_end_in_one_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        call("study", *STUDY, *arguments)
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])


def test_list_shows_the_store_with_its_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = space_of("resnet8")
    entry = {"data": "cifar10", "model": "m", "gain": 0.0123, "gain_interval": [0.01, 0.02], "pruned_accuracy": 0.7}
    profile = space.profile(space.uniform(), {"searcher": "ppo", "pool": [{"data": "cifar10"}]})
    Store(tmp_path).replace(profile.with_evidence(entry), "mine")
    call("list", "--arch", "resnet8", "--store", tmp_path, "--json")
    captured = capsys.readouterr()
    assert "mine" in captured.err
    assert "+1.23" in captured.err
    files = {Path(p["file"]).stem: p for p in json.loads(captured.out)["profiles"]}
    assert Profile.load(tmp_path / "resnet8" / "mine.json").evidence == (entry,)
    assert files["mine"]["evidence"] == [entry]
    call("list", "--store", tmp_path, "--evidence")
    assert "+1.23 (+1.00 to" in capsys.readouterr().out
