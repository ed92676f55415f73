"""Where in a network's own code an error arose."""

import traceback
from pathlib import Path

import torch

_OTHERS = str(Path(torch.__file__).parent), str(Path(__file__).parents[1])
"""Folders of code that only calls the network's."""


def raised_where(error: Exception) -> str:
    """Names the line of the network's own code in which an error arose, and what it says."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OTHERS)]
    place = f"{Path(own[-1].filename).name}, line {own[-1].lineno}: " if own else ""
    said = (str(error).splitlines() or [""])[0]
    return f"{place}{type(error).__name__}{f': {said}' if said else ''}"
