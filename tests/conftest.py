"""Real things, made once: a small network trained on real digits, and the problem around it."""

import os

_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _WORKERS > 1:  # before torch is imported, and for the commands that tests start
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _WORKERS)))

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from profilesearch import refitting
from profilesearch.applying import subject
from profilesearch.measure import speed
from profilesearch.networks import latency
from profilesearch.networks.clock import pass_times
from profilesearch.profiles import Budget
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.data import DataSet, load_data
from profilesearch.tasks.pools import Member, default_recipe, foreign_member, train_member

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

LONG = {"place", "runs", "upstream", "data_dir", "weights_dir"}
"""Fixtures of tests that are part of the full suite alone: commands on trained networks, real data."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if LONG & set(item.fixturenames) and not item.get_closest_marker("survival"):
            item.add_marker("full")
    items.sort(key=lambda item: item.get_closest_marker("full") is None)  # no worker is left with a long one at the end


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Networks with random weights are the same ones in every run."""
    torch.manual_seed(0)


EPOCHS = 12
"""Of the members: enough for 95 % of the images, and under half of the default."""


@pytest.fixture(scope="session")
def digits() -> DataSet:
    return load_data("digits")


@pytest.fixture(scope="session")
def pool_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="session")
def train_once(digits: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a network on digits in a few seconds: once for all workers."""
    worker, base = os.environ.get("PYTEST_XDIST_WORKER"), tmp_path_factory.getbasetemp()
    shared = (base.parent if worker else base) / "trained"
    shared.mkdir(exist_ok=True)

    def train(name: str, seed: int, epochs: int = EPOCHS) -> Path:
        with (shared / f"{name}-{seed}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return train_member(name, digits, seed, shared, replace(default_recipe(digits), epochs=epochs)).path

    return train


@pytest.fixture(scope="session")
def members(digits: DataSet, pool_dir: Path, train_once: Callable[..., Path]) -> list[Member]:
    """Two ResNet-8s, of which each worker has its own copy."""
    first = int(os.environ.get("PYTEST_XDIST_WORKER") == "gw1")  # so that two workers train one each
    (pool_dir / "resnet8").mkdir()
    for seed in (first, 1 - first):
        shutil.copy(train_once("resnet8", seed), pool_dir / "resnet8")
    return [train_member("resnet8", digits, seed, pool_dir) for seed in (0, 1)]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As many as other processes have: how half-precision sums are rounded depends on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="session")
def brief() -> Iterator[None]:
    """How fast a pruned network is matters to no test, how well it is refitted to few: most of the time of `apply`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "_BLOCK_S", 0.005)
        patch.setattr(speed, "_ROUNDS", 1)
        patch.setattr(latency, "pass_times", partial(pass_times, rounds=1))
        patch.setattr(refitting, "_REFIT_IMAGES", 100)
        patch.setattr(subject, "MOST_SEEN", 100)
        yield


@pytest.fixture
def place(tmp_path: Path, pool_dir: Path, members: list[Member], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a pool on digits that is trained already, and no other data."""
    assert members
    (tmp_path / "pools").symlink_to(pool_dir)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROFILESEARCH_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def problem(members: list[Member], digits: DataSet) -> Problem:
    return Problem(members[:1], {"digits": digits}, Budget("macs", 0.5), default_settings(), Ledger())


@pytest.fixture(scope="session")
def deeper(train_once: Callable[..., Path], digits: DataSet) -> Problem:
    """The same around a ResNet-20, where the number of groups matters."""
    member = foreign_member("resnet20", train_once("resnet20", 0, 5), digits)
    return Problem([member], {"digits": digits}, Budget("macs", 0.5), default_settings(), Ledger())


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with CIFAR-10; the test is skipped without it."""
    folder = os.environ.get("PROFILESEARCH_DATA")
    if not folder or not (Path(folder) / "cifar-10-batches-py").is_dir():
        pytest.skip("set PROFILESEARCH_DATA to a folder with CIFAR-10")
    return Path(folder)


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Folder with public checkpoints; the test is skipped without it."""
    folder = os.environ.get("PROFILESEARCH_WEIGHTS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set PROFILESEARCH_WEIGHTS to a folder with public checkpoints")
    return Path(folder)


@pytest.fixture(scope="session")
def write_images() -> Callable[..., Path]:
    """Writes a small image folder: pictures of one colour a class, of several sizes."""

    def write(folder: Path, classes: Sequence[str], count: int = 10) -> Path:
        """Writes pictures of one colour a class, of several sizes."""
        random = np.random.default_rng(0)
        for place, name in enumerate(classes):
            (folder / name).mkdir(parents=True)
            for index in range(count):
                shape = (20 + index, 30, 3)
                pixels = np.clip(random.normal(60 + 120 * place, 20, shape), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{index}.png")
        return folder

    return write
