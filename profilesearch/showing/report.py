"""What runs have found, as one page to look at: what `report` does."""

from collections.abc import Sequence
from importlib.metadata import version

from profilesearch.cli.console import Output
from profilesearch.errors import UsageError
from profilesearch.reporting.plots import search_figure, tradeoff_figure
from profilesearch.reporting.runs import Part, read_part
from profilesearch.reporting.series import Palette, titles
from profilesearch.reporting.webpage import Block, drawn, is_page, render
from profilesearch.showing.settings import Reporting
from profilesearch.system.files import write_text


def write_report(settings: Reporting) -> None:
    """Does what `report` is told.

    Raises:
        UsageError: What is in the page's place is none.
    """
    output = Output.of(settings)
    if settings.output.is_file() and not is_page(settings.output):
        raise UsageError(f"{settings.output} is there and no page of a report; give another name with --output")
    runs = list({path.resolve(): path for path in settings.runs}.values())  # the same one twice is one
    palette = Palette()
    parts = [read_part(path, title, palette) for path, title in zip(runs, titles(runs), strict=True)]
    blocks = [*_together(parts, palette), *(block for part in parts for block in part.blocks)]
    title = "profilesearch: " + ", ".join(part.title for part in parts)
    write_text(settings.output, render(title, blocks, f"Written by profilesearch {version('profilesearch')}."))
    output.say(f"wrote {settings.output}")
    output.result({"page": str(settings.output), "parts": [block.title for block in blocks]})


def _together(parts: Sequence[Part], palette: Palette) -> list[Block]:
    """What several runs have in common: all searches in one picture, all costs and accuracies in another."""
    blocks = []
    if sum(bool(part.curves) for part in parts) > 1:
        curves = {name: runs for part in parts for name, runs in part.curves.items()}
        blocks.append(Block("All searches", pictures=(drawn(search_figure(curves, {}, palette)),)))
    points = {part.title: part.points for part in parts if part.points}
    if points:
        labels = ("part of the cost that is left", "test accuracy")
        text = ("With 95 % intervals for the number of test images. Cost is multiply-adds where a name has no other.",)
        blocks.append(Block("Accuracy against cost", text, (drawn(tradeoff_figure(points, labels, palette)),)))
    return blocks
