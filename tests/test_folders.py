"""One result is one folder: whole, or not there, and never mixed with another one."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from profilesearch import apply, load_pruned
from profilesearch.applying import exports
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.reporting.runs import read_part
from profilesearch.system.folders import APPLIED, check_place, check_whole, drafted, free_place
from profilesearch.system.naming import safe_name

TINY = """\
from torch import nn


def tiny(num_classes, in_channels=1):
    return nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(),
                         nn.Linear(96, num_classes))
"""


def write(place: Path, settings: str, content: str, *more: str) -> None:
    with drafted(place, APPLIED, settings) as draft:
        for name in ("a.txt", *more):
            (draft.folder / name).write_text(content)
        draft.seal({"content": content})


def read(place: Path) -> tuple[str, str]:
    value = json.loads((place / APPLIED).read_text())
    check_whole(place, value)
    return value["content"], (place / "a.txt").read_text()


def test_a_result_of_other_settings_moves_aside_and_nothing_of_it_stays(tmp_path: Path) -> None:
    place = tmp_path / "applied"
    write(place, "one", "first", "pruned.onnx")
    write(place, "two", "second")
    assert {path.name for path in place.iterdir()} == {"a.txt", APPLIED}
    assert read(place) == ("second", "second")
    assert read(tmp_path / "applied-2") == ("first", "first")
    write(place, "two", "again")
    write(place, "one", "back")
    assert read(place) == ("back", "back")
    assert read(tmp_path / "applied-2") == ("first", "first")
    assert read(tmp_path / "applied-3") == ("again", "again")
    write(place, "two", "once more")
    assert read(tmp_path / "applied-2") == ("back", "back")  # the same settings: the newer one
    assert {path.name for path in tmp_path.iterdir()} == {"applied", "applied-2", "applied-3"}


@pytest.mark.parametrize("name", ["notes.txt", "a.txt"])
def test_what_somebody_put_into_a_result_that_moved_aside_stays(tmp_path: Path, name: str) -> None:
    place, aside = tmp_path / "applied", tmp_path / "applied-2"
    write(place, "one", "first")
    write(place, "two", "second")
    (aside / name).write_text("mine")
    for settings in ("one", "two", "one", "two"):
        write(place, settings, settings)
        assert (aside / name).read_text() == "mine"
    assert (read(tmp_path / "applied-3"), read(tmp_path / "applied-4")) == (("two", "two"), ("one", "one"))
    assert not (tmp_path / "applied-5").exists()


def test_files_of_others_stay_where_they_are(tmp_path: Path) -> None:
    place = tmp_path / "applied"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    for settings in ("one", "one", "two"):
        write(place, settings, settings)
        assert (place / "notes.txt").read_text() == "mine"
        assert read(place) == (settings, settings)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.txt").write_text("of an earlier version, or somebody's own")
    with drafted(tmp_path / "old", APPLIED, "one") as draft:
        (draft.folder / "a.txt").write_text("new")
        draft.seal({"content": "new"})
    assert draft.aside == tmp_path / "old-2"
    assert read(tmp_path / "old") == ("new", "new")
    assert (tmp_path / "old-2" / "a.txt").read_text().startswith("of an earlier version")


def test_a_kill_at_any_file_leaves_the_earlier_result_whole(tmp_path: Path) -> None:
    write(tmp_path / "applied", "one", "first")
    child = os.fork()
    if not child:
        with drafted(tmp_path / "applied", APPLIED, "one") as draft:
            (draft.folder / "a.txt").write_text("second")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert read(tmp_path / "applied") == ("first", "first")
    assert len(list(tmp_path.iterdir())) == 2
    write(tmp_path / "applied", "one", "third")
    assert read(tmp_path / "applied") == ("third", "third")
    assert [path.name for path in tmp_path.iterdir()] == ["applied"]


def test_who_reads_meanwhile_finds_one_result_or_the_other(tmp_path: Path) -> None:
    place = tmp_path / "applied"
    write(place, "one", "0")
    stop = threading.Event()

    def rewrite() -> None:
        for number in range(1, 40):
            write(place, "one", str(number))
        stop.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = 0
    while not stop.is_set():
        assert (place / "a.txt").exists()
        seen += 1
    writer.join()
    assert seen
    assert read(place) == ("39", "39")


def test_what_cannot_become_a_result_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    for place, sentence in ((".", "name a folder inside it"), ("..", "name a folder inside"), ("file", "cannot write"),
                            ("outer", r"holds other folders \(inner\)"), ("/", "name a folder inside")):  # fmt: skip
        with pytest.raises(UsageError, match=sentence):
            check_place(Path(place))
    check_place(tmp_path / "outer" / "inner")
    check_place(tmp_path / "new" / "deeper")
    assert not (tmp_path / "new").exists()


def test_results_that_must_not_replace_others_are_numbered(tmp_path: Path) -> None:
    assert free_place(tmp_path / "run", "one", APPLIED) == tmp_path / "run"
    write(tmp_path / "run", "one", "first")
    assert free_place(tmp_path / "run", "one", APPLIED) == tmp_path / "run"
    assert free_place(tmp_path / "run", "two", APPLIED) == tmp_path / "run-2"


def test_mixed_results_are_refused(tmp_path: Path) -> None:
    about = {"architecture": "resnet20", "num_classes": 10, "in_channels": 1}
    for name in ("one", "two"):
        with drafted(tmp_path / name, APPLIED, name) as draft:
            save_network(draft.folder / "pruned.safetensors", build("resnet20", 10, 1), about)
            draft.seal({})
        assert load_pruned(tmp_path / name / "pruned.safetensors")(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    (tmp_path / "one" / APPLIED).write_bytes((tmp_path / "two" / APPLIED).read_bytes())
    sentence = "is not the file that was written with the result beside it"
    with pytest.raises(UsageError, match=sentence):
        load_pruned(tmp_path / "one" / "pruned.safetensors")
    with pytest.raises(UsageError, match=sentence):
        read_part(tmp_path / "one")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs `apply` on a network that is pruned in a second."""
    (tmp_path / "tinynets.py").write_text(TINY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tinynets", raising=False)
    torch.manual_seed(0)
    torch.save(build("tinynets:tiny", 10, 1).state_dict(), "mine.pth")
    options = ["--arch", "tinynets:tiny", "--checkpoint", "mine.pth", "--data", "digits", "--profile", "uniform"]
    return lambda *more: apply.main([*options, "--quiet", *more])


@pytest.mark.full
def test_a_second_apply_leaves_no_file_of_the_first(tiny: Callable[..., None], tmp_path: Path) -> None:
    tiny("--export", "pt2")
    assert (tmp_path / "applied" / "pruned.pt2").exists()
    tiny("--keep", "0.6")
    names = {"pruned.safetensors", "profile.json", "profile.png", "result.html", APPLIED}
    assert {path.name for path in (tmp_path / "applied").iterdir()} == names
    assert {path.name for path in (tmp_path / "applied-2").iterdir()} == {*names, "pruned.pt2"}
    for name, keep in (("applied", 0.6), ("applied-2", 0.5)):
        report = json.loads((tmp_path / name / APPLIED).read_text())
        assert report["profile"]["budget"]["keep"] == keep
        assert read_part(tmp_path / name).blocks


def test_an_export_that_fails_takes_nothing_else_along(
    tiny: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setitem(exports.WRITERS, "pt2", broken)
    with pytest.raises(UsageError, match="cannot be exported to pt2: no such operator"):
        tiny("--export", "pt2")
    assert load_pruned(tmp_path / "applied" / "pruned.safetensors", "tinynets:tiny")
    assert json.loads((tmp_path / "applied" / APPLIED).read_text())["exports"] == []


@pytest.mark.parametrize(
    ("text", "name"),
    [("cifar10@16", "cifar10-16"), ("my photos", "my-photos"), ("Zürich", "Zurich"), (".hidden", "hidden"),
     ("a.b.c", "a.b.c"), ("$(rm -rf)'\"", "rm--rf")],
)  # fmt: skip
def test_any_text_gives_a_safe_name(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_names_of_other_alphabets_and_long_ones_stay_apart() -> None:
    assert len({safe_name("写真"), safe_name("画像"), safe_name("///")}) == 3
    long = [safe_name("x" * 300 + end) for end in "ab"]
    assert len(set(long)) == 2
    assert all(len(name) <= 120 for name in long)
    assert safe_name("\udcff")
