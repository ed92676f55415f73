"""One training loop, for pools and for fine-tuning."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.errors import UsageError
from profilesearch.files import write_atomically
from profilesearch.networks.checkpoints import load_tensors, tensor_digest, write_tensors
from profilesearch.networks.cost import evaluating
from profilesearch.tasks.augment import augment
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import DTYPES, Precision, best_precision

Progress = Callable[[int, int, str], None]
"""Called with batches done, batches in all, and a short note."""


@dataclass(frozen=True)
class Recipe:
    """How to train or fine-tune.

    Attributes:
        epochs: Passes over the training images.
        lr: Peak learning rate of SGD with Nesterov momentum; it rises linearly over the first tenth of all steps.
        batch: Images a step.
        momentum: Of SGD.
        weight_decay: On all parameters.
        schedule: How the learning rate falls to zero after its peak.
        label_smoothing: In [0, 1).
        distill: Weight in [0, 1] of the distance to the teacher's softened outputs (Hinton et al. 2015,
            arXiv 1503.02531); the labels have the rest. Ignored without a teacher.
        temperature: Of the softened outputs.
        shift: Largest random shift of the images, in pixels.
        small: Share of the epochs, the first ones, that see the images at three quarters of their size, for little
            more than half of the time (progressive resizing, as in Howard's entry to DAWNBench 2018).
        seed: Of order and augmentation.
    """

    epochs: int
    lr: float = 0.1
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "linear"] = "cosine"
    label_smoothing: float = 0.0
    distill: float = 0.0
    temperature: float = 4.0
    shift: int = 4
    small: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or self.lr <= 0:
            raise UsageError(
                f"training needs at least 1 epoch, 2 images a batch and a positive learning rate, got "
                f"{self.epochs}, {self.batch} and {self.lr:g}"
            )

    def rate(self, step: int, steps: int) -> float:
        """Returns the learning rate of a step out of `steps`."""
        rise = max(1, steps // 10)
        if step < rise:
            return self.lr * (step + 1) / rise
        left = (steps - step) / (steps - rise)
        return self.lr * (left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)


def train(
    model: nn.Module,
    data: DataSet,
    images: Images,
    recipe: Recipe,
    teacher: nn.Module | None = None,
    progress: Progress | None = None,
    resume: Path | None = None,
) -> float:
    """Trains a network; the weights of the last epoch are the result.

    Every epoch draws from its own random stream, so an interrupted training continues to the same weights.

    Args:
        model: Changed in place.
        data: Gives the normalization and says whether images may be mirrored.
        images: What to learn from, N of them.
        recipe: How.
        teacher: The unpruned network, for distillation.
        progress: Called after every batch.
        resume: File that holds the state after each epoch, and is removed at the end. An existing one is continued; if
            it is damaged or of another training, that starts anew.

    Returns:
        Mean loss of the last epoch.

    Raises:
        UsageError: The loss or a weight is no longer finite, or the state cannot be written.
    """
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    state = _State(resume, model, optimizer, {"recipe": asdict(recipe), "images": images.digest})
    loss = math.nan
    for epoch in range(state.load(), recipe.epochs):
        loss = _epoch(model, data, images, recipe, epoch, optimizer, teacher, progress)
        state.save(epoch + 1)
    state.remove()
    model.eval()
    return loss


def accuracy(model: nn.Module, data: DataSet, images: Images, precision: Precision | None = None) -> float:
    """Returns the fraction of images that a network classifies correctly.

    Args:
        model: In any mode; evaluated in evaluation mode, and not changed.
        data: Gives the normalization.
        images: What to classify.
        precision: The processor's best where None.
    """
    dtype = DTYPES[precision or best_precision()]
    correct = 0
    with evaluating(model), torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        for start in range(0, len(images), 250):
            batch = images[start : start + 250]
            pixels = data.normalize(batch.pixels, input_channels(model)).contiguous(memory_format=torch.channels_last)
            correct += int((model(pixels).argmax(dim=1) == batch.labels).sum())
    return correct / len(images)


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
    teacher: nn.Module | None,
    progress: Progress | None,
) -> float:
    model.train()
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    order = torch.randperm(len(images), generator=generator)
    batches = max(1, len(images) // recipe.batch)  # the last, smaller batch is dropped: BatchNorm would suffer
    total = 0.0
    for index in range(batches):
        step = epoch * batches + index
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, batches * recipe.epochs)
        batch = images[order[index * recipe.batch : (index + 1) * recipe.batch]]
        pixels = augment(data.normalize(batch.pixels), generator, recipe.shift, data.flips)
        if epoch < recipe.small * recipe.epochs:
            pixels = functional.interpolate(pixels, scale_factor=0.75, mode="bilinear", antialias=True)
        pixels = pixels.expand(-1, input_channels(model), -1, -1)
        loss = _loss(model, teacher, pixels, batch.labels, recipe)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach())
        if not math.isfinite(total):
            raise UsageError(
                f"the loss is no longer finite in epoch {epoch + 1}; try a learning rate of {recipe.lr / 3:.2g}"
            )
        if progress:
            progress(step + 1, batches * recipe.epochs, f"epoch {epoch + 1}, loss {total / (index + 1):.3f}")
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise UsageError(
            f"some weights are no longer finite in epoch {epoch + 1}; try a learning rate of {recipe.lr / 3:.2g}, or "
            "larger images if those of the last layers are down to one pixel"
        )
    return total / batches


def _loss(model: nn.Module, teacher: nn.Module | None, pixels: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    dtype = DTYPES[best_precision()]
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits, *auxiliary = _outputs(model(pixels))
        with torch.no_grad():
            taught = _outputs(teacher(pixels))[0] if teacher is not None and recipe.distill else None
    logits = logits.float()
    loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    for other in auxiliary:
        loss = loss + _AUXILIARY * functional.cross_entropy(other.float(), labels)
    if taught is None:
        return loss
    warm = recipe.temperature
    distance = functional.kl_div(
        functional.log_softmax(logits / warm, dim=1),
        functional.log_softmax(taught.float() / warm, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - recipe.distill) * loss + recipe.distill * warm**2 * distance


def _outputs(made: Any) -> list[Tensor]:
    """Returns a network's logits, then those of its auxiliary classifiers."""
    if isinstance(made, Tensor):
        return [made]
    main = made.logits  # torchvision's GoogLeNet and Inception, in training
    return [main, *(other for other in made if other is not main and other is not None)]


_AUXILIARY = 0.3
"""Weight of auxiliary classifiers' losses (Szegedy et al. 2015, arXiv 1409.4842)."""


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
            self.path.unlink()  # damaged, or of a training with other settings: start anew
            return 0
        self.model.load_state_dict({name: tensors[f"model.{name}"] for name in self.model.state_dict()})
        for name, parameter in self.model.named_parameters():
            self.optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"]
        return int(metadata["epoch"])

    def save(self, epoch: int) -> None:
        """Writes the state after `epoch` epochs."""
        if self.path is None:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            tensors[f"momentum.{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        metadata = {"identity": self.identity, "epoch": epoch}
        write_atomically(self.path, lambda temporary: write_tensors(temporary, tensors, metadata))

    def remove(self) -> None:
        """Deletes the state of a finished training."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
