"""Networks that were trained with other means and deviations than a data set's own."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from test_commands import call
from torch import Tensor

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import published_normalization
from profilesearch.networks.checkpoints import load_tensors
from profilesearch.profiles import Budget
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.data import IMAGENET_MEAN, DataSet
from profilesearch.tasks.pools import Member, foreign_member, train_member, trained_member
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.sources import open_data, open_for


def test_pixels_are_normalized_as_asked(digits: DataSet) -> None:
    pixels = digits.test.pixels[:4]
    halves = digits.renormalize([0.5], [0.5])
    assert torch.allclose(halves.normalize(pixels), pixels.float() / 127.5 - 1, atol=1e-6)
    assert digits.renormalize(None, None) is digits
    assert digits.renormalize(digits.mean, None) is digits
    coloured = replace(digits, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)).renormalize([0.5], None)
    assert (coloured.mean, coloured.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))


SENSELESS = [([0.5, 0.5], None), (None, [0.0]), (None, [-1.0]), ([], None), ([float("nan")], None)]


@pytest.mark.parametrize(("mean", "std"), SENSELESS)
def test_senseless_normalizations_are_refused(
    digits: DataSet, mean: list[float] | None, std: list[float] | None
) -> None:
    with pytest.raises(UsageError, match=r"`mean` and `std` take 1 value or 1"):
        digits.renormalize(mean, std)


def test_what_timm_says_of_its_networks_is_known(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    pytest.importorskip("timm")
    folder = str(write_images(tmp_path / "pets", ["cat", "dog"]))
    data = open_for("timm:inception_v3", folder, mean=[0.4])
    assert (data.mean, data.std) == ((0.4, 0.4, 0.4), (0.5, 0.5, 0.5))
    assert open_for("resnet18", folder).mean == IMAGENET_MEAN
    assert published_normalization("timm:inception_v3") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert published_normalization("resnet18") is None


PUBLISHED = (
    "timm:tf_efficientnet_lite0", "timm:tf_efficientnet_lite2", "timm:deit_base_patch16_224",
    "timm:dm_nfnet_f0.dm_in1k", "efficientnet_b1",
)  # fmt: skip
"""Scaled to a whole number of pixels at once, to one that timm rounds down, and squashed to a square; torchvision's."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_photos_are_scaled_and_cut_as_the_publisher_does_it(name: str, tmp_path: Path) -> None:
    if name.startswith("timm:"):
        timm = pytest.importorskip("timm")
        config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name[5:]).to_dict())
        size, transform = config["input_size"][-1], timm.data.create_transform(**config, is_training=False)
    else:
        transform = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
        size = transform.crop_size[0]
    noise = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((450, 380), Image.Resampling.BICUBIC)
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        for i in range(8):
            photo.save(tmp_path / folder / f"{i}.png")
    data = open_for(name, f"{tmp_path}@{size}")
    assert torch.allclose(data.normalize(data.test.pixels[:1])[0], transform(photo), atol=1e-5)
    assert data.train.digest != open_for("resnet18", f"{tmp_path}@{size}").train.digest


def test_another_size_or_normalization_is_another_score(members: list[Member], digits: DataSet) -> None:
    """The same weights, files and settings: nothing else tells these scores apart."""
    digests = set()
    for data in (digits, digits.renormalize([0.4], [0.3]), open_data("digits@16")):
        member = replace(members[0], data=data.name)
        digests.add(Problem([member], {data.name: data}, Budget("macs", 0.5), default_settings(), Ledger()).digest)
    assert len(digests) == 3


def test_a_member_and_its_pruned_network_keep_their_normalization(
    digits: DataSet, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    halves = digits.renormalize([0.5], [0.5])
    member = train_member("resnet8", halves, 7, place / "own", Recipe(epochs=1, lr=0.05, batch=64, shift=1))
    assert trained_member("resnet8", halves, 7, place / "own") == member
    with pytest.raises(UsageError, match=r"other normalization; give `mean=\[0.5\]` `std=\[0.5\]`"):
        trained_member("resnet8", digits, 7, place / "own")
    with pytest.raises(UsageError, match=r"other normalization; give `mean=\[0.5\]` `std=\[0.5\]`"):
        foreign_member("resnet8", member.path, digits)
    command = ["apply", "--arch", "resnet8", "--data", "digits", "--profile", "uniform", "--checkpoint", member.path]
    call(*command, "--mean", "0.5", "--std", "0.5", "--out", place / "out")
    assert load_tensors(place / "out" / "pruned.safetensors")[1]["mean"] == [0.5]
    base = json.loads((place / "out" / "report.json").read_text())["before"]["accuracy"]
    network = member.load()
    assert base == pytest.approx(right(network(halves.normalize(digits.test.pixels)), digits), abs=1e-6)
    with pytest.raises(SystemExit, match="2"):
        call(*command)
    assert "give --mean 0.5 --std 0.5" in capsys.readouterr().err


def right(scores: Tensor, data: DataSet) -> float:
    return float((scores.argmax(dim=1) == data.test.labels).float().mean())
