"""What is in files, by digests that are computed once: a file is read again when its size or times change."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from profilesearch.errors import UsageError
from profilesearch.networks.latency import default_cache
from profilesearch.tasks.decoding import read_image, shown

_SETTLED = 2.0
"""Seconds after which a changed file has another time, on every file system; until then its digest is not kept."""
_CHUNK = 500
"""Files that are looked up, or written to the cache, at a time."""
Result = TypeVar("Result")


class Contents:
    """Digests of files by index.

    Args:
        files: Their paths.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self._known: dict[int, str] = {}

    def read(self, index: int) -> bytes:
        """Reads a file, and its digest with it.

        Raises:
            UsageError: It cannot be read, or has changed since its digest was asked for.
        """
        content = read_image(self.files[index])
        digest = _digest(content)
        if self._known.setdefault(index, digest) != digest:
            raise UsageError(f"{shown(self.files[index])} has changed meanwhile; start again")
        return content

    def digests(self, indices: Sequence[int]) -> list[str]:
        """Returns the digests of files, from a cache for those that have not changed.

        Raises:
            UsageError: A file cannot be read.
        """
        unknown = [index for index in indices if index not in self._known]
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            for start in range(0, len(unknown), _CHUNK):
                self._look_up(unknown[start : start + _CHUNK], pool)
        return [self._known[index] for index in indices]

    def _look_up(self, indices: Sequence[int], pool: ThreadPoolExecutor) -> None:
        paths = [os.fsencode(self.files[index].absolute()) for index in indices]
        stamps = dict(zip(paths, map(_stamp, paths), strict=True))
        kept = _ask(lambda cache: _kept(cache, stamps)) or {}
        missing = [(index, path) for index, path in zip(indices, paths, strict=True) if path not in kept]
        self._known |= {index: kept[path] for index, path in zip(indices, paths, strict=True) if path in kept}
        for _ in pool.map(self.read, [index for index, _ in missing]):
            pass  # of which only the digests are kept
        fresh = [(path, stamps[path], self._known[index]) for index, path in missing if _is_settled(path, stamps[path])]
        if fresh:
            _ask(lambda cache: cache.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", fresh))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _stamp(path: bytes) -> str:
    """Returns what changes when a file does; nothing for one that cannot be looked at."""
    try:
        about = Path(os.fsdecode(path)).stat()
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"


def _is_settled(path: bytes, stamp: str) -> bool:
    """Says whether a file is as it was before it was read, and has been for a while."""
    if not stamp or _stamp(path) != stamp:
        return False
    _, *times, _ = map(int, stamp.split())
    return time.time() - max(times) / 1e9 > _SETTLED


def _kept(cache: sqlite3.Connection, stamps: dict[bytes, str]) -> dict[bytes, str]:
    marks = ",".join("?" * len(stamps))
    rows: Iterator[tuple[bytes, str, str]] = cache.execute(f"SELECT * FROM files WHERE path IN ({marks})", [*stamps])  # noqa: S608
    return {path: digest for path, stamp, digest in rows if stamp and stamps.get(path) == stamp}


def _ask(work: Callable[[sqlite3.Connection], Result]) -> Result | None:
    """Does work with the user's cache; nothing where there can be none."""
    file = default_cache().with_name("contents.sqlite")
    with suppress(OSError, sqlite3.Error):
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=5)) as cache, cache:
            cache.execute("CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, stamp TEXT, digest TEXT)")
            return work(cache)
    return None
