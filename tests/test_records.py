"""Records: whatever is wrong in one of their files is found when it is read, by the row and the column."""

import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from profilesearch.cli.console import Output
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.research.study import rows
from profilesearch.research.study.cells import Later, Table, part, text
from profilesearch.research.study.identities import IDENTITIES
from profilesearch.research.study.jobs import FamilySearch, FineTune, FoundFamily, Score, Search, Sources, Tuned
from profilesearch.research.study.lab import Lab, NotMeasured
from profilesearch.research.study.records import Records
from profilesearch.research.study.sizes import QUICK
from profilesearch.research.transfers.setting import ROWS
from profilesearch.research.transfers.speeds import SPEEDS
from profilesearch.tasks.pools import Member

DOCS = Path(__file__).parent.parent / "docs"
TABLES: dict[str, Table] = {
    **{name: getattr(rows, name.upper()) for name in ("profiles", "models", "scores", "finetunes", "searches")},
    "curves": rows.CURVES,
    "families": rows.FAMILIES,
    "identities": IDENTITIES,
    "rows": ROWS,
    "speeds": SPEEDS,
}
RECORDED = sorted(DOCS.glob("results/*/*.csv")) + sorted(DOCS.glob("transfer/*/*.csv"))
SMALL: Table = {"id": text, "score": part}
every = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def flipped(content: bytes, place: int) -> bytes:
    """Returns a content with one bit flipped."""
    damaged = bytearray(content)
    damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_recorded_is_read(path: Path) -> None:
    assert len(Records(path, TABLES[path.stem])) == path.read_text().count("\n") - 1 > 0


@pytest.mark.parametrize("folder", sorted({path.parent for path in RECORDED if "results" in path.parts}), ids=str)
def test_what_a_study_recorded_belongs_together(folder: Path) -> None:
    tables = {name: Records(folder / f"{name}.csv", TABLES[name]) for name in ("finetunes", "searches", "families")}
    profiles = Records(folder / "profiles.csv", rows.PROFILES)
    groups = len(rows.recorded_widths(profiles.rows()[0]))
    rows.check_profiles(profiles, groups, *tables.values())
    rows.check_curves(tables["searches"], Records(folder / "curves.csv", rows.CURVES))


@pytest.mark.parametrize(
    ("name", "row", "column", "wrong"),
    [
        ("scores", "d06ffe6652", "score", "7"),
        ("scores", "d06ffe6652", "score", "nan"),
        ("scores", "d06ffe6652", "images", "2 50"),
        ("finetunes", "33dd9c6a8b", "cost", "0.49_86"),
        ("finetunes", "33dd9c6a8b", "seed", "-1"),
        ("searches", "09258f01e6", "searcher", "pp0"),
        ("searches", "09258f01e6", "keep", ""),
        ("curves", "179a156d49.2", "is_policy", "2"),
        ("families", "b907dec48f", "own_costs", "0.3 x 0.5"),
        ("profiles", "841252bc", "widths", "6-0-11-18-10-21-27-27-36"),
        ("profiles", "841252bc", "widths", "6-7-11-18-10-21-27-27-99999999999999999999"),
        ("rows", "ac65be28dd", "method", "tickets"),
        ("rows", "ac65be28dd", "level", "zero"),
        ("speeds", "0612d02e/width-0.8", "batch64", "inf"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, name: str, row: str, column: str, wrong: str) -> None:
    (path,) = (each for each in RECORDED if each.stem == name and each.parent.name == "resnet20")
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    (line,) = (line for line in lines if line[0] == row)
    line[lines[0].index(column)] = wrong
    (tmp_path / path.name).write_bytes(written(lines))
    with pytest.raises(
        UsageError, match=rf"{name}\.csv has a row {row} with '.*' as its {column}.*; take that row out"
    ):
        records = Records(tmp_path / path.name, TABLES[name])
        rows.check_profiles(records, 9)  # of profiles alone


def test_any_flipped_bit_of_a_row_is_found_or_the_row_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    records = Records(path, SMALL)
    for number in range(3):
        records.put({"id": f"row {number}, {'x' * number}", "score": f"0.{number}402"})
    whole, kept = path.read_bytes(), 0
    for place in range(8 * len(whole)):
        path.write_bytes(flipped(whole, place))
        try:
            left = Records(path, SMALL).rows()
        except UsageError as error:
            assert re.search("take that row out|move it away", str(error))
            continue
        assert place // 8 == len(whole) - 1  # the end of the last line, which is taken for half of one
        assert left == records.rows()[:2]
        kept += 1
    assert kept == 8


@pytest.mark.parametrize("path", [each for each in RECORDED if each.parent.name in ("resnet44", "resnet20_macs")])
@given(flip=st.floats(0, 1, exclude_max=True))
@settings(every, max_examples=60)
def test_any_flipped_bit_of_rows_without_checksums_is_found_or_leaves_rows(
    path: Path, flip: float, tmp_path: Path
) -> None:
    copy, whole = tmp_path / path.name, path.read_bytes()
    copy.write_bytes(flipped(whole, int(flip * 8 * len(whole))))
    try:
        assert len(Records(copy, TABLES[path.stem])) >= whole.count(b"\n") - 2
    except UsageError:
        return


def test_files_without_checksums_go_on_without(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,score\na,0.1\n")
    Records(path, SMALL).put({"id": "b", "score": "0.2"})
    assert path.read_text() == "id,score\na,0.1\nb,0.2\n"
    assert len(Records(path, SMALL)) == 2


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'nan' as its score"):
        Records(tmp_path / "rows.csv", SMALL).put({"id": "a", "score": "nan"})
    assert not list(tmp_path.iterdir())


SCORE = Score("small", "test", (5,) * 9)
TUNINGS = [FineTune("small", (5,) * 9, epochs=0), FineTune("small", (), 0.5, epochs=0)]
SEARCH = Search("random", ("small",), 0.5, 3, 0, 20)
FAMILY = FamilySearch(("small",), (0.4, 0.6), 20, 0, 20)


def said_by(lab: Lab) -> list[Any]:
    """What a lab says of some measurements."""
    return [lab.scores([SCORE]), lab.finetunes(TUNINGS), lab.searches([SEARCH]), lab.families([FAMILY])]


def opened(folder: Path) -> Lab:
    """A laboratory on one network with random weights, with its records in a folder."""
    weights = folder.parent / "small.safetensors"
    if not weights.exists():
        save_network(weights, build("resnet20", 10, 1), {"num_classes": 10, "in_channels": 1})
    sources = Sources("resnet20", (Member("small", "resnet20", "digits", weights, "all"),), None, folder.parent)
    output = Output(False, Console(quiet=True))
    return Lab(sources, ("small",), ("small",), folder, QUICK, 1, output, folder.parent)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, list[Any]]:
    """A laboratory with records of every kind, which `__post_init__` reads again, and what it says."""
    made = opened(tmp_path_factory.mktemp("study") / "resnet20")
    found = FoundFamily(((5,) * 9, (7,) * 9), (0.41, 0.62))
    made._families.put(rows.of_family(made.used(FAMILY), found, made._name, "fp32"))
    made._tuned.put(rows.of_finetune(TUNINGS[1], Tuned(0.1, 0.2, 0.5, (6,) * 9), made._name, "fp32"))
    right = said_by(made)
    made.offline = True
    return made, right


@pytest.mark.full
@pytest.mark.parametrize("searcher", ["taper", "sensitivity", "random"])
def test_a_study_opens_again_after_a_search_of_fewer_evaluations(searcher: str, tmp_path: Path) -> None:
    folder, job = tmp_path / "resnet20", replace(SEARCH, searcher=searcher, evaluations=20)
    (found,) = opened(folder).searches([job])
    again = opened(folder)
    again.offline = True
    assert again.searches([job]) == [found]
    assert (len(found.curve) < 20) == (searcher != "random")
    path = folder / "curves.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if ".20," not in line))
    if searcher == "random":
        with pytest.raises(UsageError, match=r"of which .* does not have all"):
            opened(folder)


@pytest.mark.full
@given(data=st.data(), checked=st.booleans())
@every
def test_any_text_in_any_cell_and_any_flipped_bit_is_found_or_measured_again(
    study: tuple[Lab, list[Any]], tmp_path: Path, data: Any, checked: bool
) -> None:
    lab, right = study
    folder, copy = lab.folder, tmp_path / "resnet20"
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    path = copy / data.draw(st.sampled_from(sorted(each.name for each in folder.glob("*.csv"))))
    lines = list(csv.reader(io.StringIO(path.read_text())))
    if not checked:  # as earlier versions wrote it
        lines = [line[:-1] for line in lines]
    if data.draw(st.booleans()):
        line = data.draw(st.sampled_from(lines[1:]))
        cell = st.one_of(st.text(), st.sampled_from(["0", "1", "nan", "-1", "1e999", "7-8", " 1", "0.5"]))
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(cell)
    content = written(lines)
    if content == path.read_bytes() or data.draw(st.booleans()):
        content = flipped(content, data.draw(st.integers(0, 8 * len(content) - 1)))
    path.write_bytes(content)
    lab.folder = copy
    try:
        lab.__post_init__()
        now = said_by(lab)
    except (UsageError, NotMeasured):
        return
    finally:
        lab.folder = folder
    assert now == right or not checked


def written(lines: list[list[str]]) -> bytes:
    """Returns rows as the content of a file."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue().encode(errors="surrogatepass")


def test_a_column_that_came_later_has_what_earlier_rows_meant(tmp_path: Path) -> None:
    path, today = tmp_path / "rows.csv", {**SMALL, "refit": Later(text, "none")}
    Records(path, SMALL).put({"id": "a", "score": "0.1"})
    before = path.read_bytes()
    one, other = Records(path, today), Records(path, today)
    assert one["a"] == {"id": "a", "score": "0.1", "refit": "none"}
    assert path.read_bytes() == before  # who reads alone changes nothing
    one.put({"id": "b", "score": "0.2", "refit": "full"})
    other.put({"id": "c", "score": "0.3", "refit": "none"})
    assert [(row["id"], row["refit"]) for row in Records(path, today).rows()] == [
        ("a", "none"), ("b", "full"), ("c", "none")
    ]  # fmt: skip
    with pytest.raises(UsageError, match="another version"):
        Records(path, SMALL)
