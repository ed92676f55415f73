"""What is shown while a part of the work goes on: on a terminal, elsewhere, and for people who want silence."""

import io
import time

import pytest
from rich.console import Console

from profilesearch.cli import progress


def written(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_short_part_shows_nothing(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal)
    with progress.shown("reading", console) as move:
        move(1, 2, "half")
    assert written(console) == ""


def test_a_long_part_has_a_live_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SOON_S", 0.05)
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with progress.shown("refitting", console) as move:
        move(1, 4, "layer [red]")
        time.sleep(0.4)
    assert "refitting" in written(console)
    assert "25%" in written(console)
    assert "layer [red]" in written(console)


def test_lines_come_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.1)
    console = Console(file=io.StringIO(), force_terminal=False, width=20)
    with progress.shown("timing the networks", console) as move:
        time.sleep(0.15)
        move(3, 4, "epoch 3")
        time.sleep(0.1)
    lines = written(console).splitlines()
    assert lines[0] == "timing the networks: 0 s so far"
    assert lines[1].startswith("timing the networks: 75%, epoch 3, ")


def test_silence_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SOON_S", 0)
    console = Console(file=io.StringIO(), force_terminal=True, quiet=True)
    with progress.shown("refitting", console) as move:
        move(1, 4, "")
        time.sleep(0.05)
    assert written(console) == ""
