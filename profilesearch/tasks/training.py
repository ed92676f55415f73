"""One training loop, for pools and for fine-tuning."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from profilesearch.errors import UsageError
from profilesearch.files import write_atomically
from profilesearch.networks.checkpoints import load_state, load_tensors, write_tensors
from profilesearch.networks.cost import evaluating
from profilesearch.networks.reading import tensor_digest
from profilesearch.tasks.augment import augment
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import DTYPES, Precision, best_precision, device_of
from profilesearch.tasks.memory import fitting
from profilesearch.tasks.parallel import World
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.step import Step, check_trains

Progress = Callable[[int, int, str], None]
"""Called with batches done, batches in all, and a short note."""
Hook = Callable[[int, int], None]
"""Called with the number of a step, from 0, and the number of all steps."""


class NotFinite(UsageError):  # noqa: N818  like UsageError, it says what is
    """A training diverged.

    Attributes:
        finished: The epoch that the model has been put back to; 0 where no state was kept.
    """

    finished = 0


def train(
    model: nn.Module,
    data: DataSet,
    images: Images,
    recipe: Recipe,
    teacher: nn.Module | None = None,
    progress: Progress | None = None,
    resume: Path | None = None,
    say: Callable[[str], None] | None = None,
    world: World | None = None,
    hook: Hook | None = None,
) -> float:
    """Trains a network; the weights of the last epoch are the result.

    Every epoch draws from its own random stream, so an interrupted training continues to the same weights.

    Args:
        model: Changed in place; trained on the device where it is.
        data: Gives the normalization and says whether images may be mirrored.
        images: What to learn from, N of them.
        recipe: How.
        teacher: The unpruned network, for distillation, on the same device.
        progress: Called after every batch.
        resume: File that holds the state after each epoch, and is removed at the end. An existing one is continued; if
            it is damaged or of another training, that starts anew.
        say: Called with a line for people when memory runs out and batches are cut.
        world: The processes that train together; this one alone where None.
        hook: Called before every step; what it keeps must lie in the model's state, or not outlive an epoch.

    Returns:
        Mean loss of the last epoch.

    Raises:
        NotFinite: The loss or a weight is no longer finite; the model is then that of the last finished epoch, if its
            state was kept.
        UsageError: The state cannot be written.
    """
    check_trains(
        model, data.normalize(images[torch.arange(2) % len(images)].pixels, input_channels(model)), data.num_classes
    )
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    world = world or World()
    state = _State(resume, model, optimizer, _identity(data, images, recipe))
    start = world.agree(state.load() if world.leads else 0, optimizer)
    devices = [world.device] if world.device.type == "cuda" else []
    step = Step(world.wrap(model), teacher, recipe, optimizer, say, world)
    loss = math.nan
    for epoch in range(start, recipe.epochs):
        with torch.random.fork_rng(devices):
            torch.manual_seed(recipe.seed * 100_003 + epoch)  # of dropout
            try:
                loss = _epoch(model, data, images, recipe, epoch, optimizer, step, progress, hook)
            except NotFinite as error:
                error.finished = state.load() if world.leads else 0
                raise
        if world.leads:
            state.save(epoch + 1)
    if world.leads:
        state.remove()
    model.eval()
    return loss


def accuracy(
    model: nn.Module,
    data: DataSet,
    images: Images,
    precision: Precision | None = None,
    say: Callable[[str], None] | None = None,
) -> float:
    """Returns the fraction of images that a network classifies correctly.

    Args:
        model: In any mode; evaluated in evaluation mode, and not changed.
        data: Gives the normalization.
        images: What to classify.
        precision: The processor's best where None.
        say: Called with a line for people when memory runs out and batches are halved.
    """
    device = device_of(model)
    dtype = DTYPES[precision or best_precision(device)]

    def right(size: int) -> int:
        correct = 0
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            pixels = data.normalize(batch.pixels, input_channels(model)).to(device, memory_format=torch.channels_last)
            correct += int((model(pixels).argmax(dim=1).cpu() == batch.labels).sum())
        return correct

    with evaluating(model), torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        return fitting(right, say) / len(images)


def input_channels(model: nn.Module) -> int:
    """Returns how many channels the first convolution of a network takes."""
    return next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))


def _epoch(
    model: nn.Module,
    data: DataSet,
    images: Images,
    recipe: Recipe,
    epoch: int,
    optimizer: torch.optim.SGD,
    step: Step,
    progress: Progress | None,
    hook: Hook | None,
) -> float:
    model.train()
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    order = torch.randperm(len(images), generator=generator)
    batches = max(1, len(images) // recipe.batch)  # the last, smaller batch is dropped: BatchNorm would suffer
    total = 0.0
    for index in range(batches):
        number = epoch * batches + index
        if hook:
            hook(number, batches * recipe.epochs)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(number, batches * recipe.epochs)
        batch = images[order[index * recipe.batch : (index + 1) * recipe.batch]]
        channels = input_channels(model)
        grey = 1 if channels == 1 else None  # of coloured images; grey ones are repeated last
        pixels = augment(data.normalize(batch.pixels, grey), generator, recipe.shift, data.flips)
        if epoch < recipe.small * recipe.epochs:
            pixels = functional.interpolate(pixels, scale_factor=0.75, mode="bilinear", antialias=True)
        pixels = pixels.expand(-1, channels, -1, -1)
        total += step(pixels, batch.labels)
        if not math.isfinite(total):
            raise NotFinite(
                f"the loss is no longer finite in epoch {epoch + 1}; try a learning rate of {recipe.lr / 3:.2g}"
            )
        if progress:
            progress(number + 1, batches * recipe.epochs, f"epoch {epoch + 1}, loss {total / (index + 1):.3f}")
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise NotFinite(
            f"some weights are no longer finite in epoch {epoch + 1}; try a learning rate of {recipe.lr / 3:.2g}, or "
            "larger images if those of the last layers are down to one pixel"
        )
    return total / batches


def _identity(data: DataSet, images: Images, recipe: Recipe) -> dict[str, Any]:
    about = {"recipe": asdict(recipe), "images": images.digest}
    return about | ({"preparation": data.preparation} if data.preparation else {})


class _State:
    """Weights and momentum after an epoch, in one safetensors file."""

    def __init__(
        self, path: Path | None, model: nn.Module, optimizer: torch.optim.SGD, identity: Mapping[str, Any]
    ) -> None:
        self.path = path
        self.model = model
        self.optimizer = optimizer
        start = tensor_digest(model.state_dict())
        self.identity = hashlib.sha256(json.dumps([identity, start], sort_keys=True).encode()).hexdigest()[:16]

    def load(self) -> int:
        """Restores the saved state, if there is one; returns the number of finished epochs."""
        if self.path is None or not self.path.exists():
            return 0
        try:
            tensors, metadata = load_tensors(self.path)
        except UsageError:
            tensors, metadata = {}, {}  # damaged
        if metadata.get("identity") != self.identity:
            self.path.unlink(missing_ok=True)  # damaged, or of a training with other settings: start anew
            return 0
        load_state(self.model, {name: tensors[f"model.{name}"] for name in self.model.state_dict()})
        for name, parameter in self.model.named_parameters():
            if f"momentum.{name}" in tensors:
                self.optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"].to(parameter.device)
        return int(metadata["epoch"])

    def save(self, epoch: int) -> None:
        """Writes the state after `epoch` epochs."""
        if self.path is None:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            momentum = self.optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:  # frozen or unused parameters have none
                tensors[f"momentum.{name}"] = momentum
        metadata = {"identity": self.identity, "epoch": epoch}
        write_atomically(self.path, lambda temporary: write_tensors(temporary, tensors, metadata))

    def remove(self) -> None:
        """Deletes the state of a finished training."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
