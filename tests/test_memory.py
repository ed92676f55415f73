"""What happens when there is not enough memory."""

import pytest
import torch
from torch import Tensor, nn

from profilesearch.cli.console import run
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.pruning import reestimate_statistics
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.step import Step
from profilesearch.tasks.training import train


class SmallMemory(nn.Module):
    """A network on a device that holds no more than a few images at a time."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.inside = build("resnet20", 10, 1)
        self.most = most

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        return self.inside(images)  # type: ignore[no-any-return]


def test_training_goes_on_with_less_memory(digits: DataSet) -> None:
    recipe, said = Recipe(epochs=1, lr=0.05, batch=64, shift=1), list[str]()
    torch.manual_seed(0)
    model = SmallMemory(20)
    train(model, digits, digits.train[:256], recipe, say=said.append)
    assert said == [
        "out of memory; going on with 32 images at a time",
        "out of memory; going on with 16 images at a time",
    ]
    with pytest.raises(UsageError, match="not enough memory for two images"):
        train(SmallMemory(1), digits, digits.train[:256], recipe)


def test_parts_of_a_batch_give_the_gradients_of_the_whole(digits: DataSet) -> None:
    pixels, labels = digits.normalize(digits.train[:64].pixels), digits.train[:64].labels
    weights = []
    for parts in (1, 4):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        step = Step(model, None, Recipe(epochs=1), torch.optim.SGD(model.parameters(), lr=0.1))
        step.parts = parts
        step(pixels, labels)
        weights.append(model[1].weight.detach())
    assert torch.allclose(*weights, atol=1e-3)


def test_evaluation_goes_on_with_less_memory(digits: DataSet) -> None:
    torch.manual_seed(0)
    model, said = SmallMemory(70), list[str]()
    few, many = (accuracy(network, digits, digits.test, "fp32", said.append) for network in (model, model.inside))
    assert few == many
    assert said == [f"out of memory; going on with {size} images at a time" for size in (125, 62)]
    learn = digits.train[:248]  # four times 62: all batches weigh the same
    reestimate_statistics(model, digits, learn)
    other = build("resnet20", 10, 1)
    other.load_state_dict(model.inside.state_dict())
    reestimate_statistics(other, digits, learn, batch=62)
    ours, theirs = model.inside.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        accuracy(SmallMemory(0), digits, digits.test)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_missing_memory_is_one_sentence(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    def command(_: object) -> None:
        raise error

    with pytest.raises(SystemExit, match="2"):
        run(command)
    assert capsys.readouterr().err.startswith("error: not enough memory")
