"""Where several processes keep an Optuna study: databases and journals, opened safely, with bounded waiting."""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from profilesearch.errors import UsageError
from profilesearch.system.files import check_writable, regular_file

PATIENCE_S = 20.0
"""How long somebody else may lock a storage."""


class StorageError(UsageError):
    """A storage that does not answer."""


def check_storage(storage: str) -> None:
    """Finds out before any work that a storage can be one; nothing is ever written to another kind of file.

    Raises:
        UsageError: It is a file of another kind, in a folder that cannot be written, or locked by somebody.
    """
    path = _file(storage)
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


def open_storage(storage: str) -> optuna.storages.BaseStorage:
    """Opens a storage: a database by its URL, or a journal by its file."""
    path = _file(storage)
    if path is None:
        return optuna.storages.get_storage(storage)
    if "://" not in storage:
        return optuna.storages.JournalStorage(_journal(str(path)))
    _wait_for_database(path)
    # Without it, SQLite waits for 5 seconds at each write, less than a slow disk may take for those of others.
    return optuna.storages.RDBStorage(storage, {"connect_args": {"timeout": PATIENCE_S}})


@contextmanager
def answering(storage: str, what: str) -> Iterator[None]:
    """Turns whatever a storage does not answer in a `with` block into one sentence; `what` begins it."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # of whichever database it is
        first = error.__cause__ or error  # Optuna's own sentence says of every failure that it may be invalid data
        reason = (str(first).splitlines() or [type(first).__name__])[0]
        raise StorageError(
            f"{what} the Optuna storage {_shown(storage)}: {reason}; give sqlite:///FILE, the URL of a database, or a "
            "file for a journal; once it answers, the same command goes on"
        ) from error


def _file(storage: str) -> Path | None:
    """Returns the file of a journal or of an SQLite database; None for other databases, and those in memory."""
    if "://" not in storage:
        return Path(storage)
    try:
        url = make_url(storage)
    except ArgumentError:
        return None
    named = url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:"
    return Path(str(url.database)) if named and not str(url.database).startswith("file:") else None


def _shown(storage: str) -> str:
    """Returns a storage's name without its password."""
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except ArgumentError:
        return storage


def _is_journal(line: bytes) -> bool:
    if not line.endswith(b"\n"):  # all that there is, and half of a line
        return line.startswith(b'{"op_code"'[: len(line)])
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and "op_code" in value


def _wait_for_database(path: Path) -> None:
    """Waits until an SQLite database can be written."""
    connection = sqlite3.connect(path, timeout=PATIENCE_S)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise _locked(path) from error
    finally:
        connection.close()


def _locked(path: Path) -> UsageError:
    return UsageError(
        f"{path} has been locked by another process for {PATIENCE_S:.0f} seconds; end that, or let `storage` name "
        "another file"
    )


def _journal(path: str) -> JournalFileBackend:
    lock = _Lock(path)
    return JournalFileBackend(path, lock if lock.works() else JournalFileSymlinkLock(str(Path(path).absolute())))


class _Lock(JournalFileOpenLock):
    """Locks the journal itself, for as long as its owner lives at most; cuts off the half line of a dead one."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._descriptor: int | None = None

    def works(self) -> bool:
        """Says whether the disk has such locks; creates the journal."""
        try:
            self.acquire()
        except OSError:
            return False
        self.release()
        return True

    def acquire(self) -> bool:
        """Waits for the lock."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise _locked(Path(self._path)) from error
                time.sleep(0.01)
            except BaseException:
                os.close(descriptor)
                raise
        _cut_half_line(descriptor)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _cut_half_line(descriptor: int) -> None:
    """Cuts off what a killed process left of its last line: a line after it would be read as a part of it."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.ftruncate(descriptor, os.pread(descriptor, size, 0).rfind(b"\n") + 1)
