"""Files are written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from profilesearch.errors import UsageError


def write_atomically(path: Path, write: Callable[[Path], None], new: bool = False) -> None:
    """Lets `write` fill a temporary file beside `path`, then moves it into place.

    Args:
        path: The file to create or replace; its folders are created.
        write: Receives the temporary path and writes the whole content to it.
        new: Never replace a file.

    Raises:
        FileExistsError: With `new`, if somebody was faster.
        UsageError: The folder cannot be written, or the disk is full. The old file, if any, is untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        if new:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    except FileExistsError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Finds out before any work whether files can be written to a folder, and leaves nothing there.

    Raises:
        UsageError: They cannot.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x")
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(path: Path, error: OSError) -> UsageError:
    """Turns a failed write into the sentence for the user."""
    reason = error.strerror or str(error)
    return UsageError(f"cannot write {path}: {reason}; free some space there or name a writable folder")


def write_text(path: Path, text: str) -> None:
    """Writes `text` atomically, as UTF-8."""
    write_atomically(path, lambda temporary: _fill(temporary, text))


def write_json(path: Path, value: Any, new: bool = False) -> None:
    """Writes `value` atomically as indented JSON with its key order kept; `new` as for `write_atomically`."""
    text = json.dumps(value, indent=2) + "\n"
    write_atomically(path, lambda temporary: _fill(temporary, text), new)


def _fill(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
