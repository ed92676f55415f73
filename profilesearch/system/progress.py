"""How long work says how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Takes what is done, what there is in all, and a word on what comes next."""
