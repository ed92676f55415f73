"""Torchvision's classification data sets whose images are files, by name, split as published."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

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
        share: Share of the training images in each class where that is not said.
        upright: A mirrored image means something else.
        size: Height and width that images are brought to where nothing else is asked.
        fetched: Torchvision can download it.
    """

    kind: str
    classes: int
    train: tuple[Mapping[str, Any], ...] = ({"split": "train"},)
    test: Mapping[str, Any] | None = None
    per_class: int = 0
    share: float = 0.5
    upright: bool = False
    size: int = 224
    fetched: bool = True


_TEST = {"split": "test"}
_MNIST: dict[str, Any] = {"train": ({"train": True},), "test": {"train": False}, "upright": True, "size": 28}
_BALANCED = {"split": "balanced"}
_BOTH = ({"split": "train"}, {"split": "val"})
_TRAINVAL = ({"split": "trainval"},)
NAMED: Mapping[str, Named] = {
    "svhn": Named("SVHN", 10, test=_TEST, upright=True, size=32),
    "stl10": Named("STL10", 10, test=_TEST, size=96),
    "mnist": Named("MNIST", 10, **_MNIST),
    "kmnist": Named("KMNIST", 10, **_MNIST),
    "qmnist": Named("QMNIST", 10, **_MNIST),
    "emnist": Named("EMNIST", 47, (_BALANCED | {"train": True},), _BALANCED | {"train": False}, upright=True, size=28),
    "usps": Named("USPS", 10, **{**_MNIST, "size": 16}),
    "semeion": Named("SEMEION", 10, ({},), share=0.8, upright=True, size=16),
    "fer2013": Named("FER2013", 7, test=_TEST, size=48, fetched=False),
    "eurosat": Named("EuroSAT", 10, ({},), share=0.8, size=64),
    "gtsrb": Named("GTSRB", 43, test=_TEST, upright=True),
    "sun397": Named("SUN397", 397, ({},)),
    "caltech101": Named("Caltech101", 101, ({},), per_class=30),
    "caltech256": Named("Caltech256", 257, ({},), per_class=60),
    "dtd": Named("DTD", 47, _BOTH, _TEST),
    "flowers102": Named("Flowers102", 102, _BOTH, _TEST),
    "food101": Named("Food101", 101, test=_TEST),
    "oxfordiiitpet": Named("OxfordIIITPet", 37, _TRAINVAL, _TEST),
    "fgvcaircraft": Named("FGVCAircraft", 100, _TRAINVAL, _TEST),
    "stanfordcars": Named("StanfordCars", 196, test=_TEST, fetched=False),  # its site is gone
    "country211": Named("Country211", 211, ({"split": "train"}, {"split": "valid"}), _TEST),
    "renderedsst2": Named("RenderedSST2", 2, ({"split": "train"}, {"split": "val"}), _TEST, upright=True),
    "pcam": Named("PCAM", 2, test=_TEST, size=96),
    "imagenette": Named("Imagenette", 10, test={"split": "val"}),
    "places365": Named("Places365", 365, ({"small": True},), {"small": True, "split": "val"}),
    "inaturalist": Named("INaturalist", 10_000, ({"version": "2021_train"},), {"version": "2021_valid"}),
}
"""Class counts and splits as Kornblith et al. (2019, arXiv 1805.08974) and Iofinova et al. (2022) have them, for those
that they used; but SUN397's published partition lists are not in its archive, so every class is halved at random. Four
fifths of every class are for training in EuroSAT and SEMEION, which have no published parts."""


def load_named(name: str, folder: Path, download: bool, size: int = 0) -> DataSet:
    """Loads one of torchvision's data sets, see `NAMED`.

    Args:
        name: One of `NAMED`.
        folder: Where data sets lie.
        download: Fetches missing files.
        size: Height and width of the images; what is customary for the data set where 0.

    Raises:
        UsageError: Its files are missing or damaged.
    """
    about = NAMED[name]
    size = size or about.size
    learn = [_open(name, folder, download, settings) for settings in about.train]
    labels = torch.cat([_labels_of(source) for source in learn])
    source = learn[0] if len(learn) == 1 else ConcatDataset(learn)
    if about.test is None:
        train, test = (FileImages(source, labels, part, size) for part in _divided(source, labels, about))
    else:
        other = _open(name, folder, download, about.test)
        train = FileImages(source, labels, shuffled(len(labels)), size)
        known = _labels_of(other)
        test = FileImages(other, known, shuffled(len(known)), size)
    return DataSet(f"{name}@{size}", train, test, about.classes, IMAGENET_MEAN, IMAGENET_STD, not about.upright)


def _open(name: str, folder: Path, download: bool, settings: Mapping[str, Any]) -> Any:
    made: Callable[..., Any] = getattr(importlib.import_module("torchvision.datasets"), NAMED[name].kind)
    able = {"download": download} if NAMED[name].fetched else {}
    try:
        return made(str(folder), **able, **settings)
    except Exception as error:  # every data set has its own way to say so
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        fetch = ", or add `download=True`" if able else ""
        raise UsageError(
            f"{name} in {folder} is missing or incomplete ({reason}); put the files there{fetch}"
        ) from error


def _labels_of(source: Any) -> Tensor:
    labels = next((getattr(source, each) for each in _LABELS if hasattr(source, each)), None)
    if labels is None:
        samples = getattr(source, "_samples", None)
        index = getattr(source, "index", None)  # INaturalist's
        labels = [label for _, label in samples] if samples else [label for label, _ in index or ()]
        labels = labels or [source[i][1] for i in range(len(source))]
    if any(label is None for label in labels[:1]):
        raise UsageError("these files have no labels for the test images; take those that have (FER2013: fer2013.csv)")
    known = torch.as_tensor(np.asarray(labels)).long()
    return known[:, 0] if known.dim() > 1 else known  # QMNIST's say who wrote a digit, too


def _divided(source: Any, labels: Tensor, about: Named) -> tuple[Tensor, Tensor]:
    """Returns indices of training and test images, drawn from every class with a fixed seed."""
    files = files_of(source)
    known = sorted(range(len(labels)), key=lambda i: str(files[i])) if files else list(range(len(labels)))
    order = torch.tensor(known)[torch.randperm(len(known), generator=torch.Generator().manual_seed(0))]
    learn = torch.zeros(len(labels), dtype=torch.bool)
    for label in sorted(set(labels.tolist())):
        members = order[labels[order] == label]
        learn[members[: about.per_class or int(len(members) * about.share)]] = True
    mixed = shuffled(len(labels))
    return mixed[learn[mixed]], mixed[~learn[mixed]]
