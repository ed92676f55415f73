"""Decoded images at the size that is used, kept in the user's cache within bounds: no file is decoded twice."""

import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import partial
from zlib import crc32

import torch
from torch import Tensor

from profilesearch.system.cache import ask
from profilesearch.system.files import cache_folder

MOST = 16 * 2**30
"""Bytes that are kept, at most; and never more than half of what is free on the disk."""
_FILE = "decoded.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS images (key TEXT PRIMARY KEY, day INTEGER, pixels BLOB)"
_INDEX = "CREATE INDEX IF NOT EXISTS days ON images (day)"
_SEAL = 4
"""Bytes of a checksum."""
_CHUNK = 500
"""Images that are looked up or written at a time."""
_full: set[int] = set()
"""Days on which this process found no room: it does not look for it at every batch."""


def kept(digests: Sequence[str], kind: str, size: int) -> dict[str, Tensor]:
    """Returns what is there of images, by digest.

    Args:
        digests: Of their files' content.
        kind: How they were decoded.
        size: Their height and width.

    Returns:
        uint8, each of shape (3, size, size).
    """
    found: dict[str, Tensor] = {}
    for start in range(0, len(digests), _CHUNK):
        keys = {_key(digest, kind): digest for digest in digests[start : start + _CHUNK]}
        for key, content in ask(_FILE, _SCHEMA, partial(_rows, keys=list(keys))) or ():
            pixels = _unsealed(content)
            if len(pixels) == 3 * size * size:
                found[keys[key]] = torch.frombuffer(pixels, dtype=torch.uint8).view(3, size, size)
    return found


def keep(images: Mapping[str, Tensor], kind: str) -> None:
    """Keeps decoded images, by the digest of their files, as far as there is room.

    Where there is none, what was written on an earlier day makes room; what is of today stays, so that a data set that
    is too large does not drive itself out again and again.
    """
    names = [] if _today() in _full else list(images)
    for start in range(0, len(names), _CHUNK):
        part = names[start : start + _CHUNK]
        rows = [(_key(digest, kind), _today(), _sealed(images[digest])) for digest in part]
        needed = sum(len(content) for _, _, content in rows)
        if not _has_room(needed):
            ask(_FILE, _SCHEMA, _forget_earlier)
            if not _has_room(needed):
                _full.add(_today())
                return
        ask(_FILE, _SCHEMA, partial(_add, rows=rows))


def _key(digest: str, kind: str) -> str:
    return f"{digest} {kind}"


def _sealed(image: Tensor) -> bytes:
    """Returns pixels behind their checksum: SQLite has none, and what was damaged would still be pixels."""
    pixels = image.numpy().tobytes()
    return crc32(pixels).to_bytes(_SEAL, "big") + pixels


def _unsealed(content: bytes) -> bytearray:
    """Returns the pixels, none where they are damaged."""
    seal, pixels = content[:_SEAL], bytearray(content[_SEAL:])
    return pixels if crc32(pixels).to_bytes(_SEAL, "big") == seal else bytearray()


def _today() -> int:
    return int(time.time() // 86_400)


def _rows(cache: sqlite3.Connection, keys: list[str]) -> list[tuple[str, bytes]]:
    marks = ",".join("?" * len(keys))
    return cache.execute(f"SELECT key, pixels FROM images WHERE key IN ({marks})", keys).fetchall()  # noqa: S608


def _add(cache: sqlite3.Connection, rows: list[tuple[str, int, bytes]]) -> None:
    cache.execute(_INDEX)
    cache.executemany("INSERT OR IGNORE INTO images VALUES (?, ?, ?)", rows)


def _has_room(needed: int) -> bool:
    """Says whether so many bytes may be added; not where there can be no cache."""
    return bool(ask(_FILE, _SCHEMA, partial(_fits, needed=needed)))


def _fits(cache: sqlite3.Connection, needed: int) -> bool:
    """Says it of bytes beyond those pages of the file that hold nothing."""
    names = ("page_count", "freelist_count", "page_size")
    pages, unused, size = (int(cache.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    more = needed - unused * size
    return pages * size + more <= MOST and more <= shutil.disk_usage(cache_folder()).free // 2


def _forget_earlier(cache: sqlite3.Connection) -> None:
    """Removes what was written before today."""
    cache.execute("DELETE FROM images WHERE day < ?", [_today()])
