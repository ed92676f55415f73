"""The score, the ledger and the problem."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from profilesearch.errors import UsageError
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget
from profilesearch.scoring import prepared
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.names import STATISTICS
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import SAMPLE, Scorer, ScoreSettings, default_settings, reestimate
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.sources import open_data
from profilesearch.tasks.splits import split


def scorer(member: Member, data: DataSet, problem: Problem, settings: ScoreSettings) -> Scorer:
    parts = split(data)
    search, train = parts.images(data, "search"), parts.images(data, "train")
    return Scorer(member.load(), problem.space.table, data, search, train, settings)


def test_full_network_without_statistics_scores_its_accuracy(
    problem: Problem, members: list[Member], digits: DataSet
) -> None:
    plain = scorer(members[0], digits, problem, ScoreSettings(statistics="none"))
    expected = accuracy(members[0].load(), digits, split(digits).images(digits, "search"), "fp32")
    assert plain.score(problem.space.table.channels) == pytest.approx(expected)


@pytest.mark.full
@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("criterion", ["l1", "random", "taylor"])
def test_scores_are_pure(
    problem: Problem, members: list[Member], digits: DataSet, statistics: str, criterion: str
) -> None:
    settings = replace(default_settings(), statistics=statistics, criterion=criterion)
    profiles = problem.space.sample(3, np.random.default_rng(0))
    one = scorer(members[0], digits, problem, settings)
    first = [one.score(widths) for widths in profiles]
    torch.manual_seed(99)
    other = scorer(members[0], digits, problem, settings)
    assert [other.score(widths) for widths in profiles[::-1]] == first[::-1]
    assert one.digest == other.digest


@pytest.mark.full
@pytest.mark.parametrize("statistics", STATISTICS)
def test_images_that_are_not_held_give_the_same_score(
    problem: Problem, members: list[Member], digits: DataSet, statistics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(default_settings(), statistics=statistics, batch=50)
    widths, many = problem.space.sample(1, np.random.default_rng(0))[0], prepared.HELD
    scores = {}
    for most in (many, 0):
        monkeypatch.setattr(prepared, "HELD", most)
        scores[most] = [scorer(members[0], digits, problem, settings).score(widths) for _ in range(2)]
    assert scores[many] == scores[0]


def test_a_sample_of_all_images_gives_the_score_of_one_batch(
    problem: Problem, members: list[Member], digits: DataSet
) -> None:
    settings = ScoreSettings("sample", images=SAMPLE, batch=SAMPLE)
    profiles = problem.space.sample(4, np.random.default_rng(0))
    one, other = (scorer(members[0], digits, problem, replace(settings, statistics=s)) for s in ("sample", "batch"))
    expected = [other.score(widths) for widths in profiles]
    assert [one.score(widths) for widths in profiles] == pytest.approx(expected, abs=0.02)  # n - 1 instead of n


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("statistics", STATISTICS)
def test_a_gpu_scores_as_the_processor_does(
    problem: Problem, members: list[Member], digits: DataSet, statistics: str
) -> None:
    settings = replace(default_settings(250), statistics=statistics, precision="fp32")
    cuda = Problem(
        members[:1], {"digits": digits}, Budget("macs", 0.5), settings, Ledger(), device=torch.device("cuda")
    )
    cpu = Problem(members[:1], {"digits": digits}, Budget("macs", 0.5), settings, Ledger())
    profiles = problem.space.sample(8, np.random.default_rng(0))
    np.testing.assert_allclose(cuda.evaluate(profiles), cpu.evaluate(profiles), atol=0.01)
    assert cuda.digest != cpu.digest


class Scaled(nn.Module):
    """With a parameter that is no layer's, and a layer over one dimension."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.one, self.two, self.out = nn.Conv2d(1, 16, 3), nn.Conv1d(16, 12, 3), nn.Linear(12, 10)
        self.scale = nn.Parameter(torch.full((1, 16, 1, 1), 0.9)) if own else 0.9

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.out(self.two((self.one(images) * self.scale).relu().flatten(2)).relu().mean(2))
        return scores


@pytest.mark.parametrize("own", [False, True])
def test_what_is_no_layer_runs_in_half_precision_too(digits: DataSet, own: bool) -> None:
    torch.manual_seed(0)
    network, images = Scaled(own).eval(), digits.train[:100]
    table = Plan("own", network, (1, 8, 8)).table
    widths = np.array([group.channels // 2 for group in table.groups])
    settings = [replace(default_settings(100), precision=each, measure="loss") for each in ("fp32", "bf16")]
    whole, half = (Scorer(network, table, digits, images, images, each).score(widths) for each in settings)
    assert whole != half == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize("weights", [parametrizations.orthogonal, parametrizations.weight_norm])
def test_weights_that_a_layer_computes_are_computed_in_full_precision(
    digits: DataSet, weights: Callable[[nn.Module], nn.Module]
) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), weights(nn.Conv2d(16, 12, 3)), nn.BatchNorm2d(12)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10)).eval()
    table, images = Plan("own", network, (1, 8, 8)).table, digits.train[:600]
    settings = [replace(default_settings(600), precision=each, measure="loss") for each in ("fp32", "bf16")]
    whole, half = (Scorer(network, table, digits, images, images, s).score(table.channels) for s in settings)
    assert whole != half == pytest.approx(whole, rel=0.02)


class Floor(nn.Module):
    """Its own code asks for six channels or more, which few widths of a check at random miss."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(1, 64, 3), nn.Conv2d(64, 8, 3), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        assert x.shape[1] > 5, "six channels or more wanted"
        return self.fc(self.b(x).mean((2, 3)))


def test_a_network_that_does_not_run_at_some_widths_is_one_sentence(digits: DataSet) -> None:
    images = digits.normalize(digits.train[:100].pixels, 1)
    problem = Problem.of(Floor(), images, digits.train[:100].labels, Budget("macs", 0.5))
    widths = problem.space.table.channels.copy()
    widths[list(problem.space.table.names).index("a")] = 5
    with pytest.raises(UsageError, match=r"does not run where its groups keep 5, .*six channels or more wanted"):
        problem.evaluate(widths[None])


def test_few_images_are_scored_in_one_pass() -> None:
    assert [default_settings(images).statistics for images in (125, 1000)] == ["batch", "sample"]


@pytest.mark.full
def test_statistics_matter(problem: Problem, members: list[Member], digits: DataSet) -> None:
    profiles = problem.space.sample(5, np.random.default_rng(0))

    def mean(statistics: str) -> float:
        one = scorer(members[0], digits, problem, replace(default_settings(), statistics=statistics))
        return float(np.mean([one.score(widths) for widths in profiles]))

    assert min(mean("batch"), mean("reestimate")) > mean("none") + 0.2


def test_layers_that_do_not_run_keep_their_statistics() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, images: Tensor, other: bool = False) -> Tensor:
            made: Tensor = self.other(images) if other else self.one(images)
            return made

    network = Heads()
    network(5 + torch.randn(8, 3, 4, 4), other=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    reestimate(network.eval(), [network.one, network.other], [5 + torch.randn(8, 3, 4, 4)])
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("other"))
    assert after["one.running_mean"].mean() == pytest.approx(5, abs=0.3)


def test_keys_tell_models_settings_and_profiles_apart(problem: Problem, members: list[Member], digits: DataSet) -> None:
    base = default_settings()
    variants = [base, replace(base, images=100), replace(base, criterion="l2"), replace(base, statistics="none")]
    scorers = [scorer(members[0], digits, problem, settings) for settings in variants]
    scorers.append(scorer(members[1], digits, problem, base))
    keys = {one.key(widths) for one in scorers for widths in problem.space.sample(4, np.random.default_rng(0))}
    assert len(keys) == 5 * 4


@pytest.mark.full
def test_ledger_keeps_scores_and_skips_damage(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.jsonl"
    ledger = Ledger(path)
    for index in range(20):
        ledger.put(f"key{index}", index / 20, model="m")
    content = path.read_bytes()
    dice = random.Random(0)
    for _ in range(100):
        broken = bytearray(content)
        at = dice.randrange(content.index(b"\n") + 1, len(content))
        broken[at] ^= 1 << dice.randrange(8)
        path.write_bytes(broken)
        read = Ledger(path)
        found = {index: read.get(f"key{index}") for index in range(20)}
        assert all(score in (None, index / 20) for index, score in found.items())
        assert sum(score is None for score in found.values()) in (1, 2)  # two, where the line's end was hit
    header, *rows = content.splitlines()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        if 0 < length < len(header):
            with pytest.raises(UsageError, match="no ledger"):
                Ledger(path)
            continue
        whole = set(content[:length].splitlines()) & set(rows)
        read = Ledger(path)
        assert len(read) == len(whole)
        read.put("new", 0.5)
        again = Ledger(path)
        assert again.get("new") == 0.5
        assert len(again) == len(whole) + 1


def test_a_ledger_that_is_deleted_meanwhile_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.put("a", 0.25)
    shutil.rmtree(path.parent)
    ledger.put("b", 0.5)
    again = Ledger(path)
    assert [again.get("a"), again.get("b"), again.damaged] == [0.25, 0.5, 0]
    shutil.rmtree(path.parent)
    again.put("c", 0.75)
    assert len(Ledger(path)) == 3


def test_foreign_files_are_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("once upon a time\n")
    with pytest.raises(UsageError, match="no ledger of this version"):
        Ledger(tmp_path / "x")


def test_two_processes_share_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    code = (
        "import sys; from pathlib import Path; from profilesearch.scoring.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "print(flush=True); sys.stdin.readline()\n"
        "for index in range(300):\n"
        "    ledger.put(f'{sys.argv[2]}{index}', index / 300, padding='x' * 200)\n"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", code, path, name], **pipes) for name in "ab"]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:  # both are there: they write at once
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=300)
    assert [writer.returncode for writer in writers] == [0, 0]
    ledger = Ledger(path)
    assert ledger.damaged == 0
    assert len(ledger) == 600


def test_a_killed_writer_loses_nothing_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    code = (
        "import sys; from pathlib import Path; from profilesearch.scoring.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for index in range(10**9):\n"
        "    ledger.put(f'key{index}', 0.5); print(index, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.2)
        os.kill(writer.pid, signal.SIGKILL)
        reported = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    ledger = Ledger(path)
    assert all(ledger.get(f"key{index}") == 0.5 for index in range(reported[-1] + 1))


def test_a_full_disk_is_one_sentence_and_recovers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    code = (
        "import resource, sys; from pathlib import Path; from profilesearch.scoring.ledger import Ledger\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "try:\n"
        "    for index in range(1000): ledger.put(f'key{index}', 0.5)\n"
        "except Exception as error: print(type(error).__name__, error, index)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
    assert said.startswith("UsageError cannot write")
    ledger = Ledger(path)
    assert len(ledger) == int(said.split()[-1])
    ledger.put("new", 0.25)
    assert Ledger(path).get("new") == 0.25


def test_problem_looks_scores_up(members: list[Member], digits: DataSet, tmp_path: Path) -> None:
    def make() -> Problem:
        ledger = Ledger(tmp_path / "ledger.jsonl")
        return Problem(members, {"digits": digits}, Budget("macs", 0.5), default_settings(), ledger)

    problem = make()
    profiles = problem.space.sample(3, np.random.default_rng(0))
    first = problem.evaluate(profiles)
    assert first.shape == (3, 2)
    size = (tmp_path / "ledger.jsonl").stat().st_size
    assert np.array_equal(make().evaluate(profiles), first)
    assert (tmp_path / "ledger.jsonl").stat().st_size == size
    assert problem.fitness(problem.base()[None]) == pytest.approx([1.0])


def test_parts_share_what_is_found_on_training_images(members: list[Member], digits: DataSet) -> None:
    settings = replace(default_settings(50), criterion="reconstruction", refit=True, statistics_images=64)
    problem = Problem(members[:1], {"digits": digits}, Budget("macs", 0.5), settings, Ledger())
    (widths,), parts = problem.space.sample(1, np.random.default_rng(0)), split(digits, members[0].split_seed)
    images, train = (parts.images(digits, part) for part in ("choose", "train"))
    alone = Scorer(members[0].load(), problem.space.table, digits, images, train, replace(settings, images=len(images)))
    assert problem.evaluate(widths[None], "choose")[0, 0] == alone.score(widths)
    assert problem.used("choose") == (alone.settings,)


def test_empty_pool_says_the_fix(digits: DataSet) -> None:
    with pytest.raises(UsageError, match="pool is empty"):
        Problem([], {"digits": digits}, Budget(), default_settings(), Ledger())


@pytest.mark.parametrize("score", ["NaN", "-7", "1e300", "true", '"0.5"', "null", str(10**400)])
def test_a_score_that_is_no_accuracy_is_not_believed_whatever_its_checksum(tmp_path: Path, score: str) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.put("good", 0.5)
    with path.open("ab") as file:
        for text in (f'{{"key":"bad","score":{score}}}', f"[{score}]", '{"key":7,"score":0.5}'):
            file.write(b"%08x %s\n" % (crc32(text.encode()), text.encode()))
    read = Ledger(path)
    assert read.get("bad") is None
    assert read.get("good") == 0.5
    assert (len(read), read.damaged) == (1, 3)
    with pytest.raises(ValueError, match=r"a score must be in \[0, 1\]"):
        read.put("bad", float("nan"))


def test_keys_and_records_say_what_was_used(problem: Problem, members: list[Member], digits: DataSet) -> None:
    some = scorer(members[0], digits, problem, replace(default_settings(), images=287, seed=0))
    more = scorer(members[0], digits, problem, replace(default_settings(), images=5000, seed=7))
    assert some.digest == more.digest  # 287 images are there, and l1 draws nothing
    assert (more.settings.images, more.settings.seed) == (287, 0)
    drawn = [
        scorer(members[0], digits, problem, replace(default_settings(), criterion="random", seed=seed)).digest
        for seed in (0, 7)
    ]
    assert drawn[0] != drawn[1]
    assert [used.images for used in problem.used()] == [287]
    other = open_data("digits@16")
    assert len(split(other).search) == 287
