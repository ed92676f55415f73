"""How far work is, as it tells itself, here and in worker processes."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from profilesearch import transfer
from profilesearch.cli.console import Output
from profilesearch.research.study.workers import results
from profilesearch.research.transfers import tickets
from profilesearch.research.transfers.upstream import Upstream
from profilesearch.system.parts import heard, tell, within
from profilesearch.system.progress import Progress


def test_parts_of_parts_are_told_as_parts_of_all() -> None:
    tell(1, 2)  # to nobody
    told: list[float] = []
    with heard(told.append):
        tell(1, 4)
        with within(0.5, 1.0):
            tell(1, 2)
            with within(0.5, 0.75):
                tell(1, 2)
            with heard(None):
                tell(1, 3)
        tell(0, 0)
        tell(3, 4)
    assert told == [0.25, 0.75, 0.5 + 0.5 * 0.625, 0.75]


def _told_and_waiting(folder: Path, name: str) -> str:
    """Tells that a half is done, and goes on when that was heard."""
    tell(1, 2)
    for _ in range(600):
        if (folder / "heard").exists():
            return name
        time.sleep(0.1)
    raise TimeoutError


@pytest.mark.parametrize("workers", [1, 2])
def test_what_tasks_tell_is_heard_while_they_are_at_it(tmp_path: Path, workers: int) -> None:
    told: list[float] = []

    def watch(part: float) -> None:
        told.append(part)
        if part >= 0.5 * workers:
            (tmp_path / "heard").touch()

    found = dict(results(_told_and_waiting, tmp_path, ["one", "other"], workers, watch))
    assert found == {"one": "one", "other": "other"}
    assert max(told) == 0.5 * workers
    assert dict(results(_told_and_waiting, tmp_path, ["again", "too"], workers)) == {"again": "again", "too": "too"}


def test_tickets_tell_how_many_of_their_rounds_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 20, 3), nn.Flatten(), nn.Linear(20, 2))

    class Told(Upstream):
        def __init__(self) -> None:
            pass

        def trained(self) -> nn.Module:
            return network

        def tune(self, *_: object) -> None:
            tell(1, 2)

    monkeypatch.setattr(Told, "epochs", 1, raising=False)
    monkeypatch.setattr(Told, "cached", lambda _, name, make: make())
    told: list[float] = []
    with heard(told.append), torch.no_grad():
        tickets.iterative(Told(), 0.59)
    one = math.log(0.8) / math.log(0.41)  # the part of a round that removes a fifth
    assert told == pytest.approx([0.5 * one, 1.5 * one, 2.5 * one])


def test_a_bar_moves_while_one_network_is_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[tuple[str, float]] = []
    shown = Output.progress

    @contextmanager
    def noted(self: Output, what: str, total: int | None = None) -> Iterator[Progress]:
        def note(done: int, total: int, said: str) -> None:
            moves.append((what, done / total))
            move(done, total, said)

        with shown(self, what, total) as move:
            yield note

    monkeypatch.setattr(Output, "progress", noted)
    monkeypatch.chdir(tmp_path)
    options = (
        "--arch resnet8 --upstream digits --downstream digits --method magnitude --level 0.5 --workers 1 "
        "--upstream-epochs 2 --finetune full --epochs 2 --seeds 0"
    )
    transfer.main(options.split())
    for what in ("compressing", "carrying"):
        parts = [part for name, part in moves if name == what]
        assert len(parts) > 4
        assert parts == sorted(parts)
        assert parts[-1] == 1
        assert 0 < parts[0] < 0.5
