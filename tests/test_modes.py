"""Whatever modes of torch a program is in, networks are pruned and searched for as without them; its streams stay."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from profilesearch import load_network, load_pruned, prune, search
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network


@contextmanager
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": lambda: torch.device("meta"),  # stands for a GPU that a machine without one has not
    "default type": double_precision,
}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), *pooled).eval()


@pytest.mark.full
@pytest.mark.parametrize("name", MODES)
def test_modes_of_the_caller_change_nothing(name: str, network: nn.Module, images: Tensor) -> None:
    labels = network(images).argmax(dim=1)
    plain, profile = prune(network, images=images), search(network, images, labels, evaluations=9)
    with MODES[name]():
        before = torch.get_default_device(), torch.get_default_dtype(), torch.is_inference_mode_enabled()
        pruned, found = prune(network, images=images), search(network, images, labels, evaluations=9)
        after = torch.get_default_device(), torch.get_default_dtype(), torch.is_inference_mode_enabled()
    assert after == before
    assert found.keep == profile.keep
    assert torch.equal(pruned.network(images), plain.network(images))
    assert all(each.requires_grad and not each.is_inference() for each in pruned.network.parameters())


def test_what_is_loaded_draws_nothing_from_the_callers_stream(tmp_path: Path) -> None:
    file, about = tmp_path / "network.safetensors", {"architecture": "resnet8", "num_classes": 10, "in_channels": 1}
    save_network(file, build("resnet8", 10, 1), about)
    before = torch.get_rng_state()
    load_network("resnet8", file)
    load_pruned(file)
    assert torch.equal(torch.get_rng_state(), before)


class Dropping(nn.Sequential):
    """Draws from the streams of Python and NumPy while it is trained, as layers that are dropped at random do."""

    def forward(self, x: Tensor) -> Tensor:
        scale = random.random() + np.random.rand() if self.training else 1.0
        return super().forward(x) * scale


def test_what_is_pruned_draws_nothing_from_the_callers_streams() -> None:
    network = Dropping(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    before = random.getstate(), np.random.get_state()[2], torch.get_rng_state().tolist()
    prune(network, 0.5, (3, 16, 16))
    assert (random.getstate(), np.random.get_state()[2], torch.get_rng_state().tolist()) == before
