"""How commands start: wherever, however, and stopped while they do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from profilesearch.cli.starting import INTERRUPTED

ROOT = Path(__file__).parent.parent


def test_no_module_hides_one_of_the_standard_library() -> None:
    names = {path.stem for folder in ("profilesearch", "envs", "agents") for path in (ROOT / folder).glob("*.py")}
    assert names & sys.stdlib_module_names == set()


@pytest.mark.full
def test_a_command_starts_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "profilesearch" / "list.py", "--help"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def started(command: list[str | Path], folder: Path, first_import: str) -> subprocess.CompletedProcess[str]:
    """Starts a command in a folder whose `torch`, the first of the package's slow imports, does this."""
    (folder / "torch.py").write_text(f"import importlib.util, os, signal, time\n{first_import}\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=60)


COMMANDS: dict[str, list[str | Path]] = {
    "module": [sys.executable, "-m", "profilesearch.list"],
    "package": [sys.executable, "-um", "profilesearch", "list"],
    "script": [sys.executable, ROOT / "profilesearch" / "list.py"],
    "console script": [sys.executable, "profilesearch", "list"],
}


@pytest.mark.parametrize("how", COMMANDS)
def test_a_working_folder_does_not_hide_what_comes_with_the_package(tmp_path: Path, how: str) -> None:
    (tmp_path / "agents.py").touch()
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").touch()
    (tmp_path / "profilesearch").write_text("from profilesearch.__main__ import main\nmain()\n")
    found = started(
        COMMANDS[how],
        tmp_path,
        "for name in ('agents', 'envs'):\n    print(importlib.util.find_spec(name).origin, flush=True)\nos._exit(0)",
    )
    assert found.stdout.split() == [str(ROOT / name / "__init__.py") for name in ("agents", "envs")]


def test_in_a_program_names_are_the_programs_own(tmp_path: Path) -> None:
    (tmp_path / "agents.py").touch()
    found = started(
        [sys.executable, "-c", "from profilesearch import load_pruned"],
        tmp_path,
        "print(importlib.util.find_spec('agents').origin, flush=True)\nos._exit(0)",
    )
    assert found.stdout.strip() == str(tmp_path / "agents.py")


@pytest.mark.parametrize("how", ["module", "script"])
def test_an_interruption_of_imports_is_a_hint(tmp_path: Path, how: str) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    try:
        stopped = started(COMMANDS[how], tmp_path, "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (130, "", INTERRUPTED)
