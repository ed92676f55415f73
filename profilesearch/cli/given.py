"""Trained models as commands are given them: FILE, FILE#ENTRY, DATA=FILE, DATA:SEED, or the name of published weights.

Read without torch, which takes seconds.
"""

import re
from difflib import get_close_matches
from pathlib import Path

from profilesearch.networks.names import entry_of
from profilesearch.networks.packaged import PACKAGED, PACKAGES, PUBLISHED, packaged_file
from profilesearch.system.files import regular_file
from profilesearch.tasks.catalogue import is_data, with_size


def trained_here(given: str) -> tuple[str, int] | None:
    """Returns the data set and the seed of what is given as DATA:SEED; nothing for a file."""
    own = re.fullmatch("(.+):([0-9]+)", given, re.DOTALL)
    return (own[1], int(own[2])) if own and is_data(own[1]) else None


def file_given(given: str) -> tuple[str, str]:
    """Returns the data set, empty where none is said, and the file of what is given as DATA=FILE or FILE."""
    data, separator, file = given.partition("=")
    return (data, file) if separator and is_data(data) else ("", given)


def check_given(given: str, architecture: str, image_size: int | None = None) -> None:
    """Checks that a file is there, or a package, unless what is given may be the name of weights that can be fetched.

    Args:
        given: A trained model.
        architecture: Its name.
        image_size: That is asked for; a data set that is named with the model may say no other one.

    Raises:
        UsageError: It is not there, or is no file, or there are two sizes.
    """
    own = trained_here(given)
    data, file = (own[0], "") if own else file_given(given)
    with_size(data, image_size)
    path, _ = entry_of(Path(file))
    if own is None and (path.exists() or not _perhaps_published(file)):
        regular_file(path, "checkpoint")
    elif architecture in PACKAGES and file.rpartition("Weights.")[2] == PACKAGED:
        packaged_file(architecture)


def _perhaps_published(word: str) -> bool:
    """Says whether a word is the name of published weights, or near enough to one that this may have been meant."""
    if "Weights." in word:
        return True
    return not Path(word).suffix and "/" not in word and bool(get_close_matches(word.upper(), PUBLISHED, 1))
