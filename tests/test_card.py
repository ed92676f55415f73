"""The model card: what it says is what was measured on the network as it was read back."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from profilesearch import apply
from profilesearch.applying.card import _mended
from profilesearch.system.folders import APPLIED
from profilesearch.tasks.pools import Member


def test_the_card_has_the_reports_figures_and_a_command_that_makes_it_again(place: Path, members: list[Member]) -> None:
    (place / "my net.safetensors").symlink_to(members[0].path)
    options = ["--arch", "resnet8", "--data", "digits", "--checkpoint", "my net.safetensors", "--profile", "uniform"]
    apply.main([*options, "--finetune", "1", "--card"])
    card = (place / "applied" / "README.md").read_text()
    report = json.loads((place / "applied" / APPLIED).read_text())
    _, front, body = card.split("---\n", 2)
    about = yaml.safe_load(front)
    (result,) = about["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": round(report["after"]["accuracy"], 4)}]
    assert f"| parameters | {report['before']['params']:,} | {report['after']['params']:,} |" in body
    assert "then fine-tuned for 1 epoch of" in body
    loading, command = re.findall(r"```(?:python)?\n(.*?)\n```", body, re.DOTALL)
    there: dict[str, object] = {}
    exec(loading, there)  # noqa: S102  the line that people will run
    assert sum(p.numel() for p in there["network"].parameters()) == report["after"]["params"]  # type: ignore[attr-defined]
    assert apply.parser().parse_args(shlex.split(command)[3:]).checkpoint == "my net.safetensors"


def test_without_being_asked_for_there_is_none(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    apply.main(["--arch", "resnet8", "--data", "digits", "--profile", "uniform"])
    assert not (place / "applied" / "README.md").exists()
    assert "README.md" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("refit", "said"),
    [
        ("sequential, statistics re-estimated", "refitted in closed form"),
        ("as cut", "left as they were"),
        ("as cut, statistics re-estimated", "given new BatchNorm statistics"),
        ("none", "given new BatchNorm statistics"),
    ],
)
def test_the_card_says_what_was_done_to_the_weights(refit: str, said: str) -> None:
    assert _mended(refit) == said
