"""The report: one page of real runs, opened in a real browser."""

import base64
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profilesearch import apply, compare, report, train
from profilesearch.errors import UsageError
from profilesearch.profiles import Budget, Profile
from profilesearch.reporting.runs import read_part
from profilesearch.reporting.webpage import Block, render
from profilesearch.tasks.pools import Member

pytestmark = pytest.mark.xdist_group("report")  # what they share is made once

SHIPPED = Path(__file__).parent.parent / "profiles" / "resnet20" / "macs0.5-ppo.json"
STUDY = Path(__file__).parent.parent / "docs" / "results" / "resnet20"


@pytest.fixture(scope="module")
def runs(members: list[Member], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders that train (two searchers), compare and apply wrote."""
    work = tmp_path_factory.mktemp("report")
    common = ["--arch", "resnet8", "--data", "digits", "--checkpoint", str(members[0].path), "--runs", f"{work}/runs"]
    search = [*common, "--evaluations", "12", "--images", "50"]
    for searcher in ("ppo", "random"):
        train.main([*search, "--searcher", searcher, "--store", f"{work}/store", "--name", searcher])
    compare.main([*search, "--target", str(members[1].path), "--searchers", "random", "--repeats", "2"])
    out = ["--out", str(work / "applied"), "--profile", str(work / "store" / "resnet8" / "ppo.json")]
    apply.main([*common[:6], *out])
    return [
        *(work / "runs" / "resnet8" / name for name in ("ppo", "random", "compare-macs0.5-digits-12-seed0")),
        work / "applied",
    ]


def written(arguments: Sequence[Path], page: Path) -> str:
    report.main([*map(str, arguments), "-o", str(page)])
    return page.read_text()


def test_the_page_holds_everything(runs: list[Path], tmp_path: Path) -> None:
    text = written([*runs, SHIPPED, STUDY], tmp_path / "report.html")
    for title in ("All searches", "Accuracy against cost", "Search: ppo", "Pruned: applied"):
        assert f"<h2>{title}</h2>" in text
    assert f"<h2>Comparison: {runs[2].name}</h2>" in text
    after = json.loads((runs[-1] / "report.json").read_text())["after"]
    assert f"{after['accuracy']:.2%}" in text
    assert f"{after['macs'] / 1e6:.2f} M" in text
    assert "resnet20-cifar10-12fca82f" in text  # evidence of the shipped profile
    assert text.count("<img") >= 8
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")


def test_the_page_opens_in_a_browser_without_errors_or_requests(runs: list[Path], tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    if not browser:
        pytest.skip("install chromium")
    page_file = tmp_path / "report.html"
    written([*runs, STUDY], page_file)
    complaints: list[str] = []
    requests: list[str] = []
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        widths = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        headings = page.locator("h2").all_inner_texts()
        sideways = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        opened.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert len(widths) >= 7
    assert all(width > 100 for width in widths)
    assert "Search: ppo" in headings
    assert sideways <= 0


@pytest.mark.full
def test_every_run_has_its_own_title_and_one_colour_in_all_plots(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for number in range(6):
            path = tmp_path / folder / f"{number}.json"
            evidence = ({"model": f"m{place}", "data": "digits", "pruned_accuracy": 0.5} for place in range(2))
            replace(Profile.load(SHIPPED), evidence=tuple(evidence)).save(path)
    paths = sorted(tmp_path.glob("*/*.json"))
    text = written([*paths, paths[0]], tmp_path / "page.html")
    headings = re.findall(r"<h2>Profile: (.*)</h2>", text)
    assert headings == [f"{folder}/{number}" for folder in "ab" for number in range(6)]
    colours = re.findall(r'style="--run: (#\w+)"', text)
    assert len(set(colours)) == len(colours) == 12
    tradeoff, *bars = (
        base64.b64decode(found).decode() for found in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
    )
    for colour, own in zip(colours, bars, strict=True):
        assert colour in own
        assert tradeoff.count(f"stroke: {colour}") >= 2  # both of its points


def test_what_files_say_stays_text() -> None:
    text = render("<b>", [Block("<script>alert(1)</script>", rows=(("<img src=x>",),), head=("a",))], "")
    assert "<script>" not in text
    assert "<img src=x>" not in text


def test_every_measurement_of_a_profile_is_drawn(tmp_path: Path) -> None:
    about = {"model": "net", "data": "digits"}
    tuned = [
        {**about, "finetuned_accuracy": part, "recipe": {"finetune": count}} for part, count in ((0.7, 1), (0.8, 8))
    ]
    untuned = [{**about, "pruned_accuracy": part} for part in (0.5, 0.6)]
    profile = replace(Profile.load(SHIPPED), budget=Budget("params", 0.5), evidence=(*tuned, *untuned))
    profile.save(tmp_path / "mine.json")
    part = read_part(tmp_path / "mine.json")
    assert {name: point[1] for name, point in part.points.items()} == {
        "mine on net tuned 1 epoch on digits, of the params": 0.7,
        "mine on net tuned 8 epochs on digits, of the params": 0.8,
        "mine on net digits, of the params": 0.5,
        "mine on net digits, of the params #2": 0.6,
    }
    assert [row[-2] for row in part.blocks[0].rows] == ["1", "8", "0", "0"]


@pytest.mark.parametrize(
    ("name", "content"), [("result.json", "{"), ("report.json", "{}"), ("sections.json", "[]"), ("result.json", "{}")]
)
def test_broken_runs_are_one_sentence(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match="is broken"):
        written([tmp_path], tmp_path / "page.html")


@pytest.mark.parametrize("name", ["history.csv", "result.json"])
def test_any_flipped_bit_of_a_run_is_said_to_be_broken(runs: list[Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(runs[0], tmp_path / "run")
    path = tmp_path / "run" / name
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for place in random.choice(8 * len(whole), 100, replace=False).tolist():
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            read_part(tmp_path / "run")
        except UsageError as error:
            assert re.search("is broken|is not the file that was written", str(error))
        else:  # the digest's own name, or a space between two things
            now = {key: each for key, each in json.loads(content).items() if "dige" not in key}
            assert now == {key: each for key, each in json.loads(whole).items() if key != "digest"}


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run; give folders"):
        written([tmp_path], tmp_path / "page.html")
    (tmp_path / "somewhere").mkdir()
    with pytest.raises(UsageError, match=r"there is no .*nowhere; did you mean .*somewhere"):
        written([tmp_path / "nowhere"], tmp_path / "page.html")
