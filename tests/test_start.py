"""How commands start: wherever, however, and stopped while they do."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_no_module_hides_one_of_the_standard_library() -> None:
    names = {path.stem for folder in ("profilesearch", "envs", "agents") for path in (ROOT / folder).glob("*.py")}
    assert names & sys.stdlib_module_names == set()


def test_a_command_starts_as_a_script() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "profilesearch" / "list.py", "--help"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
