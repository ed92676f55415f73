"""Fifty kills at random moments: what runs again ends as if nothing had happened, and repeats nothing that was done."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from profilesearch.scoring.ledger import Ledger
from profilesearch.tasks.pools import Member

pytestmark = pytest.mark.survival


@dataclass(frozen=True)
class Victim:
    """A command, the files that count, and how often it is killed."""

    arguments: Sequence[str]
    results: Sequence[str]
    kills: int


COMMON = ["--arch", "resnet8", "--data", "digits"]
VICTIMS = {
    "train": Victim([*COMMON, "--evaluations", "60"], ["profiles/**/*.json", "runs/**/*.csv", "runs/**/*.json"], 14),
    "pool": Victim([*COMMON, "--seeds", "7", "--epochs", "5"], ["pools/resnet8/digits-seed7.safetensors"], 12),
    "study": Victim(
        [*COMMON, "--quick", "--only", "spread", "--workers", "1"], ["results/resnet8/*.csv", "results.md"], 12
    ),
    "apply": Victim([*COMMON, "--profile", "uniform", "--finetune", "3"], ["applied/*.safetensors"], 12),
}


@pytest.mark.parametrize("verb", VICTIMS)
def test_kills_at_random_moments_change_nothing(
    verb: str, tmp_path: Path, pool_dir: Path, members: list[Member]
) -> None:
    assert members
    victim = VICTIMS[verb]
    straight, seconds = _straight(verb, tmp_path / "straight", pool_dir)
    chance = random.Random(verb)
    place = _fresh(tmp_path / "killed", pool_dir)
    for kill in range(victim.kills):
        process = _start(verb, place)
        try:
            process.wait(chance.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            _check_ledger(place)
            continue
        assert process.returncode == 0, f"after {kill} kills"
        assert _contents(verb, place) == straight
        place = _fresh(tmp_path / f"killed{kill}", pool_dir)
    assert _start(verb, place).wait() == 0
    assert _contents(verb, place) == straight
    _check_ledger(place)


def _straight(verb: str, place: Path, pool_dir: Path) -> tuple[dict[str, bytes], float]:
    """Results of the undisturbed command, and how long it takes."""
    _fresh(place, pool_dir)
    start = time.monotonic()
    assert _start(verb, place).wait() == 0
    return _contents(verb, place), time.monotonic() - start


def _fresh(place: Path, pool_dir: Path) -> Path:
    place.mkdir()
    shutil.copytree(pool_dir, place / "pools")
    return place


def _start(verb: str, place: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"profilesearch.{verb}", *VICTIMS[verb].arguments, "--quiet"]
    return subprocess.Popen(command, cwd=place)


def _contents(verb: str, place: Path) -> dict[str, bytes]:
    """What the result files hold, by name; they must be there."""
    files = [path for pattern in VICTIMS[verb].results for path in sorted(place.glob(pattern))]
    assert files
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def _check_ledger(place: Path) -> None:
    """Nothing in a ledger is damaged but the line that was being written, and nothing was scored twice."""
    for path in place.glob("runs/**/ledger.jsonl"):
        lines = path.read_bytes().split(b"\n")[1:]
        keys = [line.split(b'"')[3] for line in lines if line.count(b'"') > 3]
        assert len(keys) == len(set(keys))
        assert Ledger(path).damaged <= 1
