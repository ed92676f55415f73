"""Image files: read once and within bounds, their pixels brought to 8 bits a channel; or refused in one sentence."""

import io
import math
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from profilesearch.errors import UsageError

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What a file may be, whatever its name ends in; some of Pillow's other readers start programs."""
MAX_PIXELS = 2**26
"""Of one image, and half of what is decoded at a time: eight bytes a pixel."""
_MAX_BYTES = 2**29
_NEAR = 1e-6
"""Of a pixel: what a ratio's rounding may lack."""
_LONGEST = 8
"""Longer side over shorter side, from which on the ends are cut off before an image is resized."""


@dataclass(frozen=True)
class Framing:
    """How an image is brought to a size: its shorter side, or both, are scaled, then the centre is cut out.

    Attributes:
        ratio: The shorter side before the centre is cut out, over the size; most of ImageNet's networks are tested so.
        interpolation: As Pillow and torchvision name it.
        squash: Whether both sides are scaled to the same length, so that nothing but the margin is cut off.
    """

    ratio: float = 256 / 224
    interpolation: str = "bilinear"
    squash: bool = False

    @property
    def text(self) -> str:
        """Tells framings apart; empty for the usual one, so that what was kept under no name stays known."""
        how = "squashed" if self.squash else "cut"
        return "" if self == USUAL else f" {self.ratio:.4f} {self.interpolation} {how}"

    def side(self, size: int) -> int:
        """Returns the length to which the shorter side is scaled, whole as timm makes it for its own networks."""
        return round(size * self.ratio) if self == USUAL else math.floor(size * self.ratio + _NEAR)


USUAL = Framing()


class _Room:
    """Lets threads decode at once while their images' pixels fit into memory together."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= min(pixels, self._all))
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_room = _Room(2 * MAX_PIXELS)


def shown(path: Path) -> str:
    """Returns a path as it can be printed, whatever bytes are in its name."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_image(path: Path) -> bytes:
    """Reads a file.

    Raises:
        UsageError: It cannot be read, is too large, or is no file: a pipe, say, which would never end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would be waited for
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise UsageError(f"{shown(path)} is no regular file; take it out of the images")
            if about.st_size > _MAX_BYTES:
                raise UsageError(f"{shown(path)} has {about.st_size / 1e6:.0f} MB; make it smaller, or take it out")
            return file.read()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{shown(path)} cannot be read ({reason}); make it readable, or take it out") from error


def decode(content: bytes, path: Path, size: int, framing: Framing = USUAL) -> Tensor:
    """Decodes an image file.

    Grey values of 12 or 16 bits are scaled to 8, and so are fractions of one. Transparency is left out, as
    torchvision does it.

    Args:
        content: Of the file.
        path: For messages.
        size: Height and width to which it is brought.
        framing: How.

    Returns:
        uint8, shape (3, size, size).

    Raises:
        UsageError: It is damaged, of no known kind, too large, or has values whose range is not known.
    """
    with _opened(content, path) as image:
        return bring_to(_eight_bits(image, path), size, framing)


def is_dim(content: bytes, path: Path) -> bool | None:
    """Says whether a file with 16 bits a channel uses less than the lowest quarter of their range; None with 8 bits.

    Raises:
        UsageError: As `decode`.
    """
    with _opened(content, path) as image:
        raw = image.tile[0].args if image.tile else ""
        kind = str(raw[0] if isinstance(raw, tuple) else raw)
        if "16" not in image.mode + kind:
            return None
        return int(np.asarray(_eight_bits(image, path)).max()) < 64


def bring_to(image: Any, size: int, framing: Framing = USUAL) -> Tensor:
    """Returns the centre of a Pillow image, uint8, shape (3, size, size)."""
    from torchvision.transforms import InterpolationMode, functional  # noqa: PLC0415  takes a second or two

    image = image.convert("RGB")
    if image.size != (size, size):
        width, height = image.size
        if max(image.size) > _LONGEST * min(image.size):  # resized whole, it could take any memory
            most = _LONGEST * min(image.size)
            image = functional.center_crop(image, [min(height, most), min(width, most)])
        side = framing.side(size) if min(image.size) > size else size
        image = functional.resize(image, [side] * (1 + framing.squash), InterpolationMode(framing.interpolation))
        image = functional.center_crop(image, [size, size])
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


@contextmanager
def _opened(content: bytes, path: Path) -> Iterator[Any]:
    """Opens an image, checks its size, and turns all that its reader may raise into a sentence."""
    try:
        with Image.open(io.BytesIO(content), formats=[name for name in FORMATS if _has(name)]) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UsageError(
                    f"{shown(path)} has {width:,} by {height:,} pixels, more than {MAX_PIXELS:,}; scale it down, or "
                    "take it out"
                )
            with _room.take(width * height):
                yield image
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        raise UsageError(f"{shown(path)} has more than {MAX_PIXELS:,} pixels; scale it down, or take it out") from error
    except UnidentifiedImageError as error:
        raise UsageError(f"{shown(path)} cannot be decoded (it is no image); remove it or fetch it again") from error
    except Exception as error:  # damaged files make Pillow's readers raise all kinds
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UsageError(f"{shown(path)} cannot be decoded ({reason}); remove it or fetch it again") from error


def _has(name: str) -> bool:
    """Says whether this Pillow has a reader."""
    Image.init()
    return name in Image.OPEN


def _eight_bits(image: Any, path: Path) -> Any:
    """Returns a Pillow image with 8 bits a channel."""
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # nor with a NaN
            raise UsageError(
                f"{shown(path)} holds fractions that are not all between 0 and 1, so what is white is not known; "
                "convert it to 8 bits"
            )
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow scales PPM's to 16
        tags = image.tag_v2 if image.format == "TIFF" else {}
        bits, inverted = tags.get(258, (16,))[0], tags.get(262) == 0
        top = 2**bits - 1
        grey = ((np.asarray(image).astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
        return Image.fromarray(255 - grey if inverted else grey)
    if image.mode == "I":
        raise UsageError(f"{shown(path)} holds integers of unknown range; convert it to 8 bits")
    if image.has_transparency_data:
        *colours, alpha = image.convert("RGBA").getextrema()
        if alpha[0] < alpha[1] and all(low == high for low, high in colours):
            raise UsageError(f"{shown(path)} shows something in its transparency alone; put it on a background")
    return image


@contextmanager
def quiet() -> Iterator[None]:
    """Leaves out what Pillow warns of in odd files: what matters is a `UsageError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
