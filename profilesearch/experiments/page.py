"""The page that the study writes: every experiment with its test, its figures, its intervals and a verdict."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from profilesearch.experiments.jobs import Job, identity
from profilesearch.files import write_json, write_text

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
        measurements: Identities of the measurements behind it.
    """

    cells: tuple[str, ...]
    measurements: tuple[str, ...] = ()

    @classmethod
    def of(cls, cells: Sequence[str], jobs: Iterable[Job]) -> "Line":
        """Makes the row that rests on the given measurements."""
        return cls(tuple(cells), tuple(identity(job) for job in jobs))


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
        rows = [("row", *self.head), tuple("---" for _ in range(len(self.head) + 1))]
        rows += [(f"{self.name}.{number}", *line.cells) for number, line in enumerate(self.lines, 1)]
        parts.append("\n".join("| " + " | ".join(cells) + " |" for cells in rows))
        parts += [f"![{self.title}]({figure})" for figure in self.figures]
        parts += [self.details] if self.details else []
        parts.append(f"    {command} --only {self.name}")
        return "\n\n".join(parts)


def write_page(folder: Path, architecture: str, setting: str, command: str, sections: Sequence[Section]) -> Path:
    """Writes `ARCH.json` into the results folder, and the page beside the folder from all architectures there.

    Args:
        folder: The results folder.
        architecture: Whose sections these are.
        setting: Models, images and machine, as a paragraph.
        command: That repeats the study.
        sections: In order.

    Returns:
        The page.
    """
    stripped = [
        replace(section, lines=tuple(replace(line, measurements=()) for line in section.lines)) for section in sections
    ]
    value = {"setting": setting, "command": command, "sections": [asdict(section) for section in stripped]}
    write_json(folder / architecture / "sections.json", value)
    parts = [INTRODUCTION.rstrip()]
    for path in sorted(folder.glob("*/sections.json"), key=lambda path: (len(path.parent.name), path.parent.name)):
        stored = json.loads(path.read_text(encoding="utf-8"))
        parts += [f"## {path.parent.name}", stored["setting"], f"    {stored['command']}"]
        for entry in stored["sections"]:
            lines = tuple(Line(tuple(line["cells"])) for line in entry.pop("lines"))
            head, figures = tuple(entry.pop("head")), tuple(entry.pop("figures"))
            section = Section(lines=lines, head=head, figures=figures, **entry)
            parts.append(section.markdown(stored["command"]))
    page = folder.with_suffix(".md")
    write_text(page, "\n\n".join(parts) + "\n")
    return page
