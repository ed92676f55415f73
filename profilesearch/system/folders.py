"""One result is one folder: built beside its place, moved there whole, with a list of what belongs to it."""

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from profilesearch.errors import UsageError
from profilesearch.system.amounts import finite
from profilesearch.system.files import cannot_write, check_writable, read_json, write_json
from profilesearch.system.temporary import folder_beside

_DRAFT = ".draft-"
_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux' renameat2: two names swap what they stand for."""
_HERE = -100
"""AT_FDCWD: paths are as for any other call."""
APPLIED, SEARCHED = "report.json", "result.json"
"""Main files: of what `apply` writes, and of what `train` and `compare` write."""


@dataclass
class Draft:
    """A result in the making.

    Attributes:
        folder: Where its files are written; it is moved to the result's place at the end.
        main: Name of the JSON file that describes the result.
        settings: Digest of what the result depends on.
        aside: Once the result is in its place, where an earlier one of other settings is now.
    """

    folder: Path
    main: str
    settings: str
    aside: Path | None = None

    def seal(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the main file with the digests of all others and its own, and returns what it holds; call it last.

        Raises:
            UsageError: The file cannot be written.
        """
        files = {path.name: file_digest(path) for path in sorted(self.folder.iterdir()) if path.name != self.main}
        whole = finite({**value, "settings": self.settings, "files": files})
        sealed: dict[str, Any] = json.loads(json.dumps(whole))  # as it is read
        sealed["digest"] = digest_of(sealed)
        write_json(self.folder / self.main, sealed)
        return sealed


def digest_of(settings: Mapping[str, Any]) -> str:
    """Hash of what a result depends on, plain data."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_place(place: Path) -> None:
    """Finds out before any work whether a result can become this folder, and leaves nothing there.

    Raises:
        UsageError: It cannot.
    """
    for folder in (place, place.resolve().parent):
        check_writable(folder)
    if not place.exists():
        return
    real, here = place.resolve(), Path.cwd()
    if real == here or real in here.parents or real.is_mount():
        raise UsageError(f"{place} cannot be replaced as a whole; name a folder inside it, such as {place / 'result'}")
    inside = next((path.name for path in real.iterdir() if path.is_dir()), None)
    if inside:
        raise UsageError(f"{place} holds other folders ({inside}), but a result is a folder of its own; name a new one")


def free_place(place: Path, settings: str, main: str) -> Path:
    """Returns where a result of some settings goes that must not take another one's place.

    Args:
        place: The folder that it is called after; where one of other settings is there, a number is appended.
        settings: Their digest.
        main: Name of the results' main files.
    """
    numbered = (place.with_name(f"{place.name}-{number}") for number in count(2))
    places = chain([place], numbered)
    return next(each for each in places if not each.exists() or _is_of(each, settings, main))


def _is_of(folder: Path, settings: str, main: str) -> bool:
    return bool(_listed(folder, main).get("settings") == settings)


def _is_untouched(folder: Path, main: str) -> bool:
    """Says whether a folder holds nothing but a result, as it was written."""
    known = _listed(folder, main)
    try:
        check_whole(folder, known)
    except UsageError:
        return False
    return {path.name for path in folder.iterdir()} <= {main, *known.get("files", {})}


@contextmanager
def drafted(place: Path, main: str, settings: str) -> Iterator[Draft]:
    """Gives a folder to fill, and then makes it the result: a reader finds all of it, or all of what was there before.

    A result of the same settings is replaced. One of other settings moves aside, to the next free number. Files that
    belong to no result stay.

    Args:
        place: The result's folder.
        main: Name of the JSON file that describes the result, which `Draft.seal` writes.
        settings: Digest of what the result depends on.

    Raises:
        UsageError: The folder cannot be written.
    """
    place = place.resolve()
    prefix = f"{_DRAFT}{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:8]}-"
    with ExitStack() as stack:
        with _writing(place):
            folder = stack.enter_context(folder_beside(place, prefix))
        draft = Draft(folder, main, settings)
        yield draft
        with _writing(place):
            draft.aside = _publish(folder, place, main, settings)


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(place, error) from error


def check_whole(folder: Path, value: Mapping[str, Any]) -> None:
    """Checks that a result's files are those that were written together.

    Args:
        folder: Of the result.
        value: What its main file holds; one without digests, of an earlier version, is taken as it is.

    Raises:
        UsageError: A file is of another result, or the main file is not as it was written.
    """
    rest = {name: each for name, each in value.items() if name != "digest"}
    if value.get("digest", digest_of(rest)) != digest_of(rest):
        raise UsageError("its JSON file has changed since it was written; run its command again")
    for name, digest in value.get("files", {}).items():
        _check(folder / Path(name).name, digest)


def check_beside(path: Path, main: str) -> None:
    """Checks a file alone against the main file beside it, if there is one that lists it.

    Raises:
        UsageError: It is of another result.
    """
    _check(path, _listed(path.parent, main).get("files", {}).get(path.name))


def _check(path: Path, digest: str | None) -> None:
    if digest is not None and path.is_file() and file_digest(path) != digest:
        raise UsageError(
            f"{path} is not the file that was written with the result beside it; run its command again, or move the "
            "file to a folder of its own"
        )


def files_of_results(folder: Path) -> set[str]:
    """Returns the names of those files in a folder that belong to a result."""
    found = {main: _listed(folder, main) for main in (APPLIED, SEARCHED)}
    return {name for main, known in found.items() if known for name in (main, *known["files"])}


def _listed(folder: Path, main: str) -> dict[str, Any]:
    """Returns a result's main file; nothing where there is none that can be read."""
    try:
        value = read_json(folder / main)
    except UsageError:
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("files"), dict) else {}


def _publish(folder: Path, place: Path, main: str, settings: str) -> Path | None:
    """Moves a result to its place; returns where an earlier one of other settings is now."""
    if not place.exists():
        folder.rename(place)
        return None
    known = _listed(place, main)
    own = {main, *known.get("files", {})} if known else set()
    others = [path for path in place.iterdir() if path.name not in own]
    same = known.get("settings", settings) == settings and not any((folder / path.name).exists() for path in others)
    for path in others if same or known else ():
        _link(path, folder / path.name)
    if same:
        _swap(folder, place)
        return None
    aside = _aside(place, str(known.get("settings", "")), main)
    if aside.exists():
        shutil.rmtree(aside)
    place.rename(aside)
    folder.rename(place)
    for path in others if known else ():
        (aside / path.name).unlink(missing_ok=True)
    return aside


def _aside(place: Path, settings: str, main: str) -> Path:
    """Returns where a result moves: a new folder, or one that holds nothing but the same result, put aside before."""
    numbered = (place.with_name(f"{place.name}-{number}") for number in count(2))
    return next(
        each for each in numbered if not each.exists() or (_is_of(each, settings, main) and _is_untouched(each, main))
    )


def _link(path: Path, other: Path) -> None:
    """Gives a file a second name, or where that is not possible, a copy."""
    if other.exists():
        return
    try:
        os.link(path, other)
    except OSError:
        shutil.copy2(path, other)


def _swap(folder: Path, place: Path) -> None:
    """Lets two folders change places: in one step where the system has it."""
    library = ctypes.CDLL(None, use_errno=True)
    exchange = getattr(library, "renameat2", None)
    if exchange and exchange(_HERE, os.fsencode(folder), _HERE, os.fsencode(place), _EXCHANGE) == 0:
        return
    earlier = folder.with_name(f"{folder.name}-earlier")
    place.rename(earlier)
    folder.rename(place)
    shutil.rmtree(earlier, ignore_errors=True)
