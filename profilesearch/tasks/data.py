"""Data sets by name, in memory, as bytes."""

import hashlib
import importlib
import json
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from profilesearch.errors import UsageError, choose
from profilesearch.system.files import regular_file
from profilesearch.tasks.catalogue import DATA_SETS, PLACES

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Also for CIFAR: the public checkpoints of the small-image ResNets were trained with these."""

_LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601)."""


@dataclass(frozen=True, eq=False)
class Images:
    """A labelled image set.

    Attributes:
        pixels: uint8, shape (N, C, H, W).
        labels: int64, shape (N,).
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "Images":
        return Images(self.pixels[index], self.labels[index])

    def to(self, device: torch.device) -> "Images":
        """Returns the images on a device; those that are there already are not copied."""
        return Images(self.pixels.to(device), self.labels.to(device))

    @cached_property
    def digest(self) -> str:
        """Hash of pixels and labels."""
        digest = hashlib.sha256(self.pixels.cpu().numpy().tobytes())
        digest.update(self.labels.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class DataSet:
    """A classification task.

    Attributes:
        name: As people ask for it.
        train: Images that weights and searches may use, through a split.
        test: Images for final reports alone.
        num_classes: How many labels there are.
        mean: Of each channel, of pixels scaled to [0, 1].
        std: Likewise.
        flips: Mirrored images have the same label.
        size: Height and width that images are enlarged to when they are normalized; their own where 0.
        held_out: Fraction of the training images that pools do not learn from, so that searches can score on them.
        classes: Names of the class folders, where it is a folder.
        names: Of the classes, where it is none and they are known.
        remarks: What people should know of it, in words, such as files that do not count.
        split_here: Whether it came without test images, and every fifth of its own was taken for one.
    """

    name: str
    train: Images
    test: Images
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: bool
    size: int = 0
    held_out: float = 0.1
    classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    split_here: bool = False
    names: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """What people call each label; nothing where that is not known of all."""
        known = self.classes or self.names
        return known if len(known) == self.num_classes else ()

    @property
    def preparation(self) -> list[Any]:
        """What makes the same images another input, and so belongs to the key of whatever is measured on them."""
        return [*self.image_shape, self.mean, self.std]

    @cached_property
    def identity(self) -> str:
        """Hash of everything that a measurement on this data set depends on: images, labels, size, normalization."""
        about = [self.train.digest, self.test.digest, self.num_classes, self.flips, self.preparation]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]

    @property
    def folder_digest(self) -> str:
        """Digest of a folder's training images, whose name may be that of others; empty where the name says it all."""
        return self.train.digest if self.classes else ""

    @property
    def own_name(self) -> str:
        """A name that no data set with other training images has: with their digest where it is that of a folder."""
        return self.told_apart().name if self.classes else self.name

    def told_apart(self) -> "DataSet":
        """Returns the same images under a name that says which they are: there may be others of the same name."""
        digest = self.train.digest[:8]
        if digest in self.name:
            return self
        name, at, size = self.name.partition("@")
        return replace(self, name=f"{name}-{digest}{at}{size}")

    def renormalize(self, mean: Sequence[float] | None, std: Sequence[float] | None) -> "DataSet":
        """Returns the same images for a network that was trained with another normalization.

        Args:
            mean: One for all channels, or one for each; the data set's own where None.
            std: Likewise.

        Raises:
            UsageError: There are as many as no image has channels, a mean is above 1, or a deviation is not positive.
        """
        channels = len(self.mean)
        given = [self.mean if mean is None else tuple(mean), self.std if std is None else tuple(std)]
        finite = all(math.isfinite(value) for values in given for value in values)
        wrong = any(len(values) not in (1, channels) for values in given) or not finite
        if wrong or min(given[1]) <= 0 or max(given[0]) > 1:
            raise UsageError(
                f"`mean` and `std` take 1 value or {channels}, of pixels scaled to [0, 1] (divide those of 0 to 255 by "
                "255), deviations above 0; got "
                f"{', '.join(' '.join(f'{value:g}' for value in values) for values in given)}"
            )
        own, deviation = (values * channels if len(values) == 1 else values for values in given)
        if (own, deviation) == (self.mean, self.std):
            return self
        return replace(self, mean=own, std=deviation)

    def normalization(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
        """Returns by which mean and deviation images are normalized for a network that takes so many channels.

        The third are the weights by which it gets normalized colours as grey: where all channels are normalized alike,
        grey images need no more than the one mean and deviation, and there are no weights.
        """
        if channels != 1 or len(self.mean) == 1:
            return self.mean, self.std, ()
        alike = len(set(self.mean)) == len(set(self.std)) == 1
        return (self.mean[:1], self.std[:1], ()) if alike else (self.mean, self.std, _LUMA)

    def without_test(self) -> "DataSet":
        """Returns the data set as searches see it: with no test image at all."""
        return replace(self, test=self.train[torch.zeros(0, dtype=torch.int64)])

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a normalized image."""
        channels, height, width = self.train[:1].pixels.shape[1:]
        return channels, self.size or height, self.size or width

    def normalize(self, pixels: Tensor, in_channels: int | None = None) -> Tensor:
        """Scales uint8 pixels (N, C, H, W) to float32 with the data set's mean and standard deviation.

        Args:
            pixels: From this data set.
            in_channels: What the network takes; a grey image is repeated for a network that takes colours, and a
                coloured one made grey for a network that takes one channel.

        Raises:
            UsageError: The network takes another number of channels.
        """
        mean, std, luma = _constants(self.mean, self.std, pixels.device)
        scaled = pixels.float().div_(255).sub_(mean).div_(std)
        if self.size not in (0, scaled.shape[-1]):
            scaled = functional.interpolate(scaled, size=(self.size, self.size), mode="bilinear", antialias=True)
        if in_channels in (None, scaled.shape[1]):
            return scaled
        if scaled.shape[1] == 1 and in_channels is not None:
            return scaled.expand(-1, in_channels, -1, -1)
        if scaled.shape[1] == 3 and in_channels == 1:
            return (scaled * luma).sum(dim=1, keepdim=True)
        raise UsageError(
            f"the network takes {in_channels} channels, but {self.name} has {scaled.shape[1]}; give its own `data`"
        )


@cache
def _constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what images are scaled by, where they are, each of shape (1, C, 1, 1)."""
    shape = (1, -1, 1, 1)
    return tuple(torch.tensor(values, device=device).view(shape) for values in (mean, std, _LUMA))  # type: ignore


def load_data(name: str, folder: str | Path | None = None, download: bool = False) -> DataSet:
    """Loads a data set by name.

    Args:
        name: `digits` (comes with scikit-learn), `cifar10`, `cifar100` or `fashionmnist`.
        folder: Where torchvision's data sets lie; unused by `digits`.
        download: Fetches missing files from the data set's own site into `folder`.

    Raises:
        UsageError: The name is unknown, or files are missing or damaged; the message has the path and the fix.
    """
    choose("data set", name, DATA_SETS)
    if name == "digits":
        return _digits()
    if folder is None:
        raise UsageError(f"{name} needs a folder: give `folder`")
    return _LOADERS[name](Path(folder), download)


def is_present(name: str, folder: Path | None) -> bool:
    """Says whether the files of a data set lie in `folder`; `digits` always does."""
    return name == "digits" or (folder is not None and (folder / PLACES[name]).exists())


def _digits() -> DataSet:
    """1,797 handwritten digits of 8 by 8 pixels (Alpaydin and Kaynak 1998); every fifth is a test image."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  a second to import, for this data set alone

    loaded = load_digits()
    pixels = torch.from_numpy(np.round(loaded.images * (255 / 16)).astype(np.uint8))[:, None]
    images = Images(pixels, torch.from_numpy(loaded.target.astype(np.int64)))
    is_test = torch.arange(len(images)) % 5 == 4
    few = 0.4  # held out: a tenth would be 143 images
    return DataSet("digits", images[~is_test], images[is_test], 10, (0.305,), (0.376,), flips=False, held_out=few)


def _cifar(kind: str, name: str, classes: int) -> "Loader":
    def load(folder: Path, download: bool) -> DataSet:
        train, test = (_read(kind, name, folder, train, download) for train in (True, False))
        images, names = (_from_rgb(train), _from_rgb(test)), tuple(train.classes)
        return DataSet(name, *images, classes, IMAGENET_MEAN, IMAGENET_STD, flips=True, names=names)

    return load


def _fashionmnist(folder: Path, download: bool) -> DataSet:
    train, test = (_read("FashionMNIST", "fashionmnist", folder, train, download) for train in (True, False))
    images, names = (_from_grey(train), _from_grey(test)), tuple(train.classes)
    return DataSet("fashionmnist", *images, 10, (0.286,), (0.353,), flips=True, names=names)


def _read(kind: str, name: str, folder: Path, train: bool, download: bool) -> Any:
    place = folder / PLACES[name]
    fix = f"put the files there, or add `download=True` to fetch them into {folder}"
    if not download and not place.exists():
        raise UsageError(f"{name} is not in {place}; {fix}")
    for file in place.glob("*"):
        if not file.is_dir():
            regular_file(file, f"part of {name}")
    try:
        return getattr(importlib.import_module("torchvision.datasets"), kind)(
            str(folder), train=train, download=download
        )
    except (RuntimeError, OSError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise UsageError(f"{name} in {place} is incomplete or damaged ({reason}); {fix}") from error


def _from_rgb(data: Any) -> Images:
    return Images(torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(data.targets))


def _from_grey(data: Any) -> Images:
    return Images(data.data[:, None].contiguous(), data.targets.long())


Loader = Callable[[Path, bool], DataSet]
_LOADERS: dict[str, Loader] = {
    "cifar10": _cifar("CIFAR10", "cifar10", 10),
    "cifar100": _cifar("CIFAR100", "cifar100", 100),
    "fashionmnist": _fashionmnist,
}
