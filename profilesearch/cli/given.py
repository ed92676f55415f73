"""Trained models as commands are given them: FILE, FILE#ENTRY, DATA=FILE, DATA:SEED, or the name of published weights.

Read without torch, which takes seconds.
"""

import re
from pathlib import Path

from profilesearch.networks.names import entry_of
from profilesearch.system.files import regular_file
from profilesearch.tasks.catalogue import is_data


def trained_here(given: str) -> tuple[str, int] | None:
    """Returns the data set and the seed of what is given as DATA:SEED; nothing for a file."""
    own = re.fullmatch("(.+):([0-9]+)", given, re.DOTALL)
    return (own[1], int(own[2])) if own and is_data(own[1]) else None


def file_given(given: str) -> tuple[str, str]:
    """Returns the data set, empty where none is said, and the file of what is given as DATA=FILE or FILE."""
    data, separator, file = given.partition("=")
    return (data, file) if separator and is_data(data) else ("", given)


def check_given(given: str) -> None:
    """Checks that a file is there, unless what is given may be the name of published weights.

    Raises:
        UsageError: It is not.
    """
    _, file = file_given(given)
    path, _ = entry_of(Path(file))
    is_file = bool(path.suffix) or "/" in file
    if trained_here(given) is None and is_file and "Weights." not in file and not path.exists():
        regular_file(path, "checkpoint")
