"""One training loop, for pools and for fine-tuning."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from profilesearch.errors import UsageError
from profilesearch.networks.identity import network_identity
from profilesearch.system.progress import Progress
from profilesearch.tasks.augment import Moves
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.epoch import Batches, smaller
from profilesearch.tasks.hardware import best_precision, device_of
from profilesearch.tasks.inputs import input_channels, layout
from profilesearch.tasks.lessons import Lessons, affordable
from profilesearch.tasks.momentum import keeping_up
from profilesearch.tasks.parallel import World
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.replay import Replay, fits
from profilesearch.tasks.step import Step, check_trains
from profilesearch.tasks.taps import unseen_taps_zeroed
from profilesearch.tasks.unfinished import State, Unfinished

_LOOK = 50
"""Steps on a CUDA device between two signs of life."""
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
        progress: Called after every batch; on a CUDA device now and then, and ahead of it.
        resume: Where the state is kept after each epoch, the last one included, until the result is safe; less often if
            it says so. An existing one of this very training is continued, unless it is damaged.
        say: Called with a line for people when memory runs out and batches are cut, or a step cannot be recorded.
        world: The processes that train together; this one alone where None.
        hook: Called before every step; what it keeps must lie in the model's state, or not outlive an epoch.

    Raises:
        NotFinite: The loss or a weight is no longer finite; the model is then that of the last finished epoch, if its
            state was kept.
        UsageError: There are fewer than two images, or the state cannot be written.
    """
    for _ in training(model, data, images, recipe, teacher, progress, resume, say, world, hook):
        pass


def training(
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
    lessons: Lessons | None = None,
) -> Iterator[torch.cuda.Event | None]:
    """Trains a network as `train` does, and yields after every step, so that several trainings can take turns.

    On a CUDA device a step is recorded and repeated (see `Replay`) where it is always the same and the device holds
    the images. Whether all is finite is then looked at where a state is kept, progress is shown, or the training ends.
    The arguments are those of `train`, and `lessons`, the teacher's, where other trainings share them. Networks that
    draw random numbers while they train share one stream of them when they take turns.

    Yields:
        What tells when the device has finished the step; None where it has.
    """
    shape = _shape(model, data, images)
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
    batches = Batches(data, images, recipe, shape[0], order)
    replay = None
    alike = world.size == 1 and hook is None and not recipe.small  # all steps
    if alike and start < recipe.epochs and fits(images, device_of(model)):
        batches = replace(batches, images=images.to(device_of(model)))
        lessons = _lessons(teacher, batches, lessons)
        replay = Replay(step, batches, optimizer, start * batches.steps, lessons, say)
    for epoch in range(start, recipe.epochs):
        with torch.random.fork_rng(devices):
            torch.manual_seed(recipe.seed * 100_003 + epoch)  # of dropout
            try:
                with keeping_up(model, recipe.epochs * batches.steps), unseen_taps_zeroed(model):
                    model.train()
                    if replay:
                        yield from _replayed(replay, batches, epoch, progress)
                    else:
                        yield from _epoch(step, batches, epoch, optimizer, progress, hook)
                    looked = replay is None or progress is not None or state.due or epoch + 1 == recipe.epochs
                    if looked:
                        _check_finite(model, replay.total if replay else 0.0, recipe, epoch)
            except NotFinite as error:
                error.finished = state.load()
                raise
        if looked:
            state.save(epoch + 1)
    model.eval()


def _shape(model: nn.Module, data: DataSet, images: Images) -> tuple[int, int, int]:
    """Returns the shape of an image as the network takes it, after finding out whether the network can be trained."""
    if len(images) < 2:
        raise UsageError(f"training needs two images or more, got {len(images)}; give a data set with more")
    shape = (input_channels(model, data.image_shape), *data.image_shape[1:])
    check_trains(model, data.normalize(images[:2].pixels, shape[0]), data.num_classes)
    return shape


def _lessons(teacher: nn.Module | None, batches: Batches, shared: Lessons | None) -> Lessons | None:
    """Returns the scores of a teacher who is asked once an epoch; None where there is none, or they are too many."""
    if teacher is None or not batches.recipe.distill or not affordable(batches):
        return None
    return shared or Lessons(teacher)


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
        check_trains(model, smaller(pixels), data.num_classes)
    except UsageError:
        return replace(recipe, small=0.0)  # if anything else is wrong, `train` says it
    return recipe


def _epoch(
    step: Step,
    batches: Batches,
    epoch: int,
    optimizer: torch.optim.SGD,
    progress: Progress | None,
    hook: Hook | None,
) -> Iterator[None]:
    recipe, count, total = batches.recipe, batches.steps, 0.0
    there = batches.images.labels.device
    chosen, *moves = (each.to(there) for each in batches.drawn(epoch))
    for index in range(count):
        number = epoch * count + index
        if hook:
            hook(number, count * recipe.epochs)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(number, count * recipe.epochs)
        moved = Moves(*(each[index] for each in moves))
        total += float(step(*batches.batch(chosen[index], moved, epoch < recipe.small * recipe.epochs)))
        _check_loss(total, recipe, epoch)
        if progress:
            progress(number + 1, count * recipe.epochs, f"epoch {epoch + 1}, loss {total / (index + 1):.3f}")
        yield


def _replayed(
    replay: Replay, batches: Batches, epoch: int, progress: Progress | None
) -> Iterator[torch.cuda.Event | None]:
    count, steps = batches.steps, batches.steps * batches.recipe.epochs
    replay.begin(epoch)
    for index in range(count):
        yield replay()
        if progress and index % _LOOK == 0 and index + 1 < count:
            progress(epoch * count + index + 1, steps, f"epoch {epoch + 1}")
    if progress:
        progress((epoch + 1) * count, steps, f"epoch {epoch + 1}, loss {replay.total / count:.3f}")


def _check_loss(total: float, recipe: Recipe, epoch: int) -> None:
    if not math.isfinite(total):
        raise NotFinite(
            f"the loss is no longer finite in epoch {epoch + 1}; try a learning rate of {recipe.lr / 3:.2g}"
        )


def _check_finite(model: nn.Module, total: float, recipe: Recipe, epoch: int) -> None:
    _check_loss(total, recipe, epoch)
    finite = [tensor.isfinite().all() for tensor in model.state_dict().values()]
    if not bool(torch.stack(finite).all()):
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
