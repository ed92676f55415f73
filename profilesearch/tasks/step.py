"""One step of a training: loss, gradients, update, within the memory that there is."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.errors import UsageError, no_memory
from profilesearch.networks.cost import in_training
from profilesearch.tasks.hardware import DTYPES, best_precision, device_of
from profilesearch.tasks.parallel import World
from profilesearch.tasks.recipe import Recipe

_AUXILIARY = 0.3
"""Weight of auxiliary classifiers' losses (Szegedy et al. 2015, arXiv 1409.4842)."""
_TOO_LITTLE = "not enough memory for two images at a time; use smaller `images`"


def check_trains(model: nn.Module, pixels: Tensor, classes: int) -> None:
    """Finds out before any work whether a network can be trained; it is not changed.

    Args:
        model: Whose copy is tried.
        pixels: Two normalized images (2, C, H, W).
        classes: How many scores it must give for each.

    Raises:
        UsageError: All its weights are frozen, or its outputs or errors while it trains leave nothing to learn from.
    """
    name = type(model).__name__
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(f"all weights of {name} are frozen; set requires_grad of those that shall be trained")
    device = device_of(model)
    copied = in_training(copy.deepcopy(model))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            scores = scores_of(copied(pixels.to(device)))[0]
        except UsageError:
            raise
        except Exception as error:  # whatever a network of one's own raises
            if no_memory(error):
                raise UsageError(_TOO_LITTLE) from error
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(f"{name} cannot be trained: in training mode it says: {reason}") from error
    if scores.shape != (len(pixels), classes):
        raise UsageError(
            f"{name} gives scores of shape {tuple(scores.shape)} for 2 images of {classes} classes; check it"
        )
    if not scores.requires_grad:
        raise UsageError(f"the scores of {name} have no gradients while it trains; take torch.no_grad out of it")


class Step:
    """Updates a network, a batch at a time.

    Where memory runs out, a batch is cut into twice as many parts, whose gradients add up to those of the whole; only
    BatchNorm sees the difference.

    Args:
        model: Changed in place.
        teacher: The unpruned network, for distillation.
        recipe: What the loss is.
        optimizer: Of the model's parameters.
        say: Called with a line for people when the batch is cut.
        world: The processes that step together.

    Attributes:
        parts: Into how many parts a batch is cut.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module | None,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        say: Callable[[str], None] | None = None,
        world: World | None = None,
    ) -> None:
        self.parts = 1
        self._model = model
        self._teacher = teacher
        self._recipe = recipe
        self._optimizer = optimizer
        self._say = say
        self._world = world or World()

    def __call__(self, pixels: Tensor, labels: Tensor, taught: Tensor | None = None) -> Tensor:
        """Makes a step; returns the loss, shape ().

        Args:
            pixels: Images (N, C, H, W).
            labels: Of shape (N,).
            taught: What the teacher says of them, (N, classes); it is asked where None.

        Raises:
            UsageError: Memory does not suffice for two images at a time.
        """
        pixels, labels = (self._world.share(each).to(device_of(self._model)) for each in (pixels, labels))
        while True:
            try:
                self._optimizer.zero_grad()
                loss = self._gradients(pixels, labels, taught)
                self._optimizer.step()
                return loss
            except RuntimeError as error:
                alone = self._world.size == 1 and not _is_recorded(labels.device)
                if not alone or not no_memory(error):
                    raise  # one process of several, or a recorded step, cannot change its number of parts
                self._halve(len(labels))

    def _halve(self, batch: int) -> None:
        self.parts *= 2
        if batch < 2 * self.parts:
            raise UsageError(_TOO_LITTLE)
        if self._say:
            self._say(f"out of memory; going on with {-(-batch // self.parts)} images at a time")

    def _gradients(self, pixels: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
        total, recipe = torch.zeros((), device=labels.device), self._recipe
        said = [None] * self.parts if taught is None else taught.tensor_split(self.parts)
        for part, right, theirs in zip(
            *(each.tensor_split(self.parts) for each in (pixels, labels)), said, strict=True
        ):
            scores = theirs
            if theirs is None and self._teacher is not None and recipe.distill:
                scores = _said(self._teacher, part, recipe)
            loss = _loss(self._model, scores, part, right, recipe) * (len(right) / len(labels))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total


def _is_recorded(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _said(teacher: nn.Module, pixels: Tensor, recipe: Recipe) -> Tensor:
    with torch.no_grad(), _mixed(pixels, recipe):
        return scores_of(teacher(pixels))[0]


def _mixed(pixels: Tensor, recipe: Recipe) -> torch.autocast:
    dtype = DTYPES[recipe.precision or best_precision(pixels.device)]
    return torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32)


def _loss(model: nn.Module, taught: Tensor | None, pixels: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    with _mixed(pixels, recipe):
        logits, *auxiliary = scores_of(model(pixels))
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


def scores_of(made: Any) -> list[Tensor]:
    """Returns the class scores among a network's outputs, then those of its auxiliary classifiers.

    The scores are the only tensor, the entry `logits` or `out`, or else the first entry; what else has their shape
    is of auxiliary classifiers.

    Raises:
        UsageError: There are none.
    """
    named = made._asdict() if hasattr(made, "_asdict") else made
    entries = (
        list(named.values()) if isinstance(named, Mapping) else list(made) if isinstance(made, list | tuple) else [made]
    )
    first = entries[0] if entries else None
    main = (
        next((named[name] for name in ("logits", "out") if name in named), first)
        if isinstance(named, Mapping)
        else first
    )
    if not isinstance(main, Tensor) or main.dim() != 2:
        raise UsageError(
            f"a network that returns a {type(made).__name__} while it trains must have its class scores (N, C) as the "
            "first entry, or as 'logits' or 'out'"
        )
    several = [other if isinstance(other, list | tuple) else [other] for other in entries]
    others = [other for each in several for other in each if isinstance(other, Tensor) and other is not main]
    return [main, *(other for other in others if other.shape == main.shape)]
