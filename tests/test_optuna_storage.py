"""Shared Optuna studies: files that are no storage, what kills leave, locks, clocks that differ, dead workers."""

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages.journal import _storage as journal_storage

from agents import make_searcher, optuna_samplers, optuna_storage
from agents.base import Trial
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget


@cache
def _space() -> ProfileSpace:
    return Plan("resnet20", build("resnet20", 10), (3, 32, 32)).space(Budget("macs", 0.5))


class Quick:
    """A problem whose scores take no time: wide profiles are good."""

    digest = "quick"

    def __init__(self) -> None:
        self.space = _space()

    def evaluate(self, widths: np.ndarray, each: Callable[[int, np.ndarray], None]) -> np.ndarray:
        accuracies = widths.mean(axis=1, keepdims=True) / 100
        for index, row in enumerate(accuracies):
            each(index, row)
        return accuracies

    def fitness(self, accuracies: np.ndarray) -> np.ndarray:
        return accuracies.mean(axis=-1)  # type: ignore[no-any-return]


def search(storage: str, evaluations: int = 5, problem: Any = None) -> list[list[int]]:
    """Returns the widths of a search's history."""
    trial = Trial(problem or Quick(), evaluations, None)
    make_searcher("tpe", storage).propose(trial, 0)
    return [each.widths.tolist() for each in trial.history]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("half", [b'{"op_code":4,"wor', b"{", b'{"op_code":4,"worker_id":"x","study_id":0}'])
def test_a_journal_that_ends_in_half_a_line_goes_on(half: bytes) -> None:
    first = search("journal.log")
    with Path("journal.log").open("ab") as file:
        file.write(half)
    more = search("journal.log", 8)
    assert more[:5] == first
    assert len(more) == 8
    assert search("journal.log", 8) == more


@pytest.mark.parametrize("storage", ["new/folder/journal.log", "sqlite:///new/folder/study.db"])
def test_a_storages_folder_is_made(storage: str) -> None:
    first = search(storage)
    assert Path(storage.removeprefix("sqlite:///")).is_file()
    assert search(storage) == first


def test_a_journal_of_half_a_line_alone_begins_anew() -> None:
    Path("journal.log").write_bytes(b'{"op_co')
    assert len(search("journal.log")) == 5


@pytest.mark.parametrize("storage", ["notes.txt", "sqlite:///notes.txt"])
@pytest.mark.parametrize("content", ["what I did today\n", '{"a": 1}\n', "[]\n", "no line end"])
def test_a_file_that_is_no_storage_is_left_as_it_is(storage: str, content: str) -> None:
    Path("notes.txt").write_text(content)
    with pytest.raises(UsageError, match=r"notes\.txt is no .*, and is left as it is"):
        make_searcher("tpe", storage)
    assert Path("notes.txt").read_text() == content


def test_a_stale_lock_of_an_earlier_version_stops_nothing() -> None:
    Path("sub").mkdir()
    Path("sub/journal.log.lock").symlink_to("sub/journal.log")
    began = time.monotonic()
    assert len(search("sub/journal.log")) == 5
    assert time.monotonic() - began < 5


@pytest.mark.full
@pytest.mark.parametrize("storage", ["journal.log", "sqlite:///study.db"])
def test_a_storage_that_somebody_locks_is_waited_for_and_then_one_sentence(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(storage, 1)
    monkeypatch.setattr(optuna_storage, "PATIENCE_S", 0.5)
    if storage == "journal.log":
        lock = optuna_storage._Lock("journal.log")
        lock.acquire()
        release = lock.release
    else:
        connection = sqlite3.connect("study.db", check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        release = connection.close
    with pytest.raises(UsageError, match="locked by another process for"):
        search(storage, 2)
    monkeypatch.setattr(optuna_storage, "PATIENCE_S", 20.0)
    threading.Timer(0.3, release).start()
    assert len(search(storage, 2)) == 2


def test_a_storage_that_fails_in_the_midst_of_a_search_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, real, calls = Quick(), Quick.evaluate, []

    def evaluate(self: Quick, widths: np.ndarray, each: Callable[[int, np.ndarray], None]) -> np.ndarray:
        calls.append(1)
        if len(calls) == 3:
            Path("journal.log").unlink()
            Path("journal.log").mkdir()
        return real(self, widths, each)

    monkeypatch.setattr(Quick, "evaluate", evaluate)
    with pytest.raises(UsageError, match=r"cannot go on with the Optuna storage journal\.log: .*same command goes on"):
        search("journal.log", 5, problem)


@pytest.mark.full
def test_a_database_that_others_write_to_in_the_midst_of_a_search_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem, real = Quick(), Quick.evaluate

    def evaluate(self: Quick, widths: np.ndarray, each: Callable[[int, np.ndarray], None]) -> np.ndarray:
        other = sqlite3.connect("study.db", check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(held, other.close).start()
        return real(self, widths, each)

    monkeypatch.setattr(Quick, "evaluate", evaluate)
    monkeypatch.setattr(optuna_storage, "PATIENCE_S", 0.2)
    held = 1.0  # less than SQLite waits by itself
    with pytest.raises(UsageError, match=r"cannot go on with .*database is locked; .*same command goes on"):
        search("sqlite:///study.db", 1, problem)
    time.sleep(1)
    monkeypatch.setattr(optuna_storage, "PATIENCE_S", 20.0)
    held = 0.3
    assert len(search("sqlite:///study.db", 1, problem)) == 1


class Later(datetime):
    """The time of a clock that is a minute ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(minutes=1)


def _search_by_another_clock(ahead: bool, said: Any) -> None:
    if ahead:
        journal_storage.datetime = Later  # type: ignore[misc]
    said.send(search("journal.log", 12))


def test_processes_whose_clocks_differ_have_the_same_history() -> None:
    context = multiprocessing.get_context("fork")
    ends = [multiprocessing.Pipe(duplex=False) for _ in range(2)]
    for ahead, (_, saying) in zip((True, False), ends, strict=True):
        context.Process(target=_search_by_another_clock, args=(ahead, saying)).start()
    one, two = (said.recv() for said, _ in ends)
    assert len(one) == 12
    assert one == two


@pytest.mark.full
def test_an_evaluation_of_a_dead_process_is_given_up_and_one_that_ends_too_late_changes_nothing() -> None:
    search("journal.log", 1)
    storage = optuna_storage.open_storage("journal.log")
    study = optuna.load_study(study_name=None, storage=storage)
    dead = study.ask()
    history = search("journal.log", 4)
    assert len(history) == 4
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        dead.set_user_attr("widths", [1])
    assert search("journal.log", 4) == history


@pytest.mark.full
def test_an_evaluation_that_ends_while_histories_are_read_is_in_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    slow, quick, last = (study.ask() for _ in range(3))
    for each in (slow, quick, last):
        each.set_user_attr(optuna_samplers._WIDTHS, [1])
    for each in (quick, last):
        study.tell(each, 0.5)
    read = optuna_samplers._complete

    def ends_then(of: optuna.Study) -> list[optuna.trial.FrozenTrial]:
        done = read(of)
        study.tell(slow, 0.4, skip_if_finished=True)
        return done

    monkeypatch.setattr(optuna_samplers, "_complete", ends_then)
    assert [each.number for each in optuna_samplers._settled(study, 2)] == [0, 1]


def test_passwords_are_not_shown() -> None:
    with pytest.raises(UsageError) as error:
        search("nosql://me:secret@somewhere/x")
    assert "secret" not in str(error.value)
    assert not list(Path().iterdir())
