"""SmallNORB: five kinds of toys, photographed from all sides (LeCun, Huang and Bottou 2004)."""

import gzip
from pathlib import Path

import numpy as np
import torch

from profilesearch.errors import UsageError
from profilesearch.system.files import regular_file
from profilesearch.tasks.data import DataSet, Images

_PARTS = ("smallnorb-5x46789x9x18x6x2x96x96-training", "smallnorb-5x01235x9x18x6x2x96x96-testing")
_TYPES = {0x1E3D4C55: np.uint8, 0x1E3D4C54: np.int32}


def load_smallnorb(folder: Path) -> DataSet:
    """Loads SmallNORB from its own files, packed or not, under `folder/smallnorb`: the first camera's images, 96 by 96.

    Raises:
        UsageError: Files are missing or damaged.
    """
    train, test = (_part(folder / "smallnorb", name) for name in _PARTS)
    return DataSet("smallnorb", train, test, 5, (0.752,), (0.175,), flips=True)


def _part(folder: Path, name: str) -> Images:
    pixels, labels = _matrix(folder / f"{name}-dat.mat"), _matrix(folder / f"{name}-cat.mat")
    if pixels.ndim != 4 or len(pixels) != len(labels):
        raise UsageError(f"{name} in {folder} is damaged: images and labels do not fit; fetch its files again")
    return Images(torch.from_numpy(pixels[:, :1].copy()), torch.from_numpy(labels.astype(np.int64)))


def _matrix(path: Path) -> np.ndarray:
    """Reads the data set's own format: a magic number for the type, the number of axes, their sizes (three or more)."""
    packed = path.with_name(path.name + ".gz")
    file = packed if packed.exists() else path
    if file.exists():
        regular_file(file, "part of smallnorb")
    try:
        content = gzip.decompress(file.read_bytes()) if file == packed else file.read_bytes()
        magic, axes = np.frombuffer(content, "<i4", 2)
        sizes = np.frombuffer(content, "<i4", max(3, axes), 8)[:axes]
        start = 8 + 4 * max(3, int(axes))
        return np.frombuffer(content, np.dtype(_TYPES[int(magic)]).newbyteorder("<"), -1, start).reshape(sizes)
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise UsageError(f"cannot read {path} ({error}); put SmallNORB's files, packed or not, there") from error
