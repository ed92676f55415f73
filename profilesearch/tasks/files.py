"""Data sets whose images are files: a folder of classes, or ImageNet's layout."""

import hashlib
import importlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import ConcatDataset
from torchvision import datasets
from torchvision.transforms import functional

from profilesearch.errors import UsageError
from profilesearch.tasks.data import IMAGENET_MEAN, IMAGENET_STD, DataSet, Images

_TRAIN, _TEST = ("train", "training"), ("test", "val", "valid", "validation")
_WNID = re.compile(r"n\d{8}")
_LEAST = 10
_RESIZE = 256 / 224
"""The shorter side before the centre is cut out, over the image size: what ImageNet's networks are tested with."""


class FileImages(Images):
    """Images that are decoded when their pixels are asked for.

    Args:
        source: A torchvision data set, without transforms.
        labels: Of all its images, int64.
        indices: Those that are meant, shape (N,).
        size: Height and width to which they are brought: the shorter side is scaled, then the centre is cut out.
    """

    _source: Any
    _every: Tensor
    _indices: Tensor
    _size: int

    def __init__(self, source: Any, labels: Tensor, indices: Tensor, size: int) -> None:
        object.__setattr__(self, "labels", labels[indices])
        self.__dict__.update(_source=source, _every=labels, _indices=indices, _size=size)

    def relabelled(self, labels: Tensor) -> "FileImages":
        """Returns the same images, where label i is now `labels[i]`."""
        return FileImages(self._source, labels[self._every], self._indices, self._size)

    def __getitem__(self, index: Tensor | slice) -> "FileImages":
        return FileImages(self._source, self._every, self._indices[index], self._size)

    @cached_property
    def pixels(self) -> Tensor:
        """Decoded images, uint8, shape (N, 3, size, size).

        Raises:
            UsageError: A file is no image, or is damaged.
        """
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            return torch.stack(list(pool.map(self._decode, self._indices.tolist())))

    @cached_property
    def digest(self) -> str:
        """Hash of the files' names and sizes where the files are known, else of the pixels in memory, and labels."""
        files = files_of(self._source)
        chosen = self._indices.tolist()
        if files is None:
            held = getattr(self._source, "data", None)
            pixels = [self._source[i][0] for i in chosen] if held is None else np.asarray(held)[chosen]
            inside = hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in pixels)).hexdigest()
            text = f"{type(self._source).__name__} {inside} {chosen} {self.labels.tolist()}"
        else:
            paths = [files[index] for index in chosen]
            text = "\n".join(f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in paths)
        return hashlib.sha256(f"{self._size}\n{text}".encode()).hexdigest()[:16]

    def _decode(self, index: int) -> Tensor:
        try:
            image = self._source[index][0]
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            files = files_of(self._source)
            where = files[index] if files else f"image {index}"
            raise UsageError(f"{where} cannot be decoded ({error}); remove it or fetch it again") from error
        return _bring_to(image, self._size)


def files_of(source: Any) -> list[Path] | None:
    """Returns the image files of a torchvision data set in the order of its images; None where they are not known."""
    if isinstance(source, ConcatDataset):
        parts = [files_of(part) for part in source.datasets]
        return None if any(part is None for part in parts) else [path for part in parts for path in part or []]
    for name in ("samples", "_samples", "imgs"):
        if hasattr(source, name) and all(isinstance(each[0], str | Path) for each in getattr(source, name)[:1]):
            return [Path(file) for file, _ in getattr(source, name)]
    if isinstance(source, datasets.INaturalist):
        return [Path(source.root) / source.all_categories[label] / file for label, file in source.index]
    found = next((getattr(source, name) for name in ("_image_files", "_images") if hasattr(source, name)), None)
    return None if found is None else [Path(file) for file in found]


def load_folder(folder: Path, size: int) -> DataSet:
    """Loads a data set that is a folder: one subfolder a class, or those under `train` and `val` (or `test`).

    A folder with one part alone is split: every fifth image, in a fixed random order, is a test image. Where the class
    folders are ImageNet's (n01440764, ...) but not all of them, labels are those of the 1,000-class index, until
    `for_network` finds a network that knows these classes alone.

    Args:
        folder: The data set.
        size: Height and width of the images.

    Raises:
        UsageError: There is no class folder, one class alone, or no image.
    """
    parts = {kind: next((folder / n for n in names if (folder / n).is_dir()), None)
             for kind, names in (("train", _TRAIN), ("test", _TEST))}  # fmt: skip
    if parts["train"] and parts["test"]:
        sources = [_read_folder(path) for path in (parts["train"], parts["test"])]
        if sources[0].classes != sources[1].classes:
            raise UsageError(f"{parts['train']} and {parts['test']} have other class folders; make them the same")
        classes = sources[0].classes
        images = [FileImages(s, _labels_of(s, classes), shuffled(len(s)), size) for s in sources]
    else:
        source = _read_folder(parts["train"] or parts["test"] or folder)
        classes = source.classes
        if len(source) < _LEAST:
            raise UsageError(f"{folder} has {len(source)} images; {_LEAST} or more can be split for training and tests")
        order = shuffled(len(source))
        labels, fifth = _labels_of(source, classes), torch.arange(len(source)) % 5 == 4
        images = [FileImages(source, labels, order[chosen], size) for chosen in (~fifth, fifth)]
    count = len(_imagenet_index(classes) or classes)
    name = f"{folder.resolve().name}@{size}"
    return DataSet(name, images[0], images[1], count, IMAGENET_MEAN, IMAGENET_STD, flips=True)


def for_network(data: DataSet, classes: int) -> DataSet:
    """Returns a part of ImageNet with labels of its own classes, where a network knows just as many; else as it is."""
    if not isinstance(data.train, FileImages) or not isinstance(data.test, FileImages) or classes == data.num_classes:
        return data
    present = torch.unique(torch.cat([data.train.labels, data.test.labels]))
    if len(present) != classes:
        return data
    own = torch.full((data.num_classes,), -1)
    own[present] = torch.arange(classes)
    return replace(data, train=data.train.relabelled(own), test=data.test.relabelled(own), num_classes=classes)


def shuffled(count: int) -> Tensor:
    """Returns a fixed random order: files come sorted by class, and the first of them shall not be one class alone."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def _read_folder(folder: Path) -> Any:
    try:
        source = datasets.ImageFolder(str(folder))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{folder} is no image data set: it needs one folder a class, with images in each, directly or under "
            f"train/ and val/ ({(str(error).splitlines() or [''])[0]})"
        ) from error
    if len(source.classes) < 2:
        raise UsageError(f"{folder} has one class alone, '{source.classes[0]}'; a classifier needs two or more")
    return source


def _labels_of(source: Any, classes: Sequence[str]) -> Tensor:
    labels = torch.tensor(source.targets)
    index = _imagenet_index(classes)
    return labels if index is None else torch.tensor([index.index(name) for name in classes])[labels]


def _imagenet_index(classes: Sequence[str]) -> list[str] | None:
    """Returns the names of ImageNet's 1,000 classes in order where a part of them is given, else nothing."""
    if len(classes) >= 1000 or not all(_WNID.fullmatch(name) for name in classes):
        return None
    try:
        index = importlib.import_module("timm.data")
    except ImportError as error:
        raise UsageError(
            "these folders are some of ImageNet's 1,000 classes; `pip install 'profilesearch[timm]'` brings the index "
            "of all of them"
        ) from error
    names = list(index.ImageNetInfo().label_names())
    return names if set(classes) <= set(names) else None


def _bring_to(image: Any, size: int) -> Tensor:
    image = image.convert("RGB")
    if image.size != (size, size):
        image = functional.resize(image, [round(size * _RESIZE)] if min(image.size) > size else [size])
        image = functional.center_crop(image, [size, size])
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
