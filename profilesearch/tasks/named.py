"""Torchvision's classification data sets whose images are files, by name, split as published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset
from torchvision import datasets

from profilesearch.errors import UsageError
from profilesearch.tasks.data import IMAGENET_MEAN, IMAGENET_STD, DataSet
from profilesearch.tasks.files import FileImages, files_of, shuffled

_LABELS = ("targets", "labels", "_labels", "y")


@dataclass(frozen=True)
class Named:
    """A data set of torchvision.

    Attributes:
        kind: Its class.
        classes: How many there are.
        train: Arguments of the training part; of several, which are put together.
        test: Arguments of the test part; None where the data set comes in one piece.
        per_class: Training images of each class where it comes in one piece, drawn at random; the others are for tests.
            0 halves every class.
        upright: A mirrored image means something else.
    """

    kind: str
    classes: int
    train: tuple[Mapping[str, Any], ...] = ({"split": "train"},)
    test: Mapping[str, Any] | None = None
    per_class: int = 0
    upright: bool = False


_TEST = {"split": "test"}
_BOTH = ({"split": "train"}, {"split": "val"})
_TRAINVAL = ({"split": "trainval"},)
NAMED: Mapping[str, Named] = {
    "svhn": Named("SVHN", 10, test=_TEST, upright=True),
    "stl10": Named("STL10", 10, test=_TEST),
    "mnist": Named("MNIST", 10, ({"train": True},), {"train": False}, upright=True),
    "kmnist": Named("KMNIST", 10, ({"train": True},), {"train": False}, upright=True),
    "gtsrb": Named("GTSRB", 43, test=_TEST, upright=True),
    "sun397": Named("SUN397", 397, ({},)),
    "caltech101": Named("Caltech101", 101, ({},), per_class=30),
    "caltech256": Named("Caltech256", 257, ({},), per_class=60),
    "dtd": Named("DTD", 47, _BOTH, _TEST),
    "flowers102": Named("Flowers102", 102, _BOTH, _TEST),
    "food101": Named("Food101", 101, test=_TEST),
    "oxfordiiitpet": Named("OxfordIIITPet", 37, _TRAINVAL, _TEST),
    "fgvcaircraft": Named("FGVCAircraft", 100, _TRAINVAL, _TEST),
    "stanfordcars": Named("StanfordCars", 196, test=_TEST),
    "pcam": Named("PCAM", 2, test=_TEST),
    "imagenette": Named("Imagenette", 10, test={"split": "val"}),
}
"""Class counts and splits as Kornblith et al. (2019, arXiv 1805.08974) and Iofinova et al. (2022) have them, for those
that they used; but SUN397's published partition lists are not in its archive, so every class is halved at random."""


def load_named(name: str, folder: Path, download: bool, size: int) -> DataSet:
    """Loads one of torchvision's data sets, see `NAMED`.

    Raises:
        UsageError: Its files are missing or damaged.
    """
    about = NAMED[name]
    learn = [_open(name, folder, download, settings) for settings in about.train]
    labels = torch.cat([_labels_of(source) for source in learn])
    source = learn[0] if len(learn) == 1 else ConcatDataset(learn)
    if about.test is None:
        train, test = (FileImages(source, labels, part, size) for part in _divided(source, labels, about.per_class))
    else:
        other = _open(name, folder, download, about.test)
        train = FileImages(source, labels, shuffled(len(labels)), size)
        known = _labels_of(other)
        test = FileImages(other, known, shuffled(len(known)), size)
    return DataSet(f"{name}@{size}", train, test, about.classes, IMAGENET_MEAN, IMAGENET_STD, not about.upright)


def _open(name: str, folder: Path, download: bool, settings: Mapping[str, Any]) -> Any:
    made: Callable[..., Any] = getattr(datasets, NAMED[name].kind)
    able = {} if name == "stanfordcars" else {"download": download}  # its site is gone
    try:
        return made(str(folder), **able, **settings)
    except Exception as error:  # every data set has its own way to say so
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{name} in {folder} is missing or incomplete ({reason}); put the files there, or add --download"
        ) from error


def _labels_of(source: Any) -> Tensor:
    labels = next((getattr(source, each) for each in _LABELS if hasattr(source, each)), None)
    if labels is None:
        samples = getattr(source, "_samples", None)
        labels = [label for _, label in samples] if samples else [source[i][1] for i in range(len(source))]
    return torch.as_tensor(np.asarray(labels)).long()


def _divided(source: Any, labels: Tensor, per_class: int) -> tuple[Tensor, Tensor]:
    """Returns indices of training and test images, drawn from every class with a fixed seed."""
    files = files_of(source)
    known = sorted(range(len(labels)), key=lambda i: str(files[i])) if files else list(range(len(labels)))
    order = torch.tensor(known)[torch.randperm(len(known), generator=torch.Generator().manual_seed(0))]
    learn = torch.zeros(len(labels), dtype=torch.bool)
    for label in sorted(set(labels.tolist())):
        members = order[labels[order] == label]
        learn[members[: per_class or len(members) // 2]] = True
    mixed = shuffled(len(labels))
    return mixed[learn[mixed]], mixed[~learn[mixed]]
