"""How far a piece of work is, told from inside of it, in whatever process it is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Hear = Callable[[float], None]
"""Hears which part of the work is done, from 0 to 1."""
_HEARING: ContextVar[Hear | None] = ContextVar("hearing", default=None)


def tell(done: int, total: int, what: str = "") -> None:
    """Tells how far the work at hand is, where somebody listens; a `Progress`.

    Args:
        done: Of what there is in all.
        total: All.
        what: Is not told.
    """
    hear = _HEARING.get()
    if hear is not None and total:
        hear(done / total)


@contextmanager
def heard(hear: Hear | None) -> Iterator[None]:
    """Lets a function hear what is told inside; nobody where None."""
    before = _HEARING.set(hear)
    try:
        yield
    finally:
        _HEARING.reset(before)


@contextmanager
def within(start: float, end: float) -> Iterator[None]:
    """Makes what is told inside a part of the work at hand: of what is done from `start` to `end`, from 0 to 1."""
    hear = _HEARING.get()
    with heard(None if hear is None else lambda part: hear(start + (end - start) * part)):
        yield
