"""Data sets by name, and the texts that people name them with: read without torch, which takes seconds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profilesearch.errors import UsageError, nearest


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
PLACES = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "fashionmnist": "FashionMNIST/raw"}
"""Where those lie below a folder of data sets that are held in memory."""
DATA_SETS = ("digits", *PLACES)
SMALLNORB, IMAGENET = "smallnorb", "imagenet"
NAMES = (*DATA_SETS, *NAMED, SMALLNORB, IMAGENET)
_SIZED = re.compile(r"(.+)@([1-9][0-9]{0,3})", re.DOTALL)


def is_data(text: str) -> bool:
    """Says whether a text names a data set or a folder, with or without a size."""
    name, _ = parts_of(text)
    return name in NAMES or Path(name).is_dir()


def taken(text: str, folder: Path | None) -> str:
    """Says what a text names that is a data set's name and a folder here; nothing where it can mean one thing alone.

    Args:
        text: As for `check_data`.
        folder: Where named data sets lie.
    """
    name, _ = parts_of(text)
    if name not in NAMES or not Path(name).is_dir() or (folder is not None and folder.resolve() == Path.cwd()):
        return ""
    if name in DATA_SETS or folder is not None:
        return f"{name} is the data set of that name, and not the folder here, which is ./{name}"
    return f"{name} is the folder here; the data set of that name needs the folder that it lies in"


def check_data(text: str) -> str:
    """Returns the text if it names a data set or a folder.

    Raises:
        UsageError: With the nearest name.
    """
    name, _ = parts_of(text)
    if is_data(text):
        return text
    if "/" in name or name.startswith("."):
        raise UsageError(f"there is no folder {name}; give a folder with one subfolder a class, or a data set's name")
    folders = [each.name for each in Path().iterdir() if each.is_dir()]
    raise UsageError(f"unknown data set '{name}', and no folder of that name; {nearest(name, [*NAMES, *folders])}")


def with_size(text: str, image_size: int | None) -> str:
    """Returns such a text with a size of its images, unless that is None.

    Raises:
        UsageError: The text names another one.
    """
    if image_size is None:
        return text
    _, own = parts_of(text)
    if own not in (0, image_size):
        raise UsageError(f"'{text}' says {own} pixels, but `image_size={image_size}`; give one of them")
    return text if own else f"{text}@{image_size}"


def parts_of(text: str) -> tuple[str, int]:
    """Returns the name of such a text, and the size of its images; 0 where it says none."""
    sized = _SIZED.fullmatch(text)
    return (sized[1], int(sized[2])) if sized and not Path(text).is_dir() else (text, 0)
