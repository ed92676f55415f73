"""Which folders of a data set hold its training images, and which its test images."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.system.folders import files_of_results
from profilesearch.tasks.decoding import shown

TRAIN = ("train", "training", "train_set", "training_set")
TEST = ("test", "testing", "test_set", "val", "valid", "validation", "eval")
"""What the folders of the two parts are called, in any case, with spaces or dashes too; the first one is taken."""
_FEW = 3
"""Folders that may be the parts of a data set under names that are not known."""


@dataclass(frozen=True)
class Layout:
    """The parts of a data set.

    Attributes:
        train: Folder of the training images; None where the class folders lie in no such part.
        test: Folder of the test images, likewise.
        unread: What lies beside the parts, in words; empty where nothing does.
    """

    train: Path | None
    test: Path | None
    unread: str = ""


def layout_of(folder: Path) -> Layout:
    """Finds the parts of a data set.

    A part has subfolders: a folder without any, beside others that are no parts, is a class that is called so.
    Of several parts of a kind, those with subfolders come first, then the order of names counts.

    Raises:
        UsageError: Two or three folders hold the same subfolders alone, so that they seem to be parts.
    """
    inside = subfolders(folder)
    known = [name for name in inside if is_part(name)]
    nested = [name for name in known if subfolders(folder / name)]
    train, test = (_first(nested, names) or _first(known, names) for names in (TRAIN, TEST))
    if not nested and not (train and test) and len(inside) > 1:
        train = test = None
    if not train and not test:
        _check_classes(folder, inside)
    parts = [name for name in (train, test) if name]
    others = ", ".join(
        shown(Path(name)) for name in inside if name not in parts and not files_of_results(folder / name)
    )
    unread = f"not read: {others} beside {' and '.join(parts)}" if parts and others else ""
    if unread and len(parts) == 1:
        unread += f"; name it {' or '.join(('test', 'val') if train else TRAIN[:2])}"
    return Layout(folder / train if train else None, folder / test if test else None, unread)


def is_part(name: str) -> bool:
    """Says whether a folder's name is that of a part."""
    return _plain(name) in (*TRAIN, *TEST)


def subfolders(folder: Path) -> list[str]:
    """Returns the names of the folders in a folder, sorted, without hidden ones; none where it cannot be read."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return []


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")


def _first(found: Sequence[str], names: Sequence[str]) -> str | None:
    """Returns the first of some folders by the order of names; of several spellings, the plain one."""
    fitting = [each for each in found if _plain(each) in names]
    return min(fitting, key=lambda each: (names.index(_plain(each)), each != _plain(each)), default=None)


def _check_classes(folder: Path, names: Sequence[str]) -> None:
    """Checks that class folders do not look like parts: a few, with the same subfolders, and no file of their own."""
    inside = [subfolders(folder / name) for name in names]
    if not 2 <= len(names) <= _FEW or len(inside[0]) < 2 or any(each != inside[0] for each in inside):
        return
    with suppress(OSError):
        if any(not each.is_dir() for name in names for each in (folder / name).iterdir() if each.name[0] != "."):
            return
    one, *others = (shown(folder / name) for name in names)
    raise UsageError(
        f"{one} and {' and '.join(others)} hold the same folders; name them train and test, or if they are classes, "
        "put their images directly there"
    )
