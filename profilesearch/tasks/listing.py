"""What is in a folder of images: its classes, their files, and what is left out."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.system.folders import APPLIED, SEARCHED, files_of_results
from profilesearch.tasks.decoding import shown
from profilesearch.tasks.layout import is_part, subfolders

_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's `ImageFolder`."""
_NAMED = 3
"""Endings of files that are named, at most."""
_UNKNOWN = "files in "
Sample = tuple[Path, int]
"""An image file, and its class's place."""


@dataclass(frozen=True)
class ClassFolder:
    """A folder with one subfolder a class.

    Attributes:
        folder: With the subfolders.
        classes: Their names, sorted; hidden and linked ones are none, nor are those with nothing but results of ours.
        samples: Image files, in the order of classes and names.
        left_out: What does not count, in words; empty where everything does.
    """

    folder: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    left_out: str


def list_classes(folder: Path) -> ClassFolder:
    """Lists the images of a folder.

    Folders are searched at any depth. Hidden and linked folders do not count, nor do files of unknown endings, hidden
    files, what is no regular file, links to images that are in the folder already, and files of results of ours.

    Raises:
        UsageError: A folder cannot be read; there is no class, one alone, or one without images.
    """
    left_out: Counter[str] = Counter()
    needed = "an image data set has one folder a class, with images in each, directly or under train/ and val/"
    try:
        with os.scandir(folder) as entries:
            classes = sorted(entry.name for entry in entries if _is_class(entry, left_out))
        found = {name: _images(folder / name, left_out) for name in classes}
        classes = [name for name in classes if found[name] or not left_out[_results_in(folder / name)]]
    except OSError as error:
        where = Path(error.filename or folder)
        raise UsageError(f"{shown(where)} cannot be read ({error.strerror or error}); {needed}") from error
    samples = _without_copies([(path, links, place) for place, name in enumerate(classes)
                               for path, links in found[name]], left_out)  # fmt: skip
    but = f" ({_words(left_out)})" if _words(left_out) else ""
    if not classes:
        raise UsageError(f"{shown(folder)} has no classes{but}; {needed}")
    if len(classes) < 2:
        only, inside = Path(classes[0]), subfolders(folder / classes[0])
        meant = f", did you mean {shown(folder / only)}?" if len(inside) > 1 or any(map(is_part, inside)) else ""
        raise UsageError(
            f"{shown(folder)} has one class alone, '{shown(only)}'{but}; a classifier needs two or more{meant}"
        )
    empty = set(range(len(classes))) - {place for _, place in samples}
    if empty:
        where = folder / classes[min(empty)]
        raise UsageError(
            f"{shown(where)} has no image{but}; put some there, in {', '.join(_ENDINGS)}, or remove the folder"
        )
    return ClassFolder(folder, tuple(classes), tuple(samples), f"{shown(folder)}: {_words(left_out)}" if but else "")


def _is_class(entry: os.DirEntry[str], left_out: Counter[str]) -> bool:
    if not entry.is_dir():
        left_out["images outside of class folders"] += entry.name.lower().endswith(_ENDINGS)
        return False
    return _is_own(entry, left_out)


def _is_own(entry: os.DirEntry[str], left_out: Counter[str]) -> bool:
    """Says whether a folder counts."""
    hidden, linked = entry.name.startswith("."), entry.is_symlink()
    if hidden or linked:
        left_out["hidden folders" if hidden else "linked folders"] += 1
    return not hidden and not linked


def _images(folder: Path, left_out: Counter[str]) -> list[tuple[Path, bool]]:
    """Returns the image files below a folder, in the order of their folders and names, and which of them are links."""
    found: dict[str, list[tuple[str, bool]]] = {}
    todo = [str(folder)]
    while todo:
        here = todo.pop()
        found[here] = []
        with os.scandir(here) as scanned:
            entries = list(scanned)
        results = {entry.name for entry in entries} & {APPLIED, SEARCHED}
        ours = files_of_results(Path(here)) if results else set()
        left_out[_results_in(folder)] += bool(ours)
        for entry in entries:
            if entry.is_dir():
                todo += [entry.path] if _is_own(entry, left_out) else []
            elif entry.name not in ours and _is_image(entry, left_out):
                found[here].append((entry.name, entry.is_symlink()))
    return [(Path(here) / name, linked) for here in sorted(found) for name, linked in sorted(found[here])]


def _results_in(folder: Path) -> str:
    return f"results of profilesearch in {shown(Path(folder.name))}"


def _is_image(entry: os.DirEntry[str], left_out: Counter[str]) -> bool:
    """Says whether a file is an image, as far as its name and kind say."""
    hidden = entry.name.startswith(".")
    if not entry.name.lower().endswith(_ENDINGS):
        left_out[_UNKNOWN + (Path(entry.name).suffix.lower() or "no ending")] += not hidden
        return False
    if not hidden and entry.is_file():
        return True
    kind = "links to nothing" if entry.is_symlink() else "pipes and other special files"
    left_out["hidden images" if hidden else kind] += 1
    return False


def _without_copies(found: list[tuple[Path, bool, int]], left_out: Counter[str]) -> list[Sample]:
    """Leaves out links to images that are there anyway."""
    if not any(linked for _, linked, _ in found):
        return [(path, place) for path, _, place in found]
    taken = {os.path.realpath(path) for path, linked, _ in found if not linked}
    samples = []
    for path, linked, place in found:
        there = os.path.realpath(path) if linked else ""
        if there in taken:
            left_out["links to images of the same folder"] += 1
        else:
            samples.append((path, place))
            taken |= {there} if linked else set()
    return samples


def _words(left_out: Counter[str]) -> str:
    """Returns what is left out, with numbers."""
    unknown = Counter({kind: count for kind, count in left_out.items() if kind.startswith(_UNKNOWN)})
    parts = [f"{kind} ({count:,})" for kind, count in left_out.items() if count and kind not in unknown]
    if unknown.total():
        endings = [shown(Path(kind.removeprefix(_UNKNOWN))) for kind, count in unknown.most_common(_NAMED) if count]
        parts.append(f"files of unknown kinds ({unknown.total():,}: {', '.join(endings)})")
    return f"left out: {', '.join(parts)}" if parts else ""
