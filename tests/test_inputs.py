"""Kinds of images that networks need: as many channels and such a layout as they run on are found by running them."""

from pathlib import Path

import pytest
import torch
from test_kinds import SHAPE, Chain
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import load_network
from profilesearch.profiles import Budget
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.inputs import arranged, input_channels, layout
from profilesearch.tasks.pools import train_member
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.training import train


class Flattening(nn.Module):
    """Flattens with view above one pixel, and knows one size of images alone."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.a = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 8, 3, 2, 1)
        self.fc = nn.Linear(8 * 16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.b(self.norm(self.a(images)).relu()).relu()
        scores: Tensor = self.fc(x.view(x.size(0), -1))
        return scores


def test_networks_that_need_contiguous_images_get_them(digits: DataSet, tmp_path: Path) -> None:
    network = Flattening()
    assert layout(network, (1, 8, 8)) == torch.contiguous_format
    assert layout(Chain(), SHAPE) == torch.channels_last
    train(network, digits, digits.train[:256], Recipe(epochs=1, batch=64, shift=1))
    assert 0 <= accuracy(network, digits, digits.train[:64]) <= 1
    member = train_member("test_inputs:Flattening", digits, 0, tmp_path, Recipe(epochs=1, batch=64, shift=1, small=0.6))
    for images in (64, 1000):
        problem = Problem([member], {"digits": digits}, Budget("macs", 0.6), default_settings(images), Ledger())
        assert problem.evaluate(problem.space.uniform()[None]).shape == (1, 1)


class Strict(Chain):
    """Refuses images in another order with an error of its own."""

    def forward(self, images: Tensor) -> Tensor:
        if not images.is_contiguous():
            raise ValueError("contiguous images only")
        scores: Tensor = super().forward(images)
        return scores


class Strided(Chain):
    """Gives something else for images in another order."""

    def forward(self, images: Tensor) -> Tensor:
        strides = images[0].numel(), images[0, 0].numel(), images.shape[3], 1
        scores: Tensor = super().forward(images.as_strided(images.shape, strides))
        return scores


class Masking(Chain):
    """Gives a mask besides."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        scores: Tensor = super().forward(images)
        return scores, images > 0


class Moving(Chain):
    """Counts its images in a buffer, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        scores: Tensor = super().forward(images) + 1e-6 * torch.rand(1)
        return scores


def test_images_lie_as_a_network_runs_fastest_if_it_gives_the_same() -> None:
    images = torch.randn(6, *SHAPE)
    there = arranged(Chain(), images)
    assert torch.equal(there, images)
    assert there.is_contiguous(memory_format=torch.channels_last) and images.is_contiguous()
    assert arranged(Masking(), images).is_contiguous(memory_format=torch.channels_last)
    for network in (Strict(), Strided()):
        assert arranged(network, images) is images
    moving, stream = Moving(), torch.get_rng_state()
    assert arranged(moving, images).is_contiguous(memory_format=torch.channels_last)
    assert moving.seen == 0
    assert torch.equal(torch.get_rng_state(), stream)
    assert moving.training


class Late(nn.Module):
    """Space to depth first, and the stem registered last."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.fc = nn.Linear(8, num_classes)
        self.b = nn.Conv2d(6, 8, 3, padding=1)
        self.stem = nn.Conv2d(12, 6, 1)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.b(self.stem(functional.pixel_unshuffle(images, 2)).relu()).mean((2, 3)))
        return scores


def keywords(**settings: int) -> nn.Module:
    return Chain(**settings)


def passed_on(**settings: int) -> nn.Module:
    return Late(**settings)


def test_images_channels_are_found_by_running(tmp_path: Path) -> None:
    for shape in ((3, 16, 16), (1, 16, 16)):
        assert input_channels(Late(), shape) == 3
        assert input_channels(Chain(), shape) == 3
    assert input_channels(Chain(in_channels=1), (3, 16, 16)) == 1
    with pytest.raises(UsageError, match=r"Flattening cannot take a batch of images of shape \(1, 9, 9\)"):
        input_channels(Flattening(), (3, 9, 9))
    for name, network in {
        "test_inputs:Late": Late(4), "test_inputs:keywords": Chain(4, 2), "test_inputs:passed_on": Late(4),
        "timm:resnet18": build("timm:resnet18", 4, 1),
    }.items():  # fmt: skip
        torch.save(network.eval().state_dict(), tmp_path / "file.pth")
        loaded = load_network(name, tmp_path / "file.pth")
        channels = 3 if "ate" in name or "passed" in name else input_channels(network, (2, 32, 32))
        assert loaded(torch.rand(1, channels, 32, 32)).shape == (1, 4)
