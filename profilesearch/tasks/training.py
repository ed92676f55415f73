"""One training loop, for pools and for fine-tuning."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.errors import UsageError
from profilesearch.networks.cost import evaluating
from profilesearch.networks.identity import network_identity
from profilesearch.system.progress import Progress
from profilesearch.tasks.augment import augment
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import DTYPES, best_precision, device_of
from profilesearch.tasks.inputs import arrange, input_channels, layout
from profilesearch.tasks.memory import batches, fitting
from profilesearch.tasks.momentum import keeping_up
from profilesearch.tasks.names import Precision
from profilesearch.tasks.parallel import World
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.step import Step, check_trains
from profilesearch.tasks.unfinished import State, Unfinished

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
    resume: Unfinished | None = None,
    say: Callable[[str], None] | None = None,
    world: World | None = None,
    hook: Hook | None = None,
) -> None:
    """Trains a network; the weights of the last epoch are the result.

    Every epoch draws from its own random stream, so an interrupted training continues to the same weights.

    Args:
        model: Changed in place; trained on the device where it is.
        data: Gives the normalization and says whether images may be mirrored.
        images: What to learn from, N of them.
        recipe: How.
        teacher: The unpruned network, for distillation, on the same device.
        progress: Called after every batch.
        resume: Where the state is kept after each epoch, the last one included, until the result is safe. An existing
            one of this very training is continued, unless it is damaged.
        say: Called with a line for people when memory runs out and batches are cut.
        world: The processes that train together; this one alone where None.
        hook: Called before every step; what it keeps must lie in the model's state, or not outlive an epoch.

    Raises:
        NotFinite: The loss or a weight is no longer finite; the model is then that of the last finished epoch, if its
            state was kept.
        UsageError: There are fewer than two images, or the state cannot be written.
    """
    if len(images) < 2:
        raise UsageError(f"training needs two images or more, got {len(images)}; give a data set with more")
    shape = (input_channels(model, data.image_shape), *data.image_shape[1:])
    check_trains(model, data.normalize(images[:2].pixels, shape[0]), data.num_classes)
    order = layout(model, shape)
    model.to(memory_format=order)
    optimizer = _optimizer(model, recipe)
    world = world or World()
    recipe = replace(recipe, precision=recipe.precision or best_precision(device_of(model)))
    about = _identity(model, teacher, data, images, recipe) if resume and world.leads else {}
    state = State(resume if world.leads else None, model, optimizer, about)
    start = world.agree(state.load(), optimizer)
    devices = [world.device] if world.device.type == "cuda" else []
    step = Step(world.wrap(model), teacher, recipe, optimizer, say, world)
    for epoch in range(start, recipe.epochs):
        with torch.random.fork_rng(devices):
            torch.manual_seed(recipe.seed * 100_003 + epoch)  # of dropout
            try:
                with keeping_up(model, recipe.epochs * _steps(images, recipe)):
                    _epoch(model, data, images, recipe, epoch, optimizer, step, progress, hook, shape[0], order)
            except NotFinite as error:
                error.finished = state.load()
                raise
        state.save(epoch + 1)
    model.eval()


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )


def suited(recipe: Recipe, model: nn.Module, data: DataSet) -> Recipe:
    """Returns the recipe, without smaller images in its first epochs where the network takes one size alone."""
    pixels = data.normalize(data.train[:2].pixels, input_channels(model, data.image_shape))
    try:
        check_trains(model, _smaller(pixels), data.num_classes)
    except UsageError:
        return replace(recipe, small=0.0)  # if anything else is wrong, `train` says it
    return recipe


def _smaller(pixels: Tensor) -> Tensor:
    return functional.interpolate(pixels, scale_factor=0.75, mode="bilinear", antialias=True)


def accuracy(
    model: nn.Module,
    data: DataSet,
    images: Images,
    precision: Precision | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> float:
    """Returns the fraction of images that a network classifies correctly; for arguments see `predictions`."""
    return right_part(predictions(model, data, images, precision, say, progress), images)


def right_part(predicted: Tensor, images: Images) -> float:
    """Returns the fraction of images whose predicted class is theirs."""
    return int((predicted == images.labels).sum()) / len(images)


def predictions(
    model: nn.Module,
    data: DataSet,
    images: Images,
    precision: Precision | None = None,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Returns the class that a network gives each image, shape (N,), on the processor.

    Args:
        model: In any mode; evaluated in evaluation mode, and not changed.
        data: Gives the normalization.
        images: What to classify, N of them.
        precision: The processor's best where None.
        say: Called with a line for people when memory runs out and batches are halved.
        progress: Called after every batch with images done and images in all.
    """
    return _over(model, data, images, precision, lambda scores: scores.argmax(dim=1), say, progress)


def class_scores(model: nn.Module, data: DataSet, images: Images, precision: Precision | None = None) -> Tensor:
    """Returns what a network gives each image, shape (N, C), on the processor; for arguments see `predictions`."""
    return _over(model, data, images, precision, lambda scores: scores.float())


def _over(
    model: nn.Module,
    data: DataSet,
    images: Images,
    precision: Precision | None,
    take: Callable[[Tensor], Tensor],
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Passes images through a network, and returns what is taken of its scores."""
    device = device_of(model)
    dtype = DTYPES[precision or best_precision(device)]
    channels = input_channels(model, data.image_shape)
    order = layout(model, (channels, *data.image_shape[1:]))

    def work(size: int) -> Tensor:
        found = []
        for part in batches(len(images), size):
            pixels = arrange(data.normalize(images[part].pixels, channels), order).to(device)
            found.append(take(model(pixels)).cpu())
            if progress:
                progress(part.stop, len(images), "")
        return torch.cat(found)

    with evaluating(model), torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        return fitting(work, say)


def _steps(images: Images, recipe: Recipe) -> int:
    """Returns those of an epoch: the last, smaller batch is dropped, since BatchNorm would suffer."""
    return max(1, len(images) // recipe.batch)


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
    channels: int,
    memory_order: torch.memory_format,
) -> None:
    model.train()
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    order = torch.randperm(len(images), generator=generator)
    count, total = _steps(images, recipe), 0.0
    for index in range(count):
        number = epoch * count + index
        if hook:
            hook(number, count * recipe.epochs)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(number, count * recipe.epochs)
        batch = images[order[index * recipe.batch : (index + 1) * recipe.batch]]
        grey = 1 if channels == 1 else None  # of coloured images; grey ones are repeated last
        pixels = augment(data.normalize(batch.pixels, grey), generator, recipe.shift, data.flips)
        if epoch < recipe.small * recipe.epochs:
            pixels = _smaller(pixels)
        pixels = arrange(pixels.expand(-1, channels, -1, -1), memory_order)
        total += step(pixels, batch.labels)
        if not math.isfinite(total):
            raise NotFinite(
                f"the loss is no longer finite in epoch {epoch + 1}; try a learning rate of {recipe.lr / 3:.2g}"
            )
        if progress:
            progress(number + 1, count * recipe.epochs, f"epoch {epoch + 1}, loss {total / (index + 1):.3f}")
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise NotFinite(
            f"some weights are no longer finite in epoch {epoch + 1}; try a learning rate of {recipe.lr / 3:.2g}, or "
            "larger images if those of the last layers are down to one pixel"
        )


def _identity(
    model: nn.Module, teacher: nn.Module | None, data: DataSet, images: Images, recipe: Recipe
) -> dict[str, Any]:
    networks = [model, *([teacher] if teacher is not None and recipe.distill else [])]
    shapes = [(input_channels(network, data.image_shape), *data.image_shape[1:]) for network in networks]
    who = [network_identity(network, shape) for network, shape in zip(networks, shapes, strict=True)]
    about = [images.digest, data.preparation, data.flips]
    return {"networks": who, "recipe": asdict(recipe), "images": about}
