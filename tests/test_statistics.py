"""BatchNorm's statistics: averages over images, whatever batches these come in, and never of one image."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.pruning import reestimate_statistics
from profilesearch.research.transfers.downstream import extract
from profilesearch.scoring.score import ScoreSettings, reestimate
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.memory import batches
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.splits import split
from profilesearch.tasks.step import Step
from profilesearch.tasks.training import train


class Pooled(nn.Module):
    """A BatchNorm on images, and one behind the pooling, where a single image has no variance."""

    def __init__(self, tracked: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.first = nn.BatchNorm2d(4, track_running_stats=tracked)
        self.second = nn.BatchNorm1d(4, track_running_stats=tracked)
        self.fc = nn.Linear(4, 10)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.first(self.conv(images)).relu().mean(dim=(2, 3))
        return self.fc(self.second(pooled))  # type: ignore[no-any-return]


@pytest.fixture
def network() -> Pooled:
    torch.manual_seed(0)
    return Pooled()


@given(st.integers(1, 3000), st.integers(1, 300))
def test_batches_are_of_nearly_equal_size_and_none_is_of_one_image(count: int, most: int) -> None:
    parts = [list(range(count))[part] for part in batches(count, most)]
    assert [index for part in parts for index in part] == list(range(count))
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(most, 3)
    assert min(sizes) > 1 or count == 1


@pytest.mark.parametrize("count", [250, 251, 499, 501])
def test_re_estimated_statistics_are_those_of_all_images(network: Pooled, digits: DataSet, count: int) -> None:
    images = digits.train[:count]
    reestimate_statistics(network, digits, images)
    with torch.no_grad():
        made = network.conv(digits.normalize(images.pixels))
    mean, variance = made.mean(dim=(0, 2, 3)), made.var(dim=(0, 2, 3))
    assert network.first.running_mean is not None
    assert torch.allclose(network.first.running_mean, mean, atol=1e-5)
    assert torch.allclose(network.first.running_var, variance, rtol=0.02)  # type: ignore[arg-type]
    assert network.first.momentum == 0.1
    assert not network.first.training


def test_a_batch_weighs_as_much_as_it_has_images_also_where_a_layer_is_used_twice(network: Pooled) -> None:
    pixels = torch.randn(12, 1, 8, 8) + torch.arange(12.0).view(12, 1, 1, 1)
    reestimate(network.eval(), [network.first], [pixels[:10], pixels[10:]])
    with torch.no_grad():
        expected = network.conv(pixels).mean(dim=(0, 2, 3))
    assert network.first.running_mean is not None
    assert torch.allclose(network.first.running_mean, expected, atol=1e-4)

    twice = nn.Sequential(norm := nn.BatchNorm2d(1, affine=False), nn.Hardtanh(5, 6), norm).eval()
    reestimate(twice, [norm], [pixels])
    assert norm.running_mean is not None
    inside = nn.functional.batch_norm(pixels, None, None, training=True).clamp(5, 6)
    assert float(norm.running_mean) == pytest.approx(float((pixels.mean() + inside.mean()) / 2), rel=1e-3)


def test_layers_that_keep_no_statistics_see_no_image_alone(digits: DataSet) -> None:
    images = digits.train[:251]
    model = Pooled(tracked=False)
    assert 0 <= accuracy(model, digits, images, "fp32") <= 1
    assert extract(model, digits, images).shape == (251, 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reestimate_statistics(model, digits, images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_parts_of_a_step_are_never_of_one_image(network: Pooled, digits: DataSet) -> None:
    step = Step(network.train(), None, Recipe(epochs=1), torch.optim.SGD(network.parameters(), lr=0.01))
    for images, parts in ((10, 4), (9, 4), (2, 1)):
        step.parts = parts
        step(digits.normalize(digits.train[:images].pixels), digits.train[:images].labels)


@pytest.mark.parametrize("count", [2, 65])
def test_training_on_an_odd_image_more_is_no_crash(network: Pooled, digits: DataSet, count: int) -> None:
    train(network, digits, digits.train[:count], Recipe(epochs=1, batch=64, shift=1))


def test_one_image_is_refused_in_one_sentence(network: Pooled, digits: DataSet) -> None:
    with pytest.raises(UsageError, match="two training images or more, got 1"):
        reestimate_statistics(network, digits, digits.train[:1])
    with pytest.raises(UsageError, match="two images or more, got 1"):
        train(network, digits, digits.train[:1], Recipe(epochs=1))
    with pytest.raises(UsageError, match="two images or more"):
        ScoreSettings(images=1)
    with pytest.raises(UsageError, match="19 training images; holding some out for a search needs 20 or more"):
        split(replace(digits, held_out=0.1, train=digits.train[:19]))


@pytest.mark.parametrize("count", [20, 48, 79, 80, 200])
def test_no_part_of_a_split_has_one_image_alone(digits: DataSet, count: int) -> None:
    parts = split(replace(digits, held_out=0.1, train=digits.train[:count]))
    sizes = [len(part) for part in (parts.train, parts.search, parts.choose, parts.fresh)]
    assert sum(sizes) == count
    assert min(sizes) >= 2
