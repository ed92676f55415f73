"""Files that are none: pipes, devices, folders, links to nowhere."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from profilesearch.errors import UsageError
from profilesearch.files import read_json, regular_file, write_json


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
