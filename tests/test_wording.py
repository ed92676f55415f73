"""Sentences of the library speak of its arguments, and commands say the same of their options."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from test_imports import HOME, PACKAGES, part_of, parts

from agents import PpoSettings, make_searcher
from agents.storage_files import check_storage
from profilesearch import Budget, UsageError, load_data
from profilesearch.applying.settings import Applying
from profilesearch.cli.console import run
from profilesearch.cli.wording import MARK, OPTIONS, in_options
from profilesearch.networks.groups import check_names
from profilesearch.networks.names import check_rival
from profilesearch.research.settings import Training
from profilesearch.scoring.ledger import Ledger
from profilesearch.store import Store
from profilesearch.tasks.catalogue import with_size
from profilesearch.tasks.sources import open_data

STYLES = {HOME / "profilesearch" / "reporting" / "webpage.py"}
"""The page's CSS has variables, which look like options."""
OTHERS = {"all", "transform_input"}
"""In such quotes, but no argument of ours: part of a feature's name, and an argument of torchvision's."""


@cache
def sentences() -> list[tuple[str, int, str]]:
    """Returns file, line and text of what is no docstring below the front doors: `cli`, and whatever imports it."""
    needs = parts()
    doors = {"profilesearch.cli", *(part for part, below in needs.items() if "profilesearch.cli" in below)}
    found = []
    for file in sorted(path for package in PACKAGES for path in (HOME / package).rglob("*.py")):
        part = part_of(".".join(file.relative_to(HOME).with_suffix("").parts))
        if part in needs.keys() - doors and file not in STYLES:
            found += [(str(file), line, text) for line, text in texts(ast.parse(file.read_text(encoding="utf-8")))]
    return found


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields the texts of a module that are no docstrings; in those with values, each value is {}."""
    seen = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            seen |= set(map(id, node.values))
            words = (str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
            yield node.lineno, "".join(words)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in seen:
            yield node.lineno, node.value


def test_no_sentence_below_the_front_doors_names_an_option() -> None:
    whole_commands = re.compile(r"`\w+ [^`]*`")  # these are a way from anywhere
    named = [each for each in sentences() if re.search(r"(?<![\w-])--[a-z]", whole_commands.sub("", each[2]))]
    assert not named, "name the argument, marked as in profilesearch/cli/wording.py"


def test_all_that_is_marked_has_an_option_and_all_options_are_marked() -> None:
    marked = {found["name"] for _, _, text in sentences() for found in MARK.finditer(text)}
    assert marked - OTHERS == OPTIONS.keys()
    known = {word for kind in (Applying, Training) for word in kind.parser()._option_string_actions}
    assert set(re.findall("--[a-z-]+", " ".join(OPTIONS.values()))) <= known


def read_ledger() -> None:
    Path("ledger.jsonl").write_text("{}\n", encoding="utf-8")
    Ledger(Path("ledger.jsonl"))


def look_at_storage() -> None:
    Path("notes.txt").write_text("mine\n", encoding="utf-8")
    check_storage("notes.txt")


CARRY = "profilesearch.networks.mapping.carry"
SAID: dict[Callable[[], object], tuple[str, str]] = {
    lambda: Budget("params", 0.5, 0.5): ("give `keep` alone, or another `metric`", "--keep alone, or another --metric"),
    lambda: check_rival("widest", Budget("macs", 0.5, 0.5)): ("leave `keep_params` out", "leave --keep-params out"),
    lambda: load_data("cifar10"): ("give `folder`", "give --data-dir DIR or set PROFILESEARCH_DATA"),
    lambda: open_data("mnist"): ("give `folder`", "give --data-dir DIR or set PROFILESEARCH_DATA"),
    lambda: load_data("cifar10", "no"): ("or add `download=True` to", "or add --download to"),
    lambda: with_size("digits@9", 12): ("but `image_size=12`; give", "but --image-size 12; give"),
    lambda: load_data("digits").renormalize([1, 2], None): ("`mean` and `std` take", "--mean and --std take"),
    lambda: check_names({"a": 1}, ["b"], "x"): (f"with `{CARRY}`", "with --map-by-position"),
    lambda: Store(Path("no")).best("x", 0.3, "macs", "digits"): (
        "`profilesearch train --arch x --keep 0.3 --metric macs`, or take `profile='uniform'`",
        "`profilesearch train --arch x --keep 0.3 --metric macs`, or take --profile uniform",
    ),
    lambda: make_searcher("random", "sqlite://"): ("`storage` is for", "--storage is for"),
    lambda: make_searcher("random", ppo=PpoSettings()): ("leave out `ppo`", "leave out --ppo"),
    look_at_storage: ("let `storage` name", "let --storage name"),
    read_ledger: ("or give `Ledger` another place", "or give --runs another place"),
}


@pytest.mark.parametrize(("ask", "in_python", "in_a_shell"), [(ask, *said) for ask, said in SAID.items()])
def test_python_reads_of_arguments_and_a_command_of_options(
    ask: Callable[[], object],
    in_python: str,
    in_a_shell: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        ask()
    assert in_python in str(caught.value)
    with pytest.raises(SystemExit, match="2"):
        run(lambda _: ask() and None)
    said = capsys.readouterr().err
    assert in_a_shell in said
    assert not MARK.search(said)


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("try `scope='all'`", "try --scope all"),
        ("give `mean=[0.5, 0.25]` `std=[1.0, 1.0]`", "give --mean 0.5 0.25 --std 1.0 1.0"),
        ("add `download=True`, or not", "add --download, or not"),
        ("`ray start --head`, or `address`", "`ray start --head`, or --address"),
        ("cannot read `mine`.pth", "cannot read `mine`.pth"),
    ],
)
def test_marks_become_options(sentence: str, said: str) -> None:
    assert in_options(sentence) == said
