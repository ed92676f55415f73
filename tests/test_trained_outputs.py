"""Networks as people train them: several outputs, frozen weights, other channels; they learn, or it is said why not."""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.criteria import rank_channels
from profilesearch.networks.plan import Plan
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.step import scores_of
from profilesearch.tasks.training import suited, train

ONCE = Recipe(epochs=1, lr=0.05, batch=64)
Outputs = namedtuple("Outputs", ["features", "logits"])


class Several(nn.Module):
    """Returns more than scores while it trains."""

    def __init__(self, pack: Callable[[Tensor, Tensor, Tensor], Any], channels: int = 1) -> None:
        super().__init__()
        self.pack = pack
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.head = nn.Linear(8, 10)
        self.other = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Any:
        features = functional.relu(self.stem(images)).mean((2, 3))
        scores = self.head(features)
        return self.pack(scores, self.other(features), features) if self.training else scores


PACKS: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "tuple": lambda scores, other, features: (scores, other),
    "list": lambda scores, other, features: [scores, other, None],
    "list within": lambda scores, other, features: (scores, [other, other]),
    "logits": lambda scores, other, features: {"aux": other, "logits": scores},
    "out": lambda scores, other, features: {"features": features, "out": scores, "aux": other},
    "first of a dictionary": lambda scores, other, features: {"scores": scores, "aux": other},
    "named": lambda scores, other, features: Outputs(features, scores),
    "features": lambda scores, other, features: (scores, features, 0.5),
}


def some(digits: DataSet) -> DataSet:
    return replace(digits, train=digits.train[:256])


@pytest.mark.parametrize("name", PACKS)
def test_the_scores_are_found_among_a_training_networks_outputs(digits: DataSet, name: str) -> None:
    torch.manual_seed(0)
    network = Several(PACKS[name])
    before = network.head.weight.detach().clone(), network.other.weight.detach().clone()
    data = some(digits)
    train(network, data, data.train, ONCE)
    assert not torch.equal(before[0], network.head.weight)
    learned = not torch.equal(before[1], network.other.weight)
    assert learned == (name not in ("named", "features"))
    scores, other, features = torch.rand(2, 10), torch.rand(2, 10), torch.rand(2, 8)
    assert scores_of(PACKS[name](scores, other, features))[0] is scores


BAD: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "returns a tuple while it trains must have its class scores": lambda scores, other, features: (),
    "returns a str while it trains": lambda scores, other, features: "scores",
    "returns a dict while it trains": lambda scores, other, features: {"loss": scores.mean()},
    r"gives scores of shape \(2, 8\) for 2 images of 10 classes": lambda scores, other, features: (features, scores),
    "have no gradients": lambda scores, other, features: scores.detach(),
    "in training mode it says: division": lambda scores, other, features: 1 / 0,
}


@pytest.mark.parametrize("message", BAD)
def test_networks_that_cannot_be_trained_are_refused_before_any_work(digits: DataSet, message: str) -> None:
    network = Several(BAD[message])
    steps: list[int] = []
    with pytest.raises(UsageError, match=message):
        train(network, digits, digits.train, ONCE, hook=lambda step, _: steps.append(step))
    assert not steps


def test_frozen_weights_stay_and_all_of_them_frozen_is_one_sentence(digits: DataSet) -> None:
    network, data = Several(PACKS["tuple"]), some(digits)
    network.stem.requires_grad_(False)
    stem, head = network.stem.weight.detach().clone(), network.head.weight.detach().clone()
    train(network, data, data.train, ONCE)
    assert torch.equal(stem, network.stem.weight)
    assert not torch.equal(head, network.head.weight)
    with pytest.raises(UsageError, match="all weights of Several are frozen"):
        train(network.requires_grad_(False), data, data.train, ONCE)


def test_taylor_ranks_frozen_networks_as_others(digits: DataSet) -> None:
    torch.manual_seed(0)
    network = build("resnet20", 10, 1).eval()
    table = Plan("resnet20", network, (1, 8, 8)).table
    batch = digits.normalize(digits.train[:32].pixels), digits.train[:32].labels
    free = rank_channels(network, table, "taylor", batch=batch)
    frozen = rank_channels(network.requires_grad_(False), table, "taylor", batch=batch)
    assert all(torch.equal(free[name], frozen[name]) for name in free)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())


def test_networks_learn_from_images_with_other_channels(digits: DataSet) -> None:
    grey = some(digits)
    coloured = replace(grey.train, pixels=grey.train.pixels.expand(-1, 3, -1, -1).contiguous())
    colours = replace(grey, train=coloured, mean=grey.mean * 3, std=grey.std * 3)
    for data, channels in ((colours, 1), (grey, 3)):
        train(Several(PACKS["tuple"], channels), data, data.train, ONCE)
    with pytest.raises(UsageError, match=r"the network takes 4 channels, but digits has 3"):
        train(Several(PACKS["tuple"], 4), colours, colours.train, ONCE)


class Cached(nn.Module):
    """Keeps what it multiplies its features by, once there are many images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.ramp = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8, 10), torch.zeros(0)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images).relu()
        if len(images) > 8 and not len(self.ramp):
            self.ramp = torch.linspace(0.5, 1.5, images.shape[-1])
        scores: Tensor = self.head((features * (self.ramp if len(self.ramp) else 1)).mean((2, 3)))
        return scores


def test_networks_learn_after_they_were_measured(digits: DataSet) -> None:
    network, data = Cached(), some(digits)
    accuracy(network, data, data.train)
    assert len(network.ramp)
    train(network, data, data.train, ONCE)


def test_networks_of_one_image_size_are_not_shown_smaller_ones(digits: DataSet) -> None:
    fixed = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 10))
    shrinking = replace(ONCE, small=1.0)
    assert suited(shrinking, fixed, digits).small == 0
    assert suited(shrinking, build("resnet20", 10, 1), digits) == shrinking
    train(fixed, some(digits), some(digits).train, suited(shrinking, fixed, digits))
