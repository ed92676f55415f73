"""One self-contained page: pictures inside, nothing fetched, nothing executed."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from jinja2 import Environment
from matplotlib.figure import Figure

from profilesearch.errors import printable, redacted
from profilesearch.reporting.plots import as_they_are
from profilesearch.system.files import regular_file

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff; max-width: 1100px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-top: 1px solid #d9dee5; padding-top: 1rem; }
table { border-collapse: collapse; margin: 0.8rem 0; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.8rem; border-bottom: 1px solid #e6e9ee; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: #52606f; font-weight: 600; }
img { max-width: 100%; display: block; margin: 0.8rem 0; } p { max-width: 50rem; }
pre { background: #f4f6f8; padding: 0.6rem 0.8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.gallery { display: flex; flex-wrap: wrap; gap: 0.8rem; } figure { margin: 0; width: 8.5rem; }
figure img { width: 100%; margin: 0; image-rendering: pixelated; } figcaption { font-size: 0.85rem; color: #52606f; }
.drawn { overflow-x: auto; }
@media (max-width: 40rem) { th, td { white-space: normal; padding: 0.25rem 0.4rem; } table { font-size: 0.9rem; }
                            .drawn img { max-width: none; width: 44rem; } } /* labels stay legible */
section[style] h2::before { content: ""; display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.5em;
                            background: var(--run); }
nav a { margin-right: 1rem; color: #2f6f9f; } footer { color: #52606f; margin: 3rem 0; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<nav>{% for block in blocks %}<a href="#part{{ loop.index }}">{{ block.title }}</a> {% endfor %}</nav>
{% for block in blocks %}
<section id="part{{ loop.index }}"{% if block.colour %} style="--run: {{ block.colour }}"{% endif %}>
<h2>{{ block.title }}</h2>
{% for line in block.text %}<p>{{ line }}</p>
{% endfor %}
{% for picture in block.pictures %}<div class="drawn"><img src="{{ picture }}" alt="{{ block.title }}"></div>
{% endfor %}
{% for line in block.code %}<pre>{{ line }}</pre>
{% endfor %}
{% if block.gallery %}<div class="gallery">
{% for picture, caption in block.gallery %}<figure><img src="{{ picture }}" alt="{{ caption }}">
<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}</div>{% endif %}
{% if block.rows %}<table>
<thead><tr>{% for cell in block.head %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in block.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>{% endif %}
</section>
{% endfor %}
<footer>{{ footer }}</footer>
</body>
</html>
"""


@dataclass(frozen=True)
class Block:
    """One part of a page.

    Attributes:
        title: Heading.
        text: Paragraphs.
        pictures: Data addresses of images.
        head: Column names of a table.
        rows: Its rows.
        code: Lines to copy.
        gallery: Small pictures, as data addresses, with what is written below them.
        colour: In which plots show what this is about, as `#rrggbb`.
    """

    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    code: tuple[str, ...] = ()
    gallery: tuple[tuple[str, str], ...] = ()
    colour: str = ""


def render(title: str, blocks: list[Block], footer: str) -> str:
    """Returns the page; all text is escaped, so that what a file says stays text, and passwords are left out."""
    page = Environment(autoescape=True).from_string(_PAGE).render(title=title, blocks=blocks, footer=footer)
    return printable(redacted(page))


def is_page(file: Path) -> bool:
    """Says whether a file is such a page."""
    beginning = _PAGE.splitlines()[0].encode()
    with regular_file(file).open("rb") as opened:
        return opened.read(len(beginning)) == beginning


def drawn(figure: Figure) -> str:
    """Returns a figure as a data address, in vectors."""
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "profilesearch"}):
        as_they_are(figure).savefig(file, format="svg", metadata={"Date": None})
    return address("image/svg+xml", file.getvalue())


def embedded(picture: Path) -> str:
    """Returns a PNG file as a data address."""
    return address("image/png", regular_file(picture).read_bytes())


def address(kind: str, content: bytes) -> str:
    """Returns content as a data address, which fetches nothing."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown; a bar in a name is no border."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows)
