"""Interrupted work: a training is kept until its result is safe, and beside those of other settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from profilesearch import apply
from profilesearch.applying import making, running, writing
from profilesearch.cli.console import Output
from profilesearch.networks.architectures import build
from profilesearch.research.study.jobs import FineTune, Sources
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.sizes import QUICK
from profilesearch.tasks import pools, training
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member, pool_path, train_member
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.training import train
from profilesearch.tasks.unfinished import Unfinished

SHORT = Recipe(epochs=2, lr=0.05, batch=64, shift=1)


@pytest.fixture
def small(digits: DataSet) -> DataSet:
    return replace(digits, train=digits.train[:320])


@contextmanager
def killed(monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> Iterator[None]:
    """Interrupts whatever runs in the block when it calls a function."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(where, name, stop)
        yield


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that are trained, as they begin."""
    begun: list[int] = []
    real = training._epoch

    def epoch(*arguments: object) -> Iterator[None]:
        begun.append(arguments[2])  # type: ignore[arg-type]
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_epoch", epoch)
    return begun


@pytest.mark.full
def test_a_member_that_was_stopped_while_it_was_measured_is_not_trained_again(
    small: DataSet, tmp_path: Path, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("accuracy", "save_network"):
        with killed(monkeypatch, pools, name):
            train_member("resnet8", small, 0, tmp_path, SHORT)
    assert epochs == [0, 1]
    member = train_member("resnet8", small, 0, tmp_path, SHORT)
    assert epochs == [0, 1]
    assert [path.name for path in member.path.parent.iterdir()] == [member.path.name]
    straight = train_member("resnet8", small, 0, tmp_path / "straight", SHORT)
    assert straight.path.read_bytes() == member.path.read_bytes()


@pytest.mark.full
def test_trainings_of_other_settings_stand_side_by_side(
    small: DataSet, tmp_path: Path, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for recipe in (SHORT, replace(SHORT, epochs=1), replace(SHORT, lr=0.01)):
        with killed(monkeypatch, pools, "save_network"):
            train_member("resnet8", small, 0, tmp_path, recipe)
    other = replace(small, mean=(0.2,))
    with killed(monkeypatch, pools, "save_network"):
        train_member("resnet8", other, 0, tmp_path, SHORT)
    assert epochs == [0, 1, 0, 0, 1, 0, 1]
    path = pool_path(tmp_path, "resnet8", "digits", 0)
    assert len(list(path.parent.iterdir())) == 4
    train_member("resnet8", small, 0, tmp_path, SHORT)
    assert len(epochs) == 7
    assert len(list(path.parent.iterdir())) == 4  # the member, and the three that are not finished


def test_another_teacher_is_another_training(small: DataSet, tmp_path: Path, epochs: list[int]) -> None:
    def network(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return build("resnet8", 10, 1)

    recipe = replace(SHORT, epochs=1, distill=0.5)
    for teacher in (1, 2, 1):
        train(network(0), small, small.train, recipe, network(teacher).eval(), resume=Unfinished(tmp_path / "state"))
    assert epochs == [0, 0]


@pytest.fixture
def member(small: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Member:
    """A poor network in a folder without anything else, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return train_member("resnet8", small, 0, tmp_path / "poor", replace(SHORT, epochs=1))


@pytest.mark.full
def test_apply_stopped_after_its_training_does_not_repeat_it(
    member: Member, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs.clear()
    command = ["--arch", "resnet8", "--data", "digits", "--checkpoint", str(member.path), "--profile", "uniform"]
    command += ["--finetune", "1", "--quiet"]
    monkeypatch.setattr(making, "not_faster", lambda *_: "")
    monkeypatch.setattr(making, "measure_speed", lambda *_: ())
    for stage in ("save_network", "measure"):
        with killed(monkeypatch, writing, stage):
            apply.main(command)
    assert len(list(Path().rglob("*resume*"))) == 1
    monkeypatch.setattr(running, "write", lambda *_: None)
    apply.main(command)
    assert epochs == [0]
    assert not list(Path().rglob("*resume*"))


@pytest.mark.full
def test_a_studys_training_is_kept_until_its_row_is_written(
    member: Member, tmp_path: Path, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs.clear()
    sources = Sources("resnet8", (member,), None, tmp_path / "work")
    output = Output(False, Console(quiet=True))
    lab = Lab(sources, (member.name,), (member.name,), tmp_path, QUICK, 1, output, tmp_path)
    job = FineTune(member.name, tuple(lab.space(0.5).uniform().tolist()))
    with killed(monkeypatch, lab._tuned, "put"):
        lab.finetunes([job])
    lab.finetunes([job])
    assert epochs == [0]
    assert not list((tmp_path / "work").iterdir())
