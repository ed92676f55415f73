"""The notebook that a reader opens first: it runs, and says what it shows."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "start.ipynb"


def shape_of(text: str) -> str:
    """Returns what a cell printed without its figures, which differ a little from machine to machine."""
    return " ".join(re.sub(r"-?\d[\d.]*", "#", text).split())


@pytest.mark.full
def test_the_notebook_runs_and_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    scope: dict[str, Any] = {}
    pictures = 0
    for number, cell in enumerate(cells, 1):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec("".join(cell["source"]), scope)  # noqa: S102  it is what readers run
        shown = "".join(line for each in cell["outputs"] for line in each.get("text", ()))
        assert shape_of(said.getvalue()) == shape_of(shown)
        assert cell["execution_count"] == number
        kept = sum("image/png" in each.get("data", {}) for each in cell["outputs"])
        assert len(plt.get_fignums()) == kept
        pictures += kept
        plt.close("all")
    assert pictures >= 1
    full, made = scope["accuracy"](scope["network"]), scope["made"]
    assert full > 0.9
    assert all(0.19 < each.macs[1] / each.macs[0] < 0.21 for each in made.values())
    assert max(scope["accuracy"](each.network) for each in made.values()) > 0.8
