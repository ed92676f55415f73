"""Files that are none: pipes, devices, folders, links to nowhere."""

import errno
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from profilesearch.cli.console import run
from profilesearch.errors import UsageError
from profilesearch.measure.multiples import _is_times
from profilesearch.networks.latency import _is_measured
from profilesearch.research.study.cells import part, text
from profilesearch.research.study.page import Entry, Line, Section, read_entries, write_page
from profilesearch.research.study.records import Records
from profilesearch.research.transfers.about import remember
from profilesearch.system.files import read_cache, read_json, regular_file, write_json
from profilesearch.tasks.data import load_data
from profilesearch.tasks.smallnorb import load_smallnorb


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def link(path: Path) -> Path:
    path.symlink_to("nowhere")
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


NO_FILES: dict[str, Callable[[Path], Path]] = {
    "a pipe": pipe,
    "a folder": folder,
    "a device": lambda _: Path("/dev/zero"),
    "a link to nowhere, which is not there": link,
    "No such file": lambda path: path,
    "null": lambda _: Path("a\0b"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    path = NO_FILES[kind](tmp_path / "it")
    with pytest.raises(UsageError, match=f"cannot read the thing .*{kind}"):
        regular_file(path, "thing")


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = NO_FILES[kind](tmp_path / "it")
    before = path.stat()
    with pytest.raises(UsageError, match=f"cannot write {path}: it is {kind}, not a file"):
        write_json(path, {})
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
    assert list(tmp_path.iterdir()) == ([] if kind == "a device" else [path])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "it.json"
    path.symlink_to("elsewhere/real.json")
    write_json(path, [1])
    assert path.is_symlink()
    assert read_json(tmp_path / "elsewhere" / "real.json") == [1]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 10**5, b"1" * 5000])
def test_broken_json_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.json").write_bytes(content)
    with pytest.raises(UsageError, match="is no thing: broken JSON"):
        read_json(tmp_path / "it.json", "thing")


CACHES = [b"", b"{", b"[1]", b"\xff", b'{"a": 1}', b'{"a": {"b": 1}}', b'{"a": {"b": {"1": [NaN, 1]}}}']


@pytest.mark.parametrize("content", CACHES)
def test_what_does_not_fit_in_a_cache_is_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.json").write_bytes(content)
    for fits in (_is_times, _is_measured):
        assert all(values == {} for values in read_cache(tmp_path / "it.json", fits).values())
    assert read_cache(pipe(tmp_path / "pipe"), _is_times) == {}


measured = {"outputs": [1.0, 4.0], "inputs": [1.0, 2.0, 3.0], "times": [[5.0, 6.0, 7.0], [8.0, 9.0, 10.0]]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"outputs": [4.0, 1.0]},
        {"outputs": [1.0]},
        {"inputs": []},
        {"inputs": None},
        {"times": 5},
        {"times": [[5.0, 6.0, 7.0], [8.0, 9.0]]},
        {"times": [[5.0, 6.0, 7.0], [8.0, 9.0, math.nan]]},
        {"times": [[5.0, 6.0, 7.0], [8.0, 9.0, "10"]]},
    ],
)
def test_a_table_of_latencies_fits_its_widths(wrong: dict[str, Any]) -> None:
    assert _is_measured(measured)
    assert not _is_measured(measured | wrong)
    assert _is_times({"1": [1.0, 2.0], "8": [0.5, 1.5]})


LISTS = [b"{", b"[]", b'{"a": "b"}', b'{"a": [1]}', b"\xff", b"null"]


@pytest.mark.parametrize("content", LISTS)
def test_a_broken_list_of_commands_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "commands.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"commands.json is no list of commands"):
        remember(path, "setting", "command")
    assert path.read_bytes() == content
    path.unlink()
    with pytest.raises(UsageError, match="it is a pipe"):
        remember(pipe(path), "setting", "command")


@pytest.mark.parametrize("content", [*LISTS, b'{"sections": [{}]}', b'{"sections": [1]}', b'{"sections": 1}'])
def test_broken_sections_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "resnet20" / "sections.json"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"sections.json is"):
        read_entries(tmp_path, "resnet20")
    path.unlink()
    pipe(path)
    with pytest.raises(UsageError, match="it is a pipe"):
        read_entries(tmp_path, "resnet20")


def test_any_text_in_a_section_is_needed(tmp_path: Path) -> None:
    section = Section("ranks", "Ranks", "Do they?", ("a",), (Line(("1", "2")),), "Yes.")
    write_page(tmp_path, "resnet20", [Entry(section, "Here.", "command")])
    path = tmp_path / "resnet20" / "sections.json"
    whole = path.read_text()
    assert list(read_entries(tmp_path, "resnet20")) == ["ranks"]
    for word in ("ranks", "Ranks", "Do they?", "a", "1", "Yes.", "Here.", "command"):
        path.write_text(re.sub(rf'"{re.escape(word)}"(?!:)', "7", whole))
        with pytest.raises(UsageError, match=r"sections.json is broken; remove it"):
            read_entries(tmp_path, "resnet20")


def test_pipes_among_the_files_of_a_data_set_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    pipe(tmp_path / "cifar-10-batches-py" / "data_batch_1")
    with pytest.raises(UsageError, match=r"cannot read the part of cifar10 .*it is a pipe"):
        load_data("cifar10", tmp_path)
    (tmp_path / "smallnorb").mkdir()
    pipe(tmp_path / "smallnorb" / "smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat")
    with pytest.raises(UsageError, match=r"cannot read the part of smallnorb .*it is a pipe"):
        load_smallnorb(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "cannot go on: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", b"a\xff"), r"cannot use a\udcff: Permission denied"),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
            "cannot use a or b: Invalid cross-device link",
        ),
        (OSError("odd"), "cannot go on: odd"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(capsys: pytest.CaptureFixture[str], error: OSError, said: str) -> None:
    def command(_: Sequence[str] | None) -> None:
        raise error

    with pytest.raises(SystemExit, match="2"):
        run(command)
    assert capsys.readouterr().err == f"error: {said}; see to that, or name another path, and run the command again\n"


def test_records_that_are_no_table_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"id,score\n1,{'7' * 200_000}\n")
    with pytest.raises(UsageError, match=r"rows.csv is damaged .*move it away"):
        Records(tmp_path / "rows.csv", {"id": text, "score": part})
