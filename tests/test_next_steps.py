"""What `apply` says to do next, on the page that shows what changed: commands that can be given as they are."""

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from profilesearch import apply, train
from profilesearch.applying.advice import Facts, next_steps
from profilesearch.applying.against import Verdict
from profilesearch.tasks.pools import Member


def test_the_page_shows_what_changed_and_its_commands_can_be_given(
    place: Path, members: list[Member], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = place / "my own net.safetensors"
    mine.write_bytes(members[0].path.read_bytes())
    given = [
        "--arch",
        "resnet8",
        "--data",
        "digits",
        "--checkpoint",
        str(mine),
        "--profile",
        "uniform",
        "--keep",
        "0.2",
    ]
    apply.main(given)
    said = capsys.readouterr().out
    page = Path("applied/result.html").read_text()
    for title in (
        "Pruned: applied",
        "Accuracy against cost",
        "Test images whose class changed",
        "Load it",
        "What next",
    ):
        assert f"<h2>{title}</h2>" in page
    assert "(it is " in page
    assert 0 < page.count("<figcaption>") <= 24
    line = "from profilesearch import load_pruned; network = load_pruned('applied/pruned.safetensors')"
    assert line in said
    scope: dict[str, Any] = {}
    exec(line, scope)  # noqa: S102  it is what people paste
    assert scope["network"](torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    commands = [shlex.split(text) for text in said.splitlines() if text.startswith("    python -m profilesearch")]
    assert len(commands) >= 3
    for _, _, module, *words in commands:
        parser = {"profilesearch.apply": apply, "profilesearch.train": train}[module].parser()
        options = parser.parse_args(words)
        assert options.checkpoint in (str(mine), [str(mine)])
        assert options.data == ["digits"]
    assert {words[2] for words in commands} == {"profilesearch.apply", "profilesearch.train"}


FACTS = Facts(0.02, 0.3, 2, 0.02, 0.5, True, True, False, 0, None)
WORSE, UNSURE = (Verdict("uniform", -0.02, -0.03, high, "") for high in (-0.01, 0.01))
CASES: list[tuple[Facts, list[dict[str, Any]]]] = [
    (replace(FACTS, lost=0.0), [{"against": "uniform"}]),
    (replace(FACTS, lost=0.0, uniform=True), []),
    (FACTS, [{"finetune": 6}, {"against": "uniform"}]),
    (replace(FACTS, gained=None), [{"finetune": 10}, {"against": "uniform"}]),
    (replace(FACTS, gained=-0.1, verdict=UNSURE), [{"lr": 0.005}]),
    (replace(FACTS, lost=0.6, gained=-0.5, spoiled="fine-tuning lost 50.0 points"), [{"lr": 0.005}]),
    (replace(FACTS, verdict=WORSE), [{"finetune": 6}, {"profile": "uniform", "against": None}]),
    (replace(FACTS, lost=0.1, uniform=True), [{"finetune": 6}, {"keep": 0.75, "profile": None, "against": None}]),
    (
        replace(FACTS, lost=0.1, faster=False, uniform=True, named="taper"),
        [
            {"finetune": 6},
            {"keep": 0.75, "profile": "taper", "against": None},
            {"scope": "all", "profile": "taper", "against": None},
        ],
    ),
]


@pytest.mark.parametrize(("facts", "changes"), CASES)
def test_each_case_has_its_next_steps(facts: Facts, changes: list[dict[str, Any]]) -> None:
    asked: list[dict[str, Any]] = []

    def again(**changed: Any) -> str:
        asked.append(changed)
        return "again"

    steps = next_steps(facts, again, lambda: "search")
    assert asked == changes
    assert [step.command for step in steps] == ["again"] * len(changes) + ["search"]
    assert all(one != other for one, other in pairwise(steps))


def test_where_nothing_was_cut_less_is_kept_next() -> None:
    steps = next_steps(replace(FACTS, keep=1.0, whole=True), lambda **changed: str(changed), lambda: "search")
    assert [step.command for step in steps] == ["{'keep': 0.5, 'profile': None, 'against': None}"]


def test_a_search_that_was_just_done_is_not_suggested_again() -> None:
    (step,) = next_steps(replace(FACTS, lost=0.0, uniform=True, searched=40), lambda **_: "", lambda **told: str(told))
    assert (step.why, step.command) == ("search on, 120 profiles instead of 40:", "{'evaluations': 120}")
