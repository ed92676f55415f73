"""Data sets whose images are files: a folder of classes, or ImageNet's layout."""

import hashlib
import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset

from profilesearch.errors import UsageError, one_line
from profilesearch.tasks import decoded
from profilesearch.tasks.contents import Contents
from profilesearch.tasks.data import IMAGENET_MEAN, IMAGENET_STD, DataSet, Images
from profilesearch.tasks.decoding import USUAL, Framing, bring_to, decode, is_dim, quiet, shown
from profilesearch.tasks.layout import layout_of
from profilesearch.tasks.listing import ClassFolder, list_classes

_WNID = re.compile(r"n\d{8}")
_IMAGENET_CLASSES = 1000
_INDEX = "imagenet_classes.txt"
_LEAST = 10
_PART = 2000
"""Images that are decoded before they go to a device."""
_SHOWN = 3
"""Class folders that a message names, at most."""
_LOOKED_AT = 16
"""Images whose values are looked at before any work."""
_READING = 1
"""How files become pixels: raise it when that changes, so that older scores are not taken for new ones."""


class FileImages(Images):
    """Images that are decoded when their pixels are asked for.

    Args:
        source: A torchvision data set, without transforms, or a `ClassFolder`.
        labels: Of all its images, int64.
        indices: Those that are meant, shape (N,).
        size: Height and width to which they are brought.
        contents: Of the source's files, where they are known; found out where None.
        framing: How they are brought to their size.
    """

    _source: Any
    _every: Tensor
    _indices: Tensor
    _size: int
    _contents: Contents | None
    _framing: Framing

    def __init__(
        self,
        source: Any,
        labels: Tensor,
        indices: Tensor,
        size: int,
        contents: Contents | None = None,
        framing: Framing = USUAL,
    ) -> None:
        object.__setattr__(self, "labels", labels[indices])
        files = None if contents else files_of(source)
        contents = Contents(files) if files else contents
        self.__dict__.update(
            _source=source, _every=labels, _indices=indices, _size=size, _contents=contents, _framing=framing
        )

    def relabelled(self, labels: Tensor) -> "FileImages":
        """Returns the same images, where label i is now `labels[i]`."""
        return self._with(labels=labels[self._every])

    def framed(self, framing: Framing) -> "FileImages":
        """Returns the same images, brought to their size in another way."""
        return self._with(framing=framing)

    def __getitem__(self, index: Tensor | slice) -> "FileImages":
        return self._with(indices=self._indices[index])

    def _with(
        self, labels: Tensor | None = None, indices: Tensor | None = None, framing: Framing | None = None
    ) -> "FileImages":
        return FileImages(
            self._source,
            self._every if labels is None else labels,
            self._indices if indices is None else indices,
            self._size,
            self._contents,
            framing or self._framing,
        )

    @cached_property
    def pixels(self) -> Tensor:
        """Decoded images, uint8, shape (N, 3, size, size).

        Raises:
            UsageError: A file is no image, or is damaged.
        """
        chosen = self._indices.tolist()
        if self._contents is None:
            return torch.stack(self._decoded(chosen))
        kind = f"{_READING} {self._size}{self._framing.text} Pillow {PIL.__version__}"
        known = self._contents.known(chosen)
        found = decoded.kept(list(known.values()), kind, self._size)
        missing = [index for index in chosen if known.get(index) not in found]
        made = self._decoded(missing)
        fresh = dict(zip(self._contents.digests(missing), made, strict=True))
        decoded.keep(fresh, kind)
        found |= fresh
        return torch.stack([found[digest] for digest in self._contents.digests(chosen)])

    def to(self, device: torch.device) -> Images:
        """Returns the images on a device, decoded a part at a time, and kept there alone."""
        parts = (slice(start, start + _PART) for start in range(0, len(self), _PART))
        return Images(torch.cat([self[part].pixels.to(device) for part in parts]), self.labels.to(device))

    def _decoded(self, indices: list[int]) -> list[Tensor]:
        with quiet(), ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            return list(pool.map(self._decode, indices))

    @cached_property
    def digest(self) -> str:
        """Hash of the files' content where the files are known, else of the pixels in memory; of labels and size.

        Raises:
            UsageError: A file cannot be read.
        """
        chosen = self._indices.tolist()
        if self._contents is None:
            held = getattr(self._source, "data", None)
            pixels = [self._source[i][0] for i in chosen] if held is None else np.asarray(held)[chosen]
            inside = hashlib.sha256(b"".join(np.asarray(each).tobytes() for each in pixels)).hexdigest()
        else:
            inside = " ".join(self._contents.digests(chosen))
        text = f"{_READING} {self._size}{self._framing.text} {inside} {self.labels.tolist()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check_range(self) -> None:
        """Looks at some of the images.

        Raises:
            UsageError: Those of 16 bits a channel are all dark: they hold 12 bits, or fewer, and white is not known.
        """
        if self._contents is None:
            return
        first, files = self._indices[:_LOOKED_AT].tolist(), self._contents.files
        with quiet():
            dim = {files[index]: is_dim(self._contents.read(index), files[index]) for index in first}
        wide = [path for path, each in dim.items() if each is not None]
        if wide and all(dim[path] for path in wide):
            raise UsageError(
                f"{shown(wide[0])} and other images have 16 bits, of which they use 14 or fewer; convert them to 8 "
                "bits, or scale their values so that white is 65535"
            )

    def shorter_side(self) -> int | None:
        """Returns the median of some stored images' shorter sides in pixels; None where that is unknown."""
        if self._contents is None:
            return None
        sides = []
        with (
            quiet(),
            suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError),
        ):  # decoding says it better
            for index in self._indices[:_LOOKED_AT].tolist():
                sides.append(min(Image.open(io.BytesIO(self._contents.read(index))).size))
        return int(median(sides)) if sides else None

    def _decode(self, index: int) -> Tensor:
        if self._contents is not None:
            return decode(self._contents.read(index), self._contents.files[index], self._size, self._framing)
        try:
            return bring_to(self._source[index][0], self._size, self._framing)
        except (OSError, SyntaxError, ValueError) as error:
            raise UsageError(f"image {index} cannot be decoded ({error}); fetch the data set again") from error


def files_of(source: Any) -> list[Path] | None:
    """Returns the image files of a torchvision data set in the order of its images; None where they are not known."""
    if isinstance(source, ConcatDataset):
        parts = [files_of(part) for part in source.datasets]
        return None if any(part is None for part in parts) else [path for part in parts for path in part or []]
    for name in ("samples", "_samples", "imgs"):
        if hasattr(source, name) and all(isinstance(each[0], str | Path) for each in getattr(source, name)[:1]):
            return [Path(file) for file, _ in getattr(source, name)]
    if type(source).__name__ == "INaturalist":
        return [Path(source.root) / source.all_categories[label] / file for label, file in source.index]
    found = next((getattr(source, name) for name in ("_image_files", "_images") if hasattr(source, name)), None)
    return None if found is None else [Path(file) for file in found]


def load_folder(folder: Path, size: int) -> DataSet:
    """Loads a data set that is a folder: one subfolder a class, or those under `train` and `test`, as `layout_of` finds
    them.

    A folder with one part alone is split: every fifth image, in a fixed random order, is a test image. Where the class
    folders are a part of ImageNet's (n01440764, ...), `for_network` gives them the labels of all 1,000 classes, and
    both parts may have others.

    Args:
        folder: The data set.
        size: Height and width of the images.

    Raises:
        UsageError: There is no class folder, one class alone, or no image; or what is white in its images is not known.
    """
    parts = layout_of(folder)
    if parts.train and parts.test:
        sources = [list_classes(path) for path in (parts.train, parts.test)]
        classes = tuple(sorted({*sources[0].classes, *sources[1].classes}))
        if any(source.classes != classes for source in sources) and not set(classes) <= set(_imagenet_classes()):
            other = ", ".join(sorted({*sources[0].classes} ^ {*sources[1].classes})[:_SHOWN])
            raise UsageError(
                f"{shown(parts.train)} and {shown(parts.test)} have other class folders ({other} in one alone); "
                "make them the same"
            )
        images = [FileImages(s, _labels_of(s, classes), shuffled(len(s.samples)), size) for s in sources]
    else:
        sources = [list_classes(parts.train or parts.test or folder)]
        count = len(sources[0].samples)
        if count < _LEAST:
            raise UsageError(
                f"{shown(folder)} has {count} images; {_LEAST} or more can be split for training and tests"
            )
        order, fifth = shuffled(count), torch.arange(count) % 5 == 4
        classes = sources[0].classes
        whole = FileImages(sources[0], _labels_of(sources[0], classes), order, size)
        images = [whole[~fifth], whole[fifth]]
    images[0].check_range()
    name = f"{one_line(shown(Path(folder.resolve().name)))}@{size}"
    data = DataSet(name, images[0], images[1], len(classes), IMAGENET_MEAN, IMAGENET_STD, flips=True)
    remarks = tuple(filter(None, (*(source.left_out for source in sources), parts.unread)))
    return replace(data, classes=classes, remarks=remarks, split_here=len(sources) == 1)


def for_network(data: DataSet, classes: int) -> DataSet:
    """Returns a part of ImageNet with the labels of all its classes where a network knows them; else as it is."""
    index = _imagenet_index(data.classes)
    if classes != _IMAGENET_CLASSES or index is None or data.num_classes == classes:
        return data
    assert isinstance(data.train, FileImages) and isinstance(data.test, FileImages)  # noqa: S101  they have folders
    place = torch.tensor([index.index(name) for name in data.classes])
    train, test = data.train.relabelled(place), data.test.relabelled(place)
    return replace(data, train=train, test=test, num_classes=classes)


def check_outside(place: Path, data: DataSet) -> None:
    """Checks that a result's place is in no class folder of a data set, whose images it would lie among.

    Raises:
        UsageError: It is.
    """
    sources = [images._source for images in (data.train, data.test) if isinstance(images, FileImages)]
    for source in (source for source in sources if isinstance(source, ClassFolder)):
        root, here = source.folder.resolve(), place.resolve()
        if here.is_relative_to(root) and here.relative_to(root).parts[:1] in {(name,) for name in source.classes}:
            raise UsageError(
                f"{shown(place)} lies among the images of {data.name}; name a folder outside of its classes"
            )


def shuffled(count: int) -> Tensor:
    """Returns a fixed random order: files come sorted by class, and the first of them shall not be one class alone."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def _labels_of(source: ClassFolder, classes: Sequence[str]) -> Tensor:
    place = torch.tensor([classes.index(name) for name in source.classes])
    return place[torch.tensor([label for _, label in source.samples])]


def _imagenet_index(classes: Sequence[str]) -> list[str] | None:
    """Returns the names of ImageNet's 1,000 classes, in order, where a part of them is given."""
    if not 0 < len(classes) < _IMAGENET_CLASSES or not all(_WNID.fullmatch(name) for name in classes):
        return None
    names = _imagenet_classes()
    return names if set(classes) <= set(names) else None


def _imagenet_classes() -> list[str]:
    return resources.files(__package__).joinpath(_INDEX).read_text(encoding="ascii").split()
