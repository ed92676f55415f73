"""What profiles are judged by as `apply` would use them: the very networks that `apply` writes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profilesearch import apply, load_pruned
from profilesearch.applying import subject
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.networks.criteria import MOST_SEEN
from profilesearch.profiles import Budget
from profilesearch.research.policy.applied import Applied
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import MOST, Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.data import DataSet, load_data
from profilesearch.tasks.pools import Member
from profilesearch.tasks.splits import split


@pytest.mark.parametrize("keep", [0.15, 0.2])
def test_accuracies_as_applied_are_those_of_what_apply_writes(
    keep: float, place: Path, members: list[Member], digits: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "MOST_SEEN", MOST_SEEN)
    settings = replace(default_settings(), criterion="reconstruction")
    problem = Problem(members[:1], {"digits": digits}, Budget("macs", keep), settings, Ledger())
    widths = problem.space.sample(1, np.random.default_rng(0))[0]
    problem.space.profile(widths, {}).save("some.json")
    checkpoint = ["--arch", "resnet8", "--checkpoint", str(members[0].path), "--data", "digits"]
    apply.main([*checkpoint, "--profile", "some.json", "--quiet"])
    [(full, _, images, labels)] = problem.seen(MOST, "fresh")
    networks = load_pruned("applied/pruned.safetensors"), full
    pruned, unpruned = (float((network(images).argmax(dim=1) == labels).sum()) for network in networks)
    assert 0 < pruned < unpruned
    assert Applied(problem).worth(problem.space, widths) == pytest.approx(pruned / unpruned)


def test_accuracies_as_applied_are_known_by_the_images_that_layers_are_fitted_on(tmp_path: Path) -> None:
    digits, ledger, budget = load_data("digits"), Ledger(), Budget("macs", 0.3)
    pixels = digits.train.pixels.clone()
    pixels[split(digits).train] = 0
    blank = replace(digits, train=replace(digits.train, pixels=pixels))
    file = tmp_path / "full.safetensors"
    save_network(file, build("resnet8", 10, 1), {"architecture": "resnet8", "num_classes": 10, "in_channels": 1})
    member = Member("mine", "resnet8", "digits", file, "all", 0)
    for data, entries in ((digits, 1), (digits, 1), (blank, 2)):
        problem = Problem([member], {"digits": data}, budget, default_settings(100), ledger)
        Applied(problem).worth(problem.space, problem.space.uniform())
        assert len(ledger) == entries
