"""Names of any bytes: files and folders that people have are used as they are, and only show in what is written."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.base import Evaluation
from profilesearch import apply, report, train
from profilesearch import list as listing
from profilesearch.cli.console import run
from profilesearch.networks.architectures import build
from profilesearch.reporting.plots import profile_figure, save_figure
from profilesearch.reporting.webpage import drawn
from profilesearch.research.searched import history_text
from profilesearch.tasks.catalogue import with_size
from profilesearch.tasks.pools import foreign_member
from profilesearch.tasks.sources import open_data

ODD = os.fsdecode(b"-we\xff\n\x1b[31m'\"$x^$ ")
"""No UTF-8, a new line, an escape code, quotes, what is a formula to matplotlib."""


@pytest.fixture
def odd(tmp_path: Path, write_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with images and a checkpoint of odd names."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / f"{ODD}photos", ["dark", f"light{ODD}"], 40)
    torch.manual_seed(0)
    torch.save(build("resnet8", 2, 3).state_dict(), "weights.pth")
    Path("weights.pth").rename(f"{ODD}.pth")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], main: Callable[[Any], None], *arguments: str) -> dict[str, Any]:
    """Runs a command; returns its result."""
    run(main, [*arguments, "--json"])
    out, err = capsys.readouterr()
    assert all(letter.isprintable() or letter == "\n" for letter in out + err)
    return json.loads(out)  # type: ignore[no-any-return]


@pytest.mark.full
def test_odd_names_are_used_and_only_show(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--arch", "resnet8", "--data", f"./{ODD}photos@8", "--checkpoint", f"./{ODD}.pth"]
    made = said(capsys, apply.main, *common, "--profile", "uniform", f"--out={ODD}out")
    assert made["after"]["macs"] < made["before"]["macs"]
    search = ["--searcher", "random", "--evaluations", "2", "--images", "4"]
    said(capsys, train.main, *common, *search, f"--runs={ODD}runs", f"--store={ODD}store")
    files = [each["file"] for each in said(capsys, listing.main, f"--store={ODD}store")["profiles"]]
    assert [Path(file).is_file() for file in files if f"{ODD}store" in file] == [True]
    runs = [f"./{each}" for each in Path(f"{ODD}runs").glob("*/*") if each.is_dir()]
    said(capsys, report.main, *runs, f"./{ODD}out", f"./{ODD}out/profile.json", f"--output={ODD}page.html")
    assert Path(f"{ODD}page.html").stat().st_size > 10_000


def test_names_in_tables_and_records_are_one_line(odd: Path) -> None:
    text = with_size(f"{ODD}photos", 8)
    data = open_data(text)
    assert data.name.isprintable()
    assert data.name.endswith("photos@8")
    assert foreign_member("resnet8", Path(f"{ODD}.pth"), data).name.isprintable()


def test_a_picture_shows_names_as_they_are(tmp_path: Path) -> None:
    figures = [profile_figure(["$\\b$"], np.array([4]), np.array([2]), title) for title in (ODD, "$\\frac$")]
    save_figure(figures[0], tmp_path / "figure.png")
    assert drawn(figures[1])


def test_groups_with_commas_in_their_names_keep_their_columns() -> None:
    names = ["plain", 'a, "b"', "c\nd"]
    history = [Evaluation(np.array([1, 2, 3]), 0.25, 0.5), Evaluation(np.array([4, 5, 6]), 1e-9, 0.123456789, True)]
    first, second = csv.DictReader(io.StringIO(history_text(names, history)))
    assert [first[name] for name in names] == ["1", "2", "3"]
    assert [second[name] for name in ("evaluation", "fitness", "own_cost", "is_policy")] == [
        "2",
        "0.0",
        "0.123457",
        "1",
    ]
