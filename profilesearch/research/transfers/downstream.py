"""Downstream: a carried network gets a new classifier, and that alone or everything is trained."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from profilesearch.networks.cost import evaluating
from profilesearch.research.transfers.masks import Masks, classifier_name, sparsity
from profilesearch.system.parts import tell
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import DTYPES, best_precision, device_of
from profilesearch.tasks.inputs import arrange, input_channels, layout
from profilesearch.tasks.memory import batches, fitting
from profilesearch.tasks.names import Precision
from profilesearch.tasks.pools import tuning_recipe
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.training import train
from profilesearch.tasks.unfinished import Unfinished

LINEAR_EPOCHS, _LINEAR_LR, _LINEAR_BATCH = 30, 0.1, 128
_CONSTANT = 1e-6
"""Standard deviation of a feature that is the same for all images, but for rounding."""
_FINE = ("fgvcaircraft", "stanfordcars")


@dataclass(frozen=True)
class Result:
    """Test accuracy after the last epoch, and the fraction of weights that are zero then."""

    accuracy: float
    zeros: float


def new_classifier(model: nn.Module, classes: int, seed: int) -> None:
    """Replaces the classifier by one with random weights for other classes, in place."""
    name = classifier_name(model)
    old = model.get_submodule(name)
    assert isinstance(old, nn.Linear)  # noqa: S101  that is what classifier_name looks for
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.set_submodule(name, nn.Linear(old.in_features, classes).to(device_of(model)))


def finetune_full(
    model: nn.Module,
    data: DataSet,
    epochs: int,
    seed: int,
    resume: Unfinished | None = None,
    precision: Precision | None = None,
) -> Result:
    """Trains everything; weights that are zero stay zero, which is checked after every epoch.

    Args:
        model: Changed in place.
        data: Another task than it knows.
        epochs: How long.
        seed: Of the classifier, order and augmentation.
        resume: Keeps the state until the result is safe.
        precision: Of forward passes; the best of the device where None.
    """
    new_classifier(model, data.num_classes, seed)
    masks = Masks(model)
    start = masks.level

    def hook(step: int, steps: int) -> None:
        if step % max(1, steps // epochs) == 0 and sparsity(model) < start:
            raise RuntimeError("weights that were removed came back")

    recipe = replace(full_recipe(data, epochs, seed), precision=precision)
    train(model, data, data.train, recipe, None, tell, resume, hook=hook)
    masks.bake()
    return Result(accuracy(model, data, data.test, precision), sparsity(model))


def full_recipe(data: DataSet, epochs: int, seed: int = 0) -> Recipe:
    """Returns the published recipe for large images (Iofinova et al. 2022), a shorter one's for small ones.

    Momentum is Nesterov's and images are shifted and mirrored, where the paper's are cropped at random sizes.
    """
    if min(data.image_shape[1:]) < 128:
        return tuning_recipe(data, epochs, lr=0.05, seed=seed)
    lr = 0.01 if data.name.partition("@")[0] in _FINE else 0.001
    return Recipe(epochs, lr=lr, batch=64, weight_decay=5e-4, schedule="steps", seed=seed)


def recipe_of(data: DataSet, finetune: str, epochs: int, precision: str) -> dict[str, Any]:
    """Returns all that a fine-tuning depended on but its seed, for the record."""
    recipe = full_recipe(data, epochs) if finetune == "full" else _linear_recipe()
    return {**asdict(recipe), "finetune": finetune, "epochs": epochs, "precision": precision}


def _linear_recipe() -> Recipe:
    return Recipe(LINEAR_EPOCHS, lr=_LINEAR_LR, batch=_LINEAR_BATCH, weight_decay=0.0, shift=0)


def default_epochs(data: DataSet) -> int:
    """Returns how long everything is trained: 150 epochs for large images as published, 10 for small ones."""
    return 10 if min(data.image_shape[1:]) < 128 else 150


def finetune_linear(model: nn.Module, data: DataSet, seed: int, features: tuple[Tensor, Tensor]) -> Result:
    """Trains a new classifier alone, on features of a frozen backbone that are extracted once, without augmentation.

    Args:
        model: Changed in place.
        data: Another task than it knows.
        seed: Of the classifier and the order.
        features: Of the training and the test images, from `extract`.
    """
    learn, test = features
    new_classifier(model, data.num_classes, seed)
    mean, scale = learn.mean(dim=0), learn.std(dim=0)
    scale[scale < _CONSTANT] = torch.inf  # so its weights, which learn nothing, are zero
    classifier = model.get_submodule(classifier_name(model))
    assert isinstance(classifier, nn.Linear)  # noqa: S101  new_classifier made it
    _fit(classifier, (learn - mean) / scale, data.train.labels, seed)
    with torch.no_grad():  # the classifier that sees features as they are
        classifier.weight.div_(scale)
        classifier.bias.sub_(classifier.weight @ mean)
        right = (classifier(test).argmax(dim=1) == data.test.labels).float().mean()
    return Result(float(right), sparsity(model))


def extract(model: nn.Module, data: DataSet, images: Images, precision: Precision | None = None) -> Tensor:
    """Returns what the classifier sees of every image, shape (N, F)."""
    channels = input_channels(model, data.image_shape)
    order = layout(model, (channels, *data.image_shape[1:]))
    seen: list[Tensor] = []
    classifier = model.get_submodule(classifier_name(model))
    handle = classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1).float().cpu()))
    device = device_of(model)
    dtype = DTYPES[precision or best_precision(device)]

    def pass_over(size: int) -> None:
        seen.clear()
        for part in batches(len(images), size):
            pixels = data.normalize(images[part].pixels, channels)
            model(arrange(pixels, order).to(device))

    try:
        with evaluating(model), torch.inference_mode(), torch.autocast(device.type, dtype, dtype != torch.float32):
            fitting(pass_over)
    finally:
        handle.remove()
    return torch.cat(seen).clone()


def _fit(classifier: nn.Linear, features: Tensor, labels: Tensor, seed: int) -> None:
    """Multinomial logistic regression by SGD with momentum, its learning rate falling as a cosine."""
    recipe = _linear_recipe()
    optimizer = torch.optim.SGD(classifier.parameters(), lr=recipe.lr, momentum=0.9, nesterov=True)
    generator = torch.Generator().manual_seed(seed)
    batches = max(1, len(features) // recipe.batch)
    for step in range(recipe.epochs * batches):
        if step % batches == 0:
            order = torch.randperm(len(features), generator=generator)
        chosen = order[step % batches * recipe.batch :][: recipe.batch]
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, recipe.epochs * batches)
        optimizer.zero_grad()
        functional.cross_entropy(classifier(features[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
