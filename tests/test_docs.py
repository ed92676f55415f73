"""What the README and the pages say is tried: their Python runs, and their commands are commands."""

import doctest
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import profilesearch
from profilesearch.networks.architectures import build

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("commands", "how", "networks", "data", "python", "policy")),
]
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Commands of this package in the pages that people read first."""
    lines = [line for page in PAGES for line in page.read_text().replace("\\\n", " ").splitlines()]
    calls = [re.search(r"^    .*-m profilesearch\.(.*)$", line) for line in lines]
    return [shlex.split(call[1]) for call in calls if call]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_are_commands(words: list[str]) -> None:
    verb, *rest = words
    options = importlib.import_module(f"profilesearch.{verb}").parser().parse_args(rest)
    assert options.verb == verb


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 120
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.full
def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stable_baselines3.PPO.learn", lambda agent, steps: agent)  # minutes
    monkeypatch.setattr("gymnasium.make", lambda name: importlib.import_module("envs.layerwise").LayerWiseEnv(problem))
    torch.manual_seed(0)
    network, images = build("resnet20", 5).train(), torch.randn(40, 3, 32, 32)
    labels = network(images).argmax(dim=1)
    network.eval()
    problem = importlib.import_module("profilesearch.scoring.problem").Problem.of(network, images, labels)
    search = profilesearch.search
    monkeypatch.setattr(
        profilesearch, "search", lambda *given, **how: search(*given, **how | {"evaluations": 2, "searcher": "random"})
    )
    scope: dict[str, Any] = {"network": network, "batch": images[:8], "images": images, "labels": labels}
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        if "load_pruned" in block:
            continue  # what `apply` says, and is tried with it
        exec(block, scope)  # noqa: S102
    assert sum(each.numel() for each in scope["network"].parameters()) < sum(
        each.numel() for each in network.parameters()
    )
    assert scope["agent"].observation_space == problem_space(problem)


def problem_space(problem: Any) -> Any:
    return importlib.import_module("envs.layerwise").LayerWiseEnv(problem).observation_space


@pytest.mark.full
def test_every_example_of_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    found = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert (found.failed, found.attempted > 20) == (0, True)


def test_every_public_name_is_in_the_page_of_reference() -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    table = page[page.index("## All public names") :]
    assert set(re.findall(r"`(\w+)`", table)) >= set(profilesearch.__all__)
    assert doctest.testmod(importlib.import_module("profilesearch.smaller")).failed == 0


def test_the_table_of_families_is_what_the_command_knows() -> None:
    page = (ROOT / "docs" / "networks.md").read_text()
    families = importlib.import_module("profilesearch.showing.families").FAMILIES
    assert re.findall(r"^\| (\w+) \| \d+ \|", page, re.MULTILINE) == list(families)
