"""What searches are called by default."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from profilesearch.cli.options import Searching
from profilesearch.system.naming import safe_name

_LONGEST = 48
"""Characters of a data set's part of a name."""


def setting_name(settings: Searching, data: Iterable[str]) -> str:
    """Returns what names of searches start with: the budget, and of the data sets the last part of their paths."""
    second = "" if settings.keep_params is None else f"-params{settings.keep_params:g}"
    multiple = int(settings.multiple_of)
    extras = f"-{settings.scope}" * (settings.scope != "block") + f"-x{multiple}" * (multiple > 1)
    paths = (os.path.abspath(re.sub("/+@", "@", name)) for name in data)  # noqa: PTH100
    parts = "-".join(safe_name(Path(path).name, _LONGEST) for path in paths)
    return f"{settings.metric}{settings.keep:g}{second}{extras}-{parts}"
