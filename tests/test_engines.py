"""Engines: the same scores everywhere, and none lost with a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from forked import start

from agents import RandomSearcher, make_searcher
from agents.base import Result
from profilesearch import train
from profilesearch.errors import UsageError
from profilesearch.networks.cost import FloatArray
from profilesearch.profiles import Budget
from profilesearch.scoring.engines import Engine, LocalEngine, ProcessEngine, open_engine
from profilesearch.scoring.engines.ray import RayEngine
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.names import ENGINES
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.system import processes
from profilesearch.tasks.data import DataSet, load_data
from profilesearch.tasks.pools import Member

Make = Callable[[Engine, Ledger], Problem]
pytestmark = [
    pytest.mark.full,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.xdist_group("engines"),  # one cluster at a time, whose workers are killed; forked commands: one import
]


@pytest.fixture(scope="module")
def make(members: list[Member], digits: DataSet) -> Make:
    def problem(engine: Engine, ledger: Ledger) -> Problem:
        return Problem(members, {"digits": digits}, Budget("macs", 0.5), default_settings(), ledger, engine=engine)

    return problem


@pytest.fixture(scope="module", params=ENGINES[1:])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Every engine with workers; Ray's are those of a real cluster."""
    if request.param == "ray":
        pytest.importorskip("ray")
    with open_engine(request.param, workers=2) as opened:
        yield opened


def test_an_engine_gives_the_local_scores(make: Make, engine: Engine) -> None:
    profiles = make(LocalEngine(), Ledger()).space.sample(4, np.random.default_rng(0))
    twice = np.concatenate([profiles, profiles[:2]])
    expected = make(LocalEngine(), Ledger()).evaluate(twice)
    told: list[int] = []

    def each(index: int, accuracies: FloatArray) -> None:
        told.append(index)
        np.testing.assert_array_equal(accuracies, expected[index])

    ledger = Ledger()
    np.testing.assert_array_equal(make(engine, ledger).evaluate(twice, each=each), expected)
    assert told == list(range(6))
    assert len(ledger) == 8  # four profiles on two members; what was asked twice was scored once


SEARCHED = 24
"""Profiles: enough that work is left when a worker is killed."""


@pytest.fixture(scope="module")
def undisturbed(make: Make) -> Result:
    return RandomSearcher().search(make(LocalEngine(), Ledger()), SEARCHED)


def test_a_search_survives_its_workers(make: Make, engine: Engine, undisturbed: Result, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(done: int, _: int, __: float) -> None:
        if done in (4, 16):
            killed.extend([number for number in _workers(engine) if number not in killed][:1])
            os.kill(killed[-1], signal.SIGKILL)

    ledger = Ledger(tmp_path / "ledger.jsonl")
    result = RandomSearcher().search(make(engine, ledger), SEARCHED, progress=kill)
    assert len(killed) == 2
    assert [e.fitness for e in result.history] == [e.fitness for e in undisturbed.history]
    assert result.winner.fresh == undisturbed.winner.fresh
    again = Ledger(tmp_path / "ledger.jsonl")
    assert (len(again), again.damaged) == (len(ledger), 0)


def _workers(engine: Engine) -> list[int]:
    """Process numbers of an engine's living workers."""
    if isinstance(engine, ProcessEngine):
        return engine._workers.numbers
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().startswith((b"ray::_score", b"ray::IDLE")):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_workers_that_always_die_end_in_one_sentence(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "RESTARTS", 1)
    with ProcessEngine(1) as engine:
        problem = make(engine, Ledger())
        problem.base()
        broken = problem._scorers["search"][0]
        broken.digest += "-deadly"
        broken._pruner = _Deadly()  # type: ignore[assignment]
        with pytest.raises(UsageError, match="fewer `workers`"):
            problem.evaluate(problem.space.uniform()[None])


def _dies_once(folder: Path, name: str) -> str:
    """Notes every call; `poison` kills the worker at its first."""
    calls = folder / name
    with calls.open("a") as file:
        file.write(".")
    if name == "poison" and calls.read_text() == ".":
        os.kill(os.getpid(), signal.SIGKILL)
    return name.upper()


def test_a_study_goes_on_when_a_worker_dies_and_repeats_nothing_that_was_finished(tmp_path: Path) -> None:
    pool = processes.Workers(1)
    names = ["one", "two", "poison", "three"]
    found = dict(pool.results(_dies_once, [(tmp_path, name) for name in names]))
    pool.close()
    assert found == dict(enumerate(map(str.upper, names)))
    assert {name: len((tmp_path / name).read_text()) for name in names} == {"one": 1, "two": 1, "poison": 2, "three": 1}


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import signal, threading, time; from multiprocessing import forkserver; from pathlib import Path\n"
        "from profilesearch.system.processes import Workers\n"
        "if __name__ == '__main__':\n"
        "    workers = Workers(2)\n"
        "    workers._running('time')\n"
        "    status = Path('/proc', str(forkserver._forkserver._forkserver_pid), 'status').read_text()\n"
        "    print(int(status.split('SigIgn:')[1].split()[0], 16) >> signal.SIGINT - 1 & 1)\n"
        "    threading.Thread(target=lambda: list(workers.results(time.sleep, [(600,)] * 2)), daemon=True).start()\n"
        "    while len(workers.numbers) < 2:\n"
        "        time.sleep(0.1)\n"
        "    print(*workers.numbers, flush=True)\n"
        "    time.sleep(600)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        deaf = parent.stdout.readline()
        workers = [int(number) for number in parent.stdout.readline().split()]
        time.sleep(3)  # they have started
        parent.kill()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(workers) == 2
    assert deaf == "1\n"  # what they come from ignores Ctrl-C while it imports


class _Deadly:
    """Kills the process that scores with it."""

    def prune(self, *_: object, **__: object) -> None:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)


def test_bad_engines() -> None:
    with pytest.raises(UsageError, match="unknown engine 'rai'; did you mean ray"):
        open_engine("rai")
    with pytest.raises(UsageError, match="workers must be 0 or more, got -1"):
        open_engine("processes", workers=-1)


@pytest.mark.parametrize("kind", ["LocalRayletDiedError", "RaySystemError", "ConnectionError"])
def test_a_ray_cluster_that_is_gone_is_one_sentence(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    gone = ConnectionError("gone") if kind == "ConnectionError" else getattr(ray.exceptions, kind)("gone")
    engine = object.__new__(RayEngine)

    def broken(*_: object) -> Iterator[tuple[int, float]]:
        raise gone
        yield 0, 0.0

    engine._ray = ray
    monkeypatch.setattr(engine, "_scores", broken)
    with pytest.raises(UsageError, match="the Ray cluster is gone; every score so far is in the ledger"):
        list(engine.scores([], []))


def test_ray_says_when_there_is_no_cluster() -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match=r"no Ray cluster at .* leave `address` out"):
        open_engine("ray", address="127.0.0.1:1")


@pytest.mark.parametrize("storage", ["sqlite:///study.db", "journal.log"])
def test_two_processes_share_one_optuna_study(
    members: list[Member],
    tmp_path: Path,
    storage: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--arch", "resnet8", "--data", "digits", "--checkpoint", str(members[0].path), "--json"]
    options += ["--searcher", "tpe", "--evaluations", "6", "--images", "50", "--storage", storage]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads of two processes on few cores wait for one another
    said = [tmp_path / f"said{i}" for i in range(2)]
    started = [
        start("train", [*options, "--runs", f"runs{i}", "--store", f"store{i}"], tmp_path, said[i]) for i in range(2)
    ]
    for process in started:
        process.join(300)
    results = [json.loads(path.read_text()) for path in said]
    histories = [(tmp_path / result["run"] / "history.csv").read_text() for result in results]
    assert histories[0] == histories[1]
    assert len(histories[0].splitlines()) == 1 + 6
    # Together they scored 6 profiles and at most one more that was under way. Each of them also scored the full, the
    # uniform and the widest one on search images, there the full one as it is, too, which is said, and the full one and
    # at most 8 finalists, these two among them, on the images that choose and on fresh ones.
    scored = [len(Ledger(tmp_path / f"runs{i}" / "ledger.jsonl")) for i in range(2)]
    assert 6 <= sum(scored) <= 6 + 1 + 2 * (4 + 9 + 9)
    monkeypatch.chdir(tmp_path)
    train.main([*options, "--runs", "runs0", "--store", "s"])
    assert json.loads(capsys.readouterr().out)["score"] == results[0]["score"]
    assert len(Ledger(tmp_path / "runs0" / "ledger.jsonl")) == scored[0]


def test_a_bad_storage_is_one_sentence(members: list[Member], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not for random"):
        make_searcher("random", "sqlite:///x.db")
    problem = Problem(members[:1], {"digits": load_data("digits")}, Budget("macs", 0.5), default_settings(), Ledger())
    with pytest.raises(UsageError, match="cannot open the Optuna storage nosql://x"):
        make_searcher("tpe", "nosql://x").search(problem, 3)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        make_searcher("tpe", f"sqlite:///{tmp_path}/file/x.db").search(problem, 3)


def test_curves_of_a_search_for_tensorboard(
    members: list[Member], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    common = ["--arch", "resnet8", "--data", "digits", "--checkpoint", str(members[0].path), "--quiet"]
    folders = ["--store", f"{tmp_path}/s", "--runs", f"{tmp_path}/r", "--tensorboard", f"{tmp_path}/t"]
    train.main([*common, "--evaluations", "20", "--images", "50", *folders])
    assert capfd.readouterr() == ("", "")
    events = reader.EventAccumulator(str(tmp_path / "t"))
    events.Reload()
    best = [event.value for event in events.Scalars("search/best fitness")]
    assert len(best) == 20
    assert best == sorted(best)
    assert len(events.Scalars("search/fitness of policy")) >= 2
    assert 0 < events.Scalars("search/own cost of proposals")[0].value < 1
