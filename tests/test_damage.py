"""Files that were damaged, disks that are full, processes that get in each other's way."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_commands import call

from profilesearch import load_pruned
from profilesearch.applying.exports import export
from profilesearch.cli.console import run
from profilesearch.cli.watching import Curves
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import load_tensors, save_network
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget, Profile
from profilesearch.reporting.plots import profile_figure, save_figure
from profilesearch.research.study.cells import text
from profilesearch.research.study.records import Records
from profilesearch.scoring.engines.processes import ProcessEngine
from profilesearch.scoring.ledger import Ledger
from profilesearch.store import Store
from profilesearch.system.files import check_writable, write_json
from profilesearch.system.temporary import folder_beside
from profilesearch.tasks.data import DataSet

Damage = Callable[[bytes], bytes]


def truncate(place: float) -> Damage:
    return lambda content: content[: int(place * len(content))]


def flip(place: float, bit: int) -> Damage:
    def change(content: bytes) -> bytes:
        at = min(int(place * len(content)), len(content) - 1)
        return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]

    return change


places = st.floats(0, 1, exclude_max=True)
# Headers are where most can go wrong: every other flip is in the first part of the file.
damages = st.one_of(
    st.builds(truncate, places),
    st.builds(flip, places, st.integers(0, 7)),
    st.builds(flip, st.floats(0, 0.05), st.integers(0, 7)),
)
every = settings(
    max_examples=125, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@cache
def space() -> ProfileSpace:
    return Plan("resnet8", build("resnet8", 10), (3, 32, 32)).space(Budget("macs", 0.5))


def stored_profile(seed: int = 0) -> Profile:
    widths = space().sample(1, np.random.default_rng(seed))[0]
    return space().profile(widths, {"searcher": "random", "seed": seed}).with_evidence({"data": "d", "gain": 0.0123})


@pytest.fixture(scope="module")
def profile() -> Profile:
    return stored_profile()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


@given(damage=damages)
@every
def test_a_damaged_ledger_never_gives_a_wrong_score(folder: Path, damage: Damage) -> None:
    path = folder / "ledger.jsonl"
    if not (folder / "whole").exists():
        ledger = Ledger(folder / "whole")
        for index in range(40):
            ledger.put(f"key{index}", index / 64, model="m", widths=[index, 2, 3])
    path.write_bytes(damage((folder / "whole").read_bytes()))
    try:
        ledger = Ledger(path)
    except UsageError:
        return
    found = {index: ledger.get(f"key{index}") for index in range(40)}
    assert all(score in (None, index / 64) for index, score in found.items())
    ledger.put("new", 0.5)
    again = Ledger(path)
    assert again.get("new") == 0.5
    assert {index: again.get(f"key{index}") for index in range(40)} == found


@pytest.mark.full
@given(damage=damages)
@every
def test_a_damaged_profile_is_refused_or_the_same(folder: Path, profile: Profile, damage: Damage) -> None:
    path = folder / "profile.json"
    profile.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with contextlib.suppress(UsageError):
        assert Profile.load(path).to_json() == profile.to_json()


@pytest.mark.full
@pytest.mark.parametrize("half", [True, False])
@given(damage=damages)
@every
def test_a_damaged_checkpoint_is_refused_or_the_same(folder: Path, half: bool, damage: Damage) -> None:
    whole, path = folder / f"whole{half}.safetensors", folder / f"damaged{half}.safetensors"
    if not whole.exists():
        torch.manual_seed(0)
        about = {"architecture": "resnet8", "num_classes": 10, "in_channels": 1, "held_out_accuracy": 0.651}
        save_network(whole, build("resnet8", 10, 1), about, half=half)
    path.write_bytes(damage(whole.read_bytes()))
    try:
        tensors, metadata = load_tensors(path)
        network = load_pruned(path)
    except UsageError:
        return
    expected, about = load_tensors(whole)
    assert metadata == about
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert not network.training


@pytest.mark.full
def test_a_folder_that_is_taken_for_abandoned_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    def opened(path: Path, *how: int) -> int:
        if not taken:
            taken.append(Path(path))
            Path(path).rmdir()  # as another process does between the two calls
        return os_open(path, *how)

    os_open = os.open
    monkeypatch.setattr("profilesearch.system.temporary.os.open", opened)
    with folder_beside(tmp_path / "new", ".mine-") as folder:
        assert folder.is_dir()
        assert taken != [folder]


def test_two_processes_lose_no_profile_of_the_same_name(tmp_path: Path) -> None:
    for seed in range(8):
        stored_profile(seed).save(tmp_path / "made" / f"{seed}.json")
    code = (
        "import sys; from pathlib import Path; from profilesearch.profiles import Profile\n"
        "from profilesearch.store import Store\n"
        "for path in sys.argv[1:]:\n"
        "    Store(Path('kept')).add(Profile.load(Path(path)), 'same-name')\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, *sorted((tmp_path / "made").iterdir())[first::2]], cwd=tmp_path)
        for first in (0, 1)
    ]
    assert [writer.wait(300) for writer in writers] == [0, 0]
    there = list(Store(tmp_path / "kept").profiles("resnet8"))
    own = {s.profile.found["seed"] for s in there if s.path.parent.parent == tmp_path / "kept"}
    assert own == set(range(8))
    assert not list((tmp_path / "kept").glob("*/.*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    command = [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]
    if not mount or not unmount or os.geteuid() or subprocess.run(command, check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield disk
    subprocess.run([unmount, "-l", disk], check=True)


def test_a_full_disk_is_one_sentence_for_every_kind_of_file(small_disk: Path, profile: Profile) -> None:
    (small_disk / "old.json").write_text("{}\n")
    ledger, records = Ledger(small_disk / "ledger.jsonl"), Records(small_disk / "rows.csv", {"id": text, "score": text})
    ledger.put("first", 0.5)
    records.put({"id": "first", "score": "0.5"})
    filling = small_disk / "filling"
    with filling.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    network = build("resnet8", 10)
    figure = profile_figure(["a"], np.array([4]), np.array([2]), "")
    writers: dict[str, Callable[[], object]] = {
        "old.json": lambda: write_json(small_disk / "old.json", {"much": "x" * 9000}),
        "profile.json": lambda: profile.save(small_disk / "profile.json"),
        "resnet8": lambda: Store(small_disk).add(profile, "name"),
        "network.safetensors": lambda: save_network(small_disk / "network.safetensors", network, {}),
        "picture.png": lambda: save_figure(figure, small_disk / "picture.png"),
        "ledger.jsonl": lambda: [ledger.put(f"key{index}", 0.5, about="x" * 500) for index in range(100)],
        "rows.csv": lambda: [records.put({"id": f"{index}", "score": "x" * 500}) for index in range(100)],
    }
    for name, write in writers.items():
        with pytest.raises(UsageError, match=r"cannot write .*; free some space"):
            write()
        assert name in ("old.json", "ledger.jsonl", "rows.csv") or not list(small_disk.glob(f"{name}/*"))
    assert {path.name for path in small_disk.iterdir()} <= {
        "filling",
        "old.json",
        "ledger.jsonl",
        "rows.csv",
        "resnet8",
    }
    assert (small_disk / "old.json").read_text() == "{}\n"
    filling.unlink()
    profile.save(small_disk / "profile.json")
    assert Profile.load(small_disk / "profile.json").to_json() == profile.to_json()
    ledger.put("later", 0.25)
    records.put({"id": "later", "score": "0.25"})
    assert Ledger(small_disk / "ledger.jsonl").get("later") == 0.25
    rows = Records(small_disk / "rows.csv", {"id": text, "score": text})
    assert [rows.get(name) for name in ("first", "later")] == [
        {"id": "first", "score": "0.5"},
        {"id": "later", "score": "0.25"},
    ]


@pytest.fixture
def full_disk(small_disk: Path) -> Path:
    """A file system without any space left."""
    with (small_disk / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return small_disk


@pytest.mark.full
def test_an_export_to_a_full_disk_is_one_sentence(full_disk: Path, digits: DataSet) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*pruned\.pt2: No space left"):
        export(build("resnet8", 10, 1), "pt2", full_disk / "pruned.pt2", digits, digits.test[:2])
    assert [path.name for path in full_disk.iterdir()] == ["filling"]


def test_a_search_goes_on_without_curves_where_the_disk_gets_full(small_disk: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    said: list[str] = []
    with Curves(small_disk, said.append) as curves:
        for step in range(8000):
            curves.watch(lambda done, total, best: None)(step, 8000, 0.5)
    (line,) = said
    assert "No space left" in line
    events = reader.EventAccumulator(str(small_disk))
    events.Reload()
    assert len(events.Scalars("search/best fitness")) > 100


def test_no_place_for_temporary_files_is_one_sentence(
    full_disk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"cannot write temporary files: .*TMPDIR"):
        ProcessEngine(1)
    monkeypatch.setattr(tempfile, "tempdir", str(full_disk))
    scorer = type("Scorer", (), {"digest": "a", "__reduce__": lambda self: (bytes, (1_000_000,))})()
    with pytest.raises(UsageError, match=r"cannot write .*No space left"), ProcessEngine(1) as engine:
        list(engine.scores([scorer], [(0, np.array([1]))]))


@pytest.fixture
def somebody() -> Iterator[None]:
    """A user who may not do everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_locked_folder_is_one_sentence(tmp_path: Path, somebody: None) -> None:
    locked = Path(tempfile.mkdtemp())  # those of pytest are closed for others
    (locked / "in").mkdir()
    locked.chmod(0)
    try:
        with pytest.raises(UsageError, match=r"cannot write .*Permission denied"):
            check_writable(locked / "in" / "out")
        with pytest.raises(UsageError, match=r"cannot write .*Permission denied"):
            write_json(locked / "in" / "file.json", {})
        with pytest.raises(SystemExit, match="2"):
            run(lambda _: Store(locked / "in").add(stored_profile(), "name"))
        with pytest.raises(SystemExit, match="2"):
            run(lambda _: (locked / "in" / "file").exists())
    finally:
        locked.chmod(0o700)
        shutil.rmtree(locked)


@pytest.mark.parametrize("verb", [["list", "--store"], ["report"], ["study", "--arch", "resnet8", "--results"]])
def test_a_name_that_is_too_long_is_one_sentence(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        call(*verb, "n" * 256)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "File name too long" in said


@pytest.mark.full
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--arch", "resnet8", "--data", "digits", "--seeds", "0", "--epochs", "4"]
    command = [sys.executable, "-m", "profilesearch.pool", *options]
    pool = tmp_path / "pools" / "resnet8"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, it would be inherited
    try:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        deadline = time.monotonic() + 120
        while not list(pool.glob("*.resume.safetensors")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted; nothing is lost, the same command goes on from here"
    assert "Traceback" not in said
    call("pool", *options)
    assert "digits-seed0" in capsys.readouterr().out
    assert [path.name for path in pool.iterdir()] == ["digits-seed0.safetensors"]
