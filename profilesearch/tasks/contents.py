"""What is in files, by digests that are computed once: a file is read again when its size or times change."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.system.cache import ask
from profilesearch.tasks.decoding import read_image, shown

_SETTLED = 2.0
"""Seconds after which a changed file has another time, on every file system; until then its digest is not kept."""
_CHUNK = 500
"""Files that are looked up, or written to the cache, at a time."""
_FILE = "contents.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, stamp TEXT, digest TEXT)"


class Contents:
    """Digests of files by index.

    Args:
        files: Their paths.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self._known: dict[int, str] = {}
        self._new: dict[int, str] = {}

    def read(self, index: int) -> bytes:
        """Reads a file, and its digest with it.

        Raises:
            UsageError: It cannot be read, or has changed since its digest was asked for.
        """
        stamp = "" if index in self._known else _stamp(self._path(index))
        content = read_image(self.files[index])
        digest = _digest(content)
        if self._known.setdefault(index, digest) != digest:
            ask(_FILE, _SCHEMA, partial(_forget, path=self._path(index)))  # a next start would be told the same
            raise UsageError(f"{shown(self.files[index])} has changed meanwhile; start again")
        if stamp:
            self._new[index] = stamp
        return content

    def known(self, indices: Sequence[int]) -> dict[int, str]:
        """Returns the digests of those files that were read before, and have not changed; it reads none."""
        unknown = [index for index in indices if index not in self._known]
        for start in range(0, len(unknown), _CHUNK):
            paths = {self._path(index): index for index in unknown[start : start + _CHUNK]}
            stamps = {path: _stamp(path) for path in paths}
            kept = ask(_FILE, _SCHEMA, partial(_kept, stamps=stamps)) or {}
            self._known |= {paths[path]: digest for path, digest in kept.items()}
        return {index: self._known[index] for index in indices if index in self._known}

    def digests(self, indices: Sequence[int]) -> list[str]:
        """Returns the digests of files, from a cache for those that have not changed.

        Raises:
            UsageError: A file cannot be read.
        """
        there = self.known(indices)
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            for _ in pool.map(self.read, [index for index in indices if index not in there]):
                pass  # of which only the digests are kept
        self._keep()
        return [self._known[index] for index in indices]

    def _path(self, index: int) -> bytes:
        return os.fsencode(self.files[index].absolute())

    def _keep(self) -> None:
        """Writes what is new to the cache."""
        stamps = {self._path(index): (stamp, self._known[index]) for index, stamp in self._new.items()}
        self._new = {}
        rows = [(path, *about) for path, about in stamps.items() if _is_settled(path, about[0])]
        for start in range(0, len(rows), _CHUNK):
            ask(_FILE, _SCHEMA, partial(_add, rows=rows[start : start + _CHUNK]))


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


def _add(cache: sqlite3.Connection, rows: list[tuple[bytes, str, str]]) -> None:
    cache.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)


def _forget(cache: sqlite3.Connection, path: bytes) -> None:
    cache.execute("DELETE FROM files WHERE path = ?", [path])
