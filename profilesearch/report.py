"""`profilesearch report`: what runs have found, as one page to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from profilesearch.cli.console import Output, run
from profilesearch.cli.settings import Settings, option
from profilesearch.errors import UsageError
from profilesearch.reporting.plots import search_figure, tradeoff_figure
from profilesearch.reporting.runs import Part, read_part
from profilesearch.reporting.series import Palette, titles
from profilesearch.reporting.webpage import Block, drawn, is_page, render
from profilesearch.system.files import write_text


@dataclass(frozen=True, kw_only=True)
class Reporting(Settings):
    """What `report` is told."""

    verb = "report"
    description = """\
Write what runs have found into one HTML page that opens from disk, without a network.

It shows profiles as bars over the network, the curves of searches, accuracy against cost with 95 % intervals,
before / after tables, and the sections of a study with its rank correlations."""
    epilog = """\
examples:
  profilesearch report runs/resnet56/macs0.5-cifar10-ppo300-seed0
  profilesearch report runs/resnet56/* applied profiles/resnet56/*.json -o report.html
  profilesearch report docs/results/resnet20 -o study.html

files:
  report.html   self-contained: pictures inside, nothing fetched"""

    runs: tuple[Path, ...] = field(
        metadata=option("folders that train, compare, apply or study wrote; profiles", "RUN", flags=())
    )
    output: Path = field(default=Path("report.html"), metadata=option("the page", "FILE", flags=("-o", "--output")))


parser = Reporting.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    settings = Reporting.read(arguments)
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
        text = ("With 95 % intervals for the number of test images.",)
        blocks.append(Block("Accuracy against cost", text, (drawn(tradeoff_figure(points, labels, palette)),)))
    return blocks


if __name__ == "__main__":
    run(main)
