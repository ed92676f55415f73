"""Torchvision's classification data sets whose images are files, by name, split as published."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from profilesearch.errors import UsageError
from profilesearch.tasks.catalogue import NAMED, Named
from profilesearch.tasks.data import IMAGENET_MEAN, IMAGENET_STD, DataSet
from profilesearch.tasks.files import FileImages, files_of, shuffled

_LABELS = ("targets", "labels", "_labels", "y")


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
            f"{name} in {folder} is missing or incomplete ({reason}); put the files there{fetch}{_own(name, folder)}"
        ) from error


def _own(name: str, folder: Path) -> str:
    """Says how a folder of people's own is named that is called like a data set, where there is one."""
    there = next((each for each in (Path(".", name), folder / name) if each.is_dir()), None)
    path = f"./{name}" if there == Path(name) else there
    return "" if there is None else f"; or name a folder of your own, with one subfolder a class, by `{path}`"


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
