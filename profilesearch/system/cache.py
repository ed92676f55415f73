"""What can be made again, in SQLite files of the user's cache: shared by processes, and never in anybody's way."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar

from profilesearch.system.files import cache_folder

Result = TypeVar("Result")


def ask(name: str, schema: str, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
    """Does work with one of the user's caches, in one transaction.

    Args:
        name: Of the file.
        schema: Statement that makes its table unless it is there.
        work: Receives the connection.

    Returns:
        What `work` returns; None where there can be no cache: no room, no rights, a damaged file.
    """
    file = cache_folder() / name
    with suppress(OSError, sqlite3.Error):
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=5)) as cache, cache:
            cache.execute(schema)
            return work(cache)
    return None
