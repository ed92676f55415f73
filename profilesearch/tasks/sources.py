"""Any data set, by the text that people name it with."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.networks.architectures import is_torchvisions, published_framing, published_normalization
from profilesearch.networks.checkpoints import load_matched
from profilesearch.networks.names import TIMM
from profilesearch.tasks.catalogue import DATA_SETS, IMAGENET, NAMES, SMALLNORB, check_data, parts_of
from profilesearch.tasks.data import DataSet, load_data
from profilesearch.tasks.decoding import Framing
from profilesearch.tasks.files import FileImages, for_network, load_folder
from profilesearch.tasks.named import load_named
from profilesearch.tasks.smallnorb import load_smallnorb

FILE_SIZE = 224
"""Height and width of images from files, where nothing else is said."""
_SMALL = 0.6
"""Part of that height below which images are rather meant for another size."""


def open_data(text: str, folder: str | Path | None = None, download: bool = False, enlarge: bool = True) -> DataSet:
    """Loads a data set.

    Args:
        text: One of `NAMES`, or a folder of images with one subfolder a class;
            with `@SIZE` where images are to have another height and width than their own (224 for folders).
            `imagenet` is the folder of that name in `folder`, with `train` and `val`.
        folder: Where named data sets lie.
        download: Fetches missing files into `folder`.
        enlarge: Whether small images of a folder are enlarged to 224 where no size is given.

    Raises:
        UsageError: The name is unknown, or files are missing or damaged.
    """
    name, size = parts_of(check_data(text))
    if name in DATA_SETS:
        data = load_data(name, folder, download)
        return replace(data, name=text, size=size) if size else data
    if name not in NAMES or (folder is None and Path(name).is_dir()):
        return load_folder(Path(name), size) if size else _unsized(name, enlarge)
    if folder is None:
        raise UsageError(f"{name} needs a folder: give `folder`")
    if name == SMALLNORB:
        return replace(load_smallnorb(Path(folder)), name=text, size=size)
    if name == IMAGENET:
        return load_folder(Path(folder) / IMAGENET, size or FILE_SIZE)
    return load_named(name, Path(folder), download, size)


def _unsized(folder: str, enlarge: bool) -> DataSet:
    """Returns a folder's data set at a size that nobody gave, with a remark where its images are small."""
    data = load_folder(Path(folder), FILE_SIZE)
    assert isinstance(data.train, FileImages)  # noqa: S101  it is a folder
    side = data.train.shorter_side()
    if side is None or side > _SMALL * FILE_SIZE:
        return data
    if not enlarge:
        data = load_folder(Path(folder), side)
    used = f"enlarged to {FILE_SIZE}" if enlarge else f"taken at {side} by {side}"
    other = (side, "as they are") if enlarge else (FILE_SIZE, f"enlarged to {FILE_SIZE}")
    remark = (
        f"images of {folder} have about {side} pixels a side and are {used}; for a network that was trained on them "
        f"{other[1]}, name it {shlex.quote(f'{folder}@{other[0]}')}"
    )
    return replace(data, remarks=(*data.remarks, remark))


def open_for(
    architecture: str,
    text: str,
    folder: Path | None = None,
    download: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> DataSet:
    """Loads a data set as networks of an architecture take it.

    Images from files are scaled and cut as the architecture's publisher does it.

    Args:
        architecture: Its name; published networks take small images of folders enlarged.
        text: As for `open_data`.
        folder: Likewise.
        download: Likewise.
        mean: Of each channel; where None, what the architecture's publisher says for images from files, else the data
            set's own.
        std: Likewise.

    Raises:
        UsageError: As `open_data`, or the normalization does not fit.
    """
    data = open_data(text, folder, download, architecture.startswith(TIMM) or is_torchvisions(architecture))
    own, deviation = None, None
    if isinstance(data.train, FileImages) and isinstance(data.test, FileImages):
        own, deviation = published_normalization(architecture) or (None, None)
        if framing := published_framing(architecture):
            data = replace(data, **{part: getattr(data, part).framed(Framing(*framing)) for part in ("train", "test")})
    return data.renormalize(own if mean is None else mean, deviation if std is None else std)


@cache
def open_once(architecture: str, text: str, folder: Path | None = None) -> DataSet:
    """Loads a data set as `open_for` does, once a process."""
    return open_for(architecture, text, folder)


@cache
def open_labelled(architecture: str, text: str, folder: Path | None, weights: Path) -> DataSet:
    """Loads a data set as `open_once` does, with the labels that a checkpoint's network knows (see `for_network`)."""
    data = open_once(architecture, text, folder)
    return for_network(data, load_matched(architecture, weights).classes) if data.classes else data
