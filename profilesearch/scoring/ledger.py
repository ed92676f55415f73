"""The ledger: a durable record of every evaluation, shared by all searches."""

import json
import threading
from pathlib import Path
from typing import Any
from zlib import crc32

from profilesearch.errors import UsageError
from profilesearch.system.amounts import is_part
from profilesearch.system.files import regular_file
from profilesearch.system.journal import append

_HEADER = {"ledger": "profilesearch", "schema": 1}


class Ledger:
    """Scores by key, in a file that is only ever appended to.

    One line a score, each with a checksum, added as `append` says. A damaged line is skipped, and its score is measured
    again; a file that was deleted meanwhile is written again.

    Args:
        path: The file; created with its folders at the first score. None keeps the scores in memory.

    Attributes:
        damaged: How many lines were skipped when the file was read.

    Raises:
        UsageError: The file is no ledger, or cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.damaged = 0
        self._scores: dict[str, float] = {}
        self._lock = threading.Lock()
        if path is not None and path.exists():
            self._read(path)

    def __getstate__(self) -> dict[str, Any]:
        """Returns what a copy in another process goes on with; a lock is of one process."""
        with self._lock:
            return {**vars(self), "_scores": dict(self._scores), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: str) -> float | None:
        """Returns the score under `key`, or None."""
        return self._scores.get(key)

    def put(self, key: str, score: float, **about: Any) -> None:
        """Records a score.

        Args:
            key: Hash of everything that the score depends on.
            score: Accuracy in [0, 1].
            about: What a person who reads the file wants to know.

        Raises:
            ValueError: The score is no accuracy.
            UsageError: The file cannot be written.
        """
        if not is_part(score):
            raise ValueError(f"a score must be in [0, 1], got {score!r}")
        with self._lock:
            if self.path is not None:
                line = _line({"key": key, "score": score, **about})
                append(self.path, line, self._beginning, lambda rest: _parse(rest) is not None)
            self._scores[key] = score

    def _beginning(self) -> bytes:
        """Returns what a new file begins with: all that is known."""
        return b"".join(map(_line, (_HEADER, *({"key": key, "score": known} for key, known in self._scores.items()))))

    def _read(self, path: Path) -> None:
        try:
            lines = regular_file(path, "ledger").read_bytes().split(b"\n")
        except OSError as error:
            raise UsageError(f"cannot read the ledger {path}: {error.strerror}") from error
        if lines[0] and _parse(lines[0]) != _HEADER:
            raise UsageError(f"{path} is no ledger of this version; move it away or give `Ledger` another place")
        for line in filter(None, lines[1:]):
            row = _parse(line)
            if row is None:
                self.damaged += 1
            elif "key" in row:
                self._scores[row["key"]] = row["score"]


def _line(row: dict[str, Any]) -> bytes:
    text = json.dumps(row, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Returns the row of a line; None if its checksum does not fit, or it is none that a ledger writes."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % crc32(text):
        return None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and ("key" not in row or _is_score(row)) else None


def _is_score(row: dict[str, Any]) -> bool:
    return isinstance(row["key"], str) and is_part(row.get("score"))
