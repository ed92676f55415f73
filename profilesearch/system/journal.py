"""Files of lines that are only appended to: the one way in which scores and measured rows are kept."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from profilesearch.system.files import cannot_write


def append(
    path: Path, line: bytes, beginning: Callable[[], bytes], is_whole: Callable[[bytes], bool] = lambda rest: False
) -> None:
    """Adds a line to a file, in one piece.

    Several processes may do so at once: each holds the file's lock meanwhile. A kill or a full disk loses the line that
    is being written, at most; what there is of it is cut off before the next one. A file that was deleted, or replaced,
    since the last line is found by its name.

    Args:
        path: The file; created with its folders.
        line: With its end.
        beginning: Returns what stands before the first line of a new file.
        is_whole: Says whether a last line without its end is one that readers take: it gets its end then.

    Raises:
        UsageError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path) as descriptor:
            size, rest = _last(descriptor)
            if rest and is_whole(rest):
                size, line = size + len(rest), b"\n" + line
            elif rest:
                os.ftruncate(descriptor, size)
            content = line if size else beginning() + line
            if os.write(descriptor, content) < len(content):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Opens the file that has this name, and holds its lock: while one waits for it, another may get the name."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            with suppress(OSError):  # some network disks have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _last(descriptor: int) -> tuple[int, bytes]:
    """Returns the size of all whole lines, and what stands behind them: a half-written one."""
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return size, b""
    content = os.pread(descriptor, size, 0)
    whole = content.rfind(b"\n") + 1
    return whole, content[whole:]
