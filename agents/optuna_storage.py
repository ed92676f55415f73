"""Where several processes keep an Optuna study: databases and journals, opened safely, with bounded waiting."""

import fcntl
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

from agents.storage_files import storage_file
from profilesearch.errors import UsageError

PATIENCE_S = 20.0
"""How long somebody else may lock a storage."""


class StorageError(UsageError):
    """A storage that does not answer."""


def open_storage(storage: str) -> optuna.storages.BaseStorage:
    """Opens a storage: a database by its URL, or a journal by its file, whose folder is made."""
    path = storage_file(storage)
    if path is None:
        return optuna.storages.get_storage(storage)
    path.parent.mkdir(parents=True, exist_ok=True)
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


def _shown(storage: str) -> str:
    """Returns a storage's name without its password."""
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except ArgumentError:
        return storage


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
