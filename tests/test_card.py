"""The model card: what it says is what was measured on the network as it was read back."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from profilesearch import apply
from profilesearch.applying.card import _input, _mended
from profilesearch.applying.exports import metadata_of
from profilesearch.applying.measuring import weight_bytes
from profilesearch.networks.architectures import build
from profilesearch.system.folders import APPLIED
from profilesearch.tasks.pools import Member
from profilesearch.tasks.sources import open_data


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


@pytest.mark.parametrize(
    ("mean", "said", "there"),
    [((0.5,) * 3, "as fractions of one, minus 0.5, over 0.25, and", [0.5]),
     ((0.4, 0.5, 0.6), "of colours, minus 0.4, 0.5, 0.6, over 0.25, 0.25, 0.25, made grey with 0.299 / 0.587 / 0.114",
      [0.4, 0.5, 0.6])],
)  # fmt: skip
def test_a_grey_network_on_colours_says_how_its_images_are_made(
    mean: tuple[float, ...], said: str, there: list[float], tmp_path: Path, write_images: Callable[..., Path]
) -> None:
    data = open_data(f"{write_images(tmp_path / 'photos', ['a', 'b'])}@8").renormalize(mean, (0.25,))
    assert said in f"{_input(data, 1)}, and"
    about = metadata_of(data, (1, 8, 8))
    assert json.loads(about["mean"]) == there
    assert ("grey_of_normalized_colours" in about) == (len(there) == 3)
    images = data.train[:4].pixels / 255
    own, std, luma = (torch.tensor(values).view(1, -1, 1, 1) for values in data.normalization(1))
    if len(there) == 3:
        made = ((images - own) / std * luma).sum(dim=1, keepdim=True)
    else:
        made = ((images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True) - own) / std
    torch.testing.assert_close(data.normalize(data.train[:4].pixels, 1), made)  # as it says
    assert data.normalization(3) == (mean, (0.25,) * 3, ())


def test_weights_are_counted_alike_whatever_their_file() -> None:
    network = build("resnet8", 10)
    counters = sum(8 for name in network.state_dict() if name.endswith("num_batches_tracked"))
    single = weight_bytes(network)
    assert single == counters + 4 * sum(
        each.numel() for each in network.state_dict().values() if each.is_floating_point()
    )
    assert weight_bytes(network.half()) == single
