"""Files of Optuna studies, and whether they can be some: read without Optuna, which takes seconds."""

import json
import re
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.system.files import check_writable, regular_file

_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?!:memory:|file:)([^?]+)(?:\?.*)?", re.DOTALL)


def storage_file(storage: str) -> Path | None:
    """Returns the file of a journal or of an SQLite database; None for other databases, and those in memory."""
    if "://" not in storage:
        return Path(storage)
    found = _SQLITE.fullmatch(storage)
    return Path(found[1]) if found else None


def check_storage(storage: str) -> None:
    """Finds out before any work that a storage can be one; nothing is ever written to another kind of file.

    Raises:
        UsageError: It is a file of another kind, or in a folder that cannot be written.
    """
    path = storage_file(storage)
    if path is None:
        return
    check_writable(path.parent)
    if path.exists() and regular_file(path, "Optuna storage").stat().st_size:
        is_journal = "://" not in storage
        with path.open("rb") as file:
            known = _is_journal(file.readline(100_000)) if is_journal else file.read(16) == b"SQLite format 3\0"
        if not known:
            kind = "journal of Optuna" if is_journal else "SQLite database"
            raise UsageError(f"{path} is no {kind}, and is left as it is; let `storage` name another file")


def _is_journal(line: bytes) -> bool:
    if not line.endswith(b"\n"):  # all that there is, and half of a line
        return line.startswith(b'{"op_code"'[: len(line)])
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and "op_code" in value
