"""Temporary files and folders: locked by the process that uses them, and removed by the next one if it was killed."""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from profilesearch.errors import UsageError

_FILE = ".profilesearch-"
_FOLDER = "profilesearch.scratch-"


@contextmanager
def temporary_file(folder: Path, suffix: str) -> Iterator[Path]:
    """Gives a path for the time of a `with` block; its name is short, however long that of the result is.

    It lies in a locked folder of its own: some writers replace the file that they are given, and with it a lock on it.

    Raises:
        OSError: The folder cannot be written.
    """
    with folder_beside(folder / "new", _FILE) as own:
        yield own / f"new{suffix}"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Makes a folder for the time of a `with` block, where the system keeps temporary files.

    Raises:
        UsageError: There is no place that can be written.
    """

    def make() -> tuple[int, str]:
        folder = tempfile.mkdtemp(prefix=_FOLDER)
        return os.open(folder, os.O_RDONLY), folder

    with ExitStack() as stack:
        try:
            _remove_abandoned(Path(tempfile.gettempdir()), _FOLDER)
            folder = stack.enter_context(_locked(make))
        except OSError as error:
            raise UsageError(
                f"cannot write temporary files: {error.strerror or error}; free some space, or let TMPDIR name a "
                "writable folder"
            ) from error
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


@contextmanager
def plainly_named(path: Path) -> Iterator[Path]:
    """Gives a path to a file that libraries take which want UTF-8: its own, or a link for the time of a `with` block.

    Raises:
        UsageError: There is no place for the link.
    """
    if not any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        yield path
        return
    with scratch_folder() as folder:
        link = folder / "link"
        link.symlink_to(path.absolute())
        yield link


@contextmanager
def folder_beside(place: Path, prefix: str) -> Iterator[Path]:
    """Makes a folder beside a place for the time of a `with` block; it may be moved away meanwhile.

    Args:
        place: Where something is going to be.
        prefix: Of the folder's name; what else is called so there, and was left by killed processes, is removed.

    Raises:
        OSError: The place's own folder cannot be written.
    """

    def make() -> tuple[int, str]:
        while True:
            folder = place.parent / f"{prefix}{secrets.token_hex(4)}"
            folder.mkdir()
            with suppress(FileNotFoundError):  # somebody took it for abandoned before it was opened
                return os.open(folder, os.O_RDONLY), str(folder)

    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(place.parent, prefix)
    with _locked(make) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(make: Callable[[], tuple[int, str]]) -> Iterator[Path]:
    """Holds a new file or folder, so that others see that it is in use for as long as this process lives."""
    while True:
        descriptor, name = make()
        with suppress(OSError):  # some network disks have no locks; what a kill leaves there stays
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # somebody took it for abandoned before it was locked
    try:
        yield Path(name)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Removes those temporary files or folders of this user whose makers are gone."""
    for path in folder.glob(f"{prefix}*"):
        with suppress(OSError):
            kind = os.O_RDONLY if path.is_dir() else os.O_RDWR
            descriptor = os.open(path, kind | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid != os.geteuid():
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)
