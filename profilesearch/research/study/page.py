"""The page that the study writes: every experiment with its test, its figures, its intervals and a verdict."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from profilesearch.errors import UsageError
from profilesearch.networks.names import architecture_of, folder_name
from profilesearch.reporting.webpage import markdown_table
from profilesearch.research.study.jobs import Job
from profilesearch.system.files import read_json, write_json, write_text
from profilesearch.system.folders import file_digest

INTRODUCTION = """\
# Results of the study

Written by `python -m profilesearch.study`; do not edit. Brackets and ± are 95 % intervals: bootstrap over profiles for
rank correlations, Student's t over seeds or pairs for means, Wilson's for one accuracy on the test images. Accuracies
are of all test images after the last epoch, never the best one, and no search sees those images. The raw rows lie in
`results/ARCH/*.csv`.

Every table row has a name. To take its measurements again, and see them beside the recorded ones, give that name to the
command of its section: `--row NAME`.
"""


@dataclass(frozen=True)
class Line:
    """One row of a table.

    Attributes:
        cells: As shown.
        measurements: Behind it.
    """

    cells: tuple[str, ...]
    measurements: tuple[Job, ...] = ()

    @classmethod
    def of(cls, cells: Sequence[str], jobs: Iterable[Job]) -> "Line":
        """Makes the row that rests on the given measurements."""
        return cls(tuple(cells), tuple(jobs))


@dataclass(frozen=True)
class Section:
    """One experiment's part of the page.

    Attributes:
        name: As on the command line.
        title: Heading.
        question: The claim, and how it is tested.
        head: Column names of the table.
        lines: Rows of the table.
        verdict: What came out, good or bad.
        figures: PNG files, relative to the page.
        details: Further remarks.
    """

    name: str
    title: str
    question: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]
    verdict: str
    figures: tuple[str, ...] = ()
    details: str = field(default="")

    def markdown(self, command: str) -> str:
        """Renders the section; `command` repeats it."""
        parts = [f"### {self.title}", self.question, f"**Verdict.** {self.verdict}"]
        lines = [(f"{self.name}.{number}", *line.cells) for number, line in enumerate(self.lines, 1)]
        parts.append(markdown_table(("row", *self.head), lines))
        parts += [f"![{self.title}]({figure})" for figure in self.figures]
        parts += [self.details] if self.details else []
        parts.append(f"    {command} --only {self.name}")
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Entry:
    """A section with what it was measured on.

    Attributes:
        section: Without its measurements, once it is on disk.
        setting: Models, images and machine, as a paragraph.
        command: That repeats the study it belongs to.
    """

    section: Section
    setting: str
    command: str


def read_entries(folder: Path, architecture: str) -> dict[str, Entry]:
    """Returns the sections of an architecture that are in the results folder, by name.

    Raises:
        UsageError: The file is broken.
    """
    path = folder / folder_name(architecture) / "sections.json"
    if not os.path.lexists(path):
        return {}
    known = read_json(path, "list of a study's sections")
    try:
        entries = [_entry(stored) for stored in known["sections"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is broken; remove it, and the study writes it again from its records") from error
    return {entry.section.name: entry for entry in entries}


def _entry(stored: dict[str, Any]) -> Entry:
    about = {name: stored.pop(name) for name in ("setting", "command")}
    lines = tuple(Line(tuple(line["cells"])) for line in stored.pop("lines"))
    head, figures = tuple(stored.pop("head")), tuple(stored.pop("figures"))
    texts = [*about.values(), *stored.values(), *head, *figures, *(cell for line in lines for cell in line.cells)]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("all that a section shows is text")
    return Entry(Section(lines=lines, head=head, figures=figures, **stored), **about)


def write_page(folder: Path, architecture: str, entries: Sequence[Entry]) -> Path:
    """Writes an architecture's sections into the results folder, and the page beside it, of all architectures there.

    Args:
        folder: The results folder.
        architecture: Whose sections these are.
        entries: In order.

    Returns:
        The page.
    """
    stored = []
    for entry in entries:
        lines = tuple(replace(line, measurements=()) for line in entry.section.lines)
        about = {"setting": entry.setting, "command": entry.command}
        stored.append(asdict(replace(entry.section, lines=lines)) | about)
    place = folder / folder_name(architecture)
    figures = {Path(name).name for entry in entries for name in entry.section.figures}
    files = {name: file_digest(place / name) for name in sorted(figures) if (place / name).is_file()}
    write_json(place / "sections.json", {"sections": stored, "files": files})
    parts = [INTRODUCTION.rstrip()]
    names = [architecture_of(path.parent.name) for path in folder.glob("*/sections.json")]
    for name in sorted(names, key=lambda name: (len(name), name)):
        parts.append(f"## {name}")
        setting = ""
        for entry in read_entries(folder, name).values():
            parts += [entry.setting] if entry.setting != setting else []
            parts.append(entry.section.markdown(entry.command))
            setting = entry.setting
    page = folder.with_suffix(".md")
    write_text(page, "\n\n".join(parts) + "\n")
    return page
