"""Files are read only where they end, and written whole or not at all."""

import errno
import json
import os
import stat
import tempfile
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from profilesearch.errors import UsageError
from profilesearch.system.amounts import finite
from profilesearch.system.temporary import temporary_file

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular_file(path: str | Path, what: str = "file") -> Path:
    """Returns the path of a file that can be read to its end; a pipe is waited for, and a device may never end.

    Args:
        path: Of a file that must be there.
        what: Names it in the message, such as `checkpoint`.

    Raises:
        UsageError: There is no such file, nobody may look, or it is a folder, a pipe, a device or a socket.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, FileNotFoundError):
            linked = path.is_symlink()
            reason = f"it is a link to {path.readlink()}, which is not there" if linked else reason + near(path)
        raise UsageError(f"cannot read the {what} {path}: {reason}") from error
    if not stat.S_ISREG(mode):
        raise UsageError(f"cannot read the {what} {path}: it is {_kind(mode)}; give a file")
    return path


def near(path: Path) -> str:
    """Returns a phrase that offers what is there under nearly the same name as a missing file or folder."""
    other = nearest_path(path)
    return f"; did you mean {other}?" if other else ""


def nearest_path(path: Path) -> Path | None:
    """Returns what is there under nearly the same name as a missing file, if anything; its folder may be misspelt too.

    Names are near whatever their endings are, in large letters or small.
    """
    try:
        while not path.exists():
            missing = next(each for each in (*reversed(path.parents), path) if not each.exists())
            there = [each for each in sorted(missing.parent.iterdir()) if each.is_dir() or missing == path]
            stems = {each.stem.casefold(): each for each in there if not each.name.startswith(".")}
            close = get_close_matches(missing.stem.casefold(), stems, 1)
            if not close:
                return None
            path = stems[close[0]] / path.relative_to(missing)
    except OSError:
        return None
    return path


def read_json(path: Path, what: str = "file") -> Any:
    """Returns what a JSON file says.

    Args:
        path: Of a file that must be there.
        what: Names it in the message.

    Raises:
        UsageError: The file cannot be read, or is no JSON.
    """
    regular_file(path, what)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is no {what}: broken JSON ({error}); remove it, and fetch or make it again"
        ) from error


def cache_folder() -> Path:
    """Returns where this package keeps, for this user, what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "profilesearch"


def read_cache(path: Path, fits: Callable[[Any], bool]) -> dict[str, dict[str, Any]]:
    """Returns what was measured, by device and by what it is about.

    Args:
        path: A JSON file that can be made again; there may be none.
        fits: Says whether a value is one that was written; others are left out, and so are measured again.
    """
    try:
        known = read_json(path)
    except UsageError:
        return {}
    devices = known.items() if isinstance(known, dict) else ()
    return {
        device: {name: value for name, value in values.items() if fits(value)}
        for device, values in devices
        if isinstance(values, dict)
    }


def write_atomically(path: Path, write: Callable[[Path], object], new: bool = False) -> None:
    """Lets `write` fill a temporary file beside `path`, then moves it into place.

    Args:
        path: The file to create or replace; its folders are created.
        write: Receives the temporary path and writes the whole content to it.
        new: Never replace a file.

    Raises:
        FileExistsError: With `new`, if somebody was faster.
        UsageError: The folder cannot be written, or the disk is full. The old file, if any, is untouched.
    """
    target = Path(os.path.realpath(path))  # a link stays, and what it points to is written
    try:
        if target.exists() and not target.is_file():
            raise OSError(f"it is {_kind(target.stat().st_mode)}, not a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(target.parent, target.suffix) as temporary:
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            if new:
                _move_to_new(temporary, target)
            else:
                temporary.replace(target)
    except OSError as error:
        if new and isinstance(error, FileExistsError) and target.exists():
            raise
        raise cannot_write(path, error) from error


def _kind(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "no file")


def _move_to_new(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network disks have no links: an empty file takes the name first
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        temporary.replace(target)


def check_writable(folder: Path) -> None:
    """Finds out before any work whether files can be written to a folder, and leaves nothing there.

    Raises:
        UsageError: They cannot.
    """
    try:
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x")
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(path: Path, error: OSError) -> UsageError:
    """Turns a failed write into the sentence for the user."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"cannot write {path}: {reason}; give a shorter name")
    return UsageError(f"cannot write {path}: {reason}; free some space there or name a writable folder")


def write_text(path: Path, text: str) -> None:
    """Writes `text` atomically, as UTF-8."""
    write_atomically(path, lambda temporary: _fill(temporary, text))


def write_json(path: Path, value: Any, new: bool = False) -> None:
    """Writes `value` atomically as indented JSON with its key order kept; `new` as for `write_atomically`.

    Numbers that are not finite become null.
    """
    text = json.dumps(finite(value), indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: _fill(temporary, text), new)


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a file's name may be of any bytes
