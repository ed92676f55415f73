"""Whatever files, names, numbers and streams hold: one sentence, no traceback, nothing that steers a terminal."""

import io
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profilesearch import apply, compare, report, train, transfer
from profilesearch import list as listing
from profilesearch.cli.console import Output, run
from profilesearch.errors import UsageError, printable, redacted
from profilesearch.profiles import Profile
from profilesearch.scoring.ledger import Ledger
from profilesearch.standing import gains
from profilesearch.store import Store

SHIPPED = Path(__file__).parent.parent / "profiles" / "resnet20" / "macs0.5-ppo.json"
every = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
numbers = st.one_of(st.integers(), st.just(10**400), st.just(-(10**400)), st.floats())
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
STEER = "\x1b]0;owned\x07[red]x[/]\r\x9b31m\u202e"


def places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """Yields the path of everything in a JSON value."""
    yield path
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Returns a copy with something else at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else [*value]
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


WHOLE = {name: item for name, item in json.loads(SHIPPED.read_text()).items() if name != "digest"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("any")
    (made / "resnet20").mkdir()
    return made


def use(profile: Path) -> None:
    """Reads a profile in every way that commands do."""
    listing.main(["--store", str(profile.parent.parent), "--arch", "resnet20"])
    listing.main(["--store", str(profile.parent.parent), "--arch", "resnet20", "--evidence"])
    try:
        gains(Profile.load(profile))
        Store(profile.parent.parent).best("resnet20", 0.5, "macs", "cifar10")
    except UsageError:
        return


@pytest.mark.full
@given(path=st.sampled_from([*places(WHOLE)]), new=anything)
@every
def test_any_json_in_a_profile_is_used_or_refused(folder: Path, path: tuple[Any, ...], new: Any) -> None:
    profile = folder / "resnet20" / "any.json"
    profile.write_text(json.dumps(replaced(WHOLE, path, new)))
    use(profile)


@pytest.mark.full
@given(path=st.sampled_from([path for path in places(WHOLE) if len(path) < 4]), new=anything)
@settings(every, max_examples=8)
def test_any_json_in_a_profile_is_reported_or_refused(folder: Path, path: tuple[Any, ...], new: Any) -> None:
    profile = folder / "reported.json"
    profile.write_text(json.dumps(replaced(WHOLE, path, new)))
    try:
        report.main([str(profile), "-o", str(folder / "page.html")])
    except UsageError:
        return


@pytest.mark.parametrize("name", ["result.json", "report.json", "sections.json"])
@given(value=anything)
@settings(every, max_examples=8)
def test_any_json_as_a_run_is_reported_or_refused(folder: Path, name: str, value: Any) -> None:
    run_folder = folder / name.replace(".", "-")
    run_folder.mkdir(exist_ok=True)
    (run_folder / name).write_text(json.dumps(value))
    with pytest.raises(UsageError):
        report.main([str(run_folder), "-o", str(folder / "page.html")])


@given(value=anything, key=st.one_of(st.just("k"), anything), score=anything)
@every
def test_any_json_as_a_ledger_line_is_a_score_or_skipped(folder: Path, value: Any, key: Any, score: Any) -> None:
    path = folder / "ledger.jsonl"
    rows = [
        {"ledger": "profilesearch", "schema": 1},
        value,
        {"key": key, "score": score},
        {"key": "good", "score": 0.5},
    ]
    lines = [json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(b"%08x %s\n" % (crc32(line), line) for line in lines[1:]))
    Ledger(folder / "new.jsonl").put("good", 0.5)
    header = (folder / "new.jsonl").read_bytes().split(b"\n")[0]
    (folder / "new.jsonl").unlink()
    path.write_bytes(header + b"\n" + path.read_bytes())
    ledger = Ledger(path)
    assert ledger.get("good") == 0.5
    found = ledger.get("k")
    assert found is None or (math.isfinite(found) and 0 <= found <= 1 and found == score)


@pytest.mark.full
def test_a_damaged_profile_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "resnet20"
    store.mkdir()
    (store / "good.json").write_text(json.dumps(WHOLE))
    (store / "bad.json").write_text("{")
    os.mkfifo(store / "pipe.json")
    for other in (".ipynb_checkpoints", "resnet20/.ipynb_checkpoints", "no architecture"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "x.json").write_text("{}")
    listing.main(["--store", str(tmp_path), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert str(store / "good.json") in {each["file"] for each in said["profiles"]}
    assert [
        str(store / name) in reason for name, reason in zip(("bad.json", "pipe.json"), said["damaged"], strict=True)
    ]
    with pytest.raises(UsageError, match="2 damaged profile"):
        listing.main(["--store", str(tmp_path), "--check"])


@pytest.mark.full
def test_what_a_profile_says_does_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "resnet20").mkdir()
    evidence = [{**WHOLE["evidence"][0], "data": STEER, "model": "[/] [bold"}]
    value = {**WHOLE, "evidence": evidence, "found": {**WHOLE["found"], "searcher": STEER, "pool": [{"data": "[/x]"}]}}
    (tmp_path / "resnet20" / f"any{STEER[:3]}.json").write_text(json.dumps(value))
    for more in ([], ["--evidence"]):
        listing.main(["--store", str(tmp_path), *more])
        out = capsys.readouterr().out
        assert "[/x]" in out or "[/] [bold" in out
        assert [letter for letter in out if not letter.isprintable() and letter != "\n"] == []


def test_printable_keeps_letters_and_spells_out_the_rest() -> None:
    assert printable("Größe 50 %\n") == "Größe 50 %\n"
    assert printable("\x1b[0m\udcff") == "\\x1b[0m\\udcff"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("cannot open postgresql://me:s3cret@host/db: no", "postgresql://me:***@host/db: no"),
        ("mysql+pymysql://me:s3c@/ret@host/db", "mysql+pymysql://me:***@host/db"),
        ("redis://:s3cret@host", "redis://:***@host"),
        ("postgresql:///db?user=me&password=s3cret&x=1", "password=***&x=1"),
    ],
)
def test_passwords_do_not_appear(text: str, hidden: str) -> None:
    assert hidden in redacted(text)
    assert "s3c" not in str(UsageError(text))


def test_a_result_without_passwords_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"file": 'token=s3cret"x/\\', "addresses": ("postgresql://me:s3c\x1bret@host", 1, None)}
    Output.of(listing.parser().parse_args(["--json"])).result(value)
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"file": 'token=***"x/\\', "addresses": ["postgresql://me:***@host", 1, None]}


@pytest.mark.parametrize(
    ("main", "option", "value", "said"),
    [
        (train.main, "--seed", "-1", "--seed must be 0 or more"),
        (train.main, "--seed", str(2**40), "at most 2147483647"),
        (train.main, "--seeds", "9" * 5000, "must be a whole number"),
        (train.main, "--keep", "nan", r"--keep must be in \(0, 1\], got nan"),
        (train.main, "--std", "0", r"--std must be in \(0, 1000\]"),
        (train.main, "--workers", "100000", "at most 1024"),
        (train.main, "--workers", "2", "--workers is for --engine processes or ray"),
        (compare.main, "--address", "head:10001", "--address is for --engine ray, not for local"),
        (train.main, "--multiple-of", "0", "--multiple-of must be at least 1"),
        (apply.main, "--lr", "inf", "--lr must be in"),
        (apply.main, "--label-smoothing", "1", r"must be in \[0, 1\)"),
        (transfer.main, "--compressions", "0", "--compressions must be at least 1"),
        (listing.main, "--nonsense", "1", "unknown option --nonsense"),
    ],
)
def test_numbers_out_of_range_are_refused_by_the_parser(
    main: Callable[[list[str]], None], option: str, value: str, said: str
) -> None:
    needed = ["--arch", "resnet20", *(["--downstream", "digits"] if main is transfer.main else [])]
    with pytest.raises(UsageError, match=said):
        main([*needed, option, value])


@pytest.mark.full
def test_report_replaces_only_a_report(tmp_path: Path) -> None:
    copy = tmp_path / "mine.json"
    copy.write_bytes(SHIPPED.read_bytes())
    with pytest.raises(UsageError, match="no page of a report"):
        report.main([str(copy), "-o", str(copy)])
    assert copy.read_bytes() == SHIPPED.read_bytes()
    for _ in range(2):
        report.main([str(copy), "-o", str(tmp_path / "page.html")])


@pytest.mark.full
def test_a_full_standard_output_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit, match="2"):
            run(listing.main, ["--json"])
    assert "error: cannot write to standard output: No space left" in capsys.readouterr().err


def test_standard_output_may_be_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, encoding="ascii"))
    run(lambda _: Output.of(listing.parser().parse_args([])).say("± Größe"))
    assert out.getvalue() == rb"\xb1 Gr\xf6\xdfe" + b"\n"
