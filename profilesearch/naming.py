"""Names for files and folders, made of whatever people write."""

import argparse
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

LONGEST = 120
"""Characters of a name; file systems take 255 bytes, endings and numbers included."""
_PART = 48
_WRONG = re.compile(r"[^A-Za-z0-9._-]+")


def safe_name(text: str, longest: int = LONGEST) -> str:
    """Returns a name that every file system takes and no shell has to quote.

    Args:
        text: Anything; what is no letter, digit, `.`, `_` or `-` becomes a hyphen, accents are dropped.
        longest: Characters; of a longer name the end becomes a hash, and so does all of one without any letter left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = _WRONG.sub("-", plain).strip("-._")
    if name and len(name) <= longest:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{name[: longest - len(digest) - 1]}-{digest}".lstrip("-")


def setting_name(options: argparse.Namespace, data: Iterable[str]) -> str:
    """Returns what names of searches start with: the budget, and of the data sets the last part of their paths."""
    second = "" if options.keep_params is None else f"-params{options.keep_params:g}"
    extras = f"-{options.scope}" * (options.scope != "block") + f"-x{options.multiple_of}" * (options.multiple_of > 1)
    paths = (os.path.abspath(re.sub("/+@", "@", name)) for name in data)  # noqa: PTH100
    parts = "-".join(safe_name(Path(path).name, _PART) for path in paths)
    return f"{options.metric}{options.keep:g}{second}{extras}-{parts}"
