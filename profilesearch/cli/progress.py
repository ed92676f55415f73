"""How far a part of a command is: a live bar on a terminal, and a plain line now and then elsewhere."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from profilesearch.system.progress import Progress

SOON_S = 2.0
"""A part that is finished earlier shows no bar."""
EVERY_S = 30.0
"""Between two lines where there is no terminal."""


@contextmanager
def shown(what: str, console: Console, total: int | None = None) -> Iterator[Progress]:
    """Shows a part of the work while it goes on.

    Args:
        what: The part's name.
        console: Where to.
        total: Of what is counted; None where nothing is until the first move, and the bar shows that time passes.

    Yields:
        What moves it.
    """
    if console.quiet:
        yield lambda done, total, note: None
        return
    with (_bar if console.is_terminal else _lines)(what, console, total) as move:
        yield move


class _Time(ProgressColumn):
    """How long it will still take; how long it took so far where that is not known."""

    def render(self, task: Task) -> Text:
        """See rich."""
        left = task.time_remaining
        seconds = int(task.elapsed or 0) if left is None else int(left)
        return Text(f"{timedelta(seconds=seconds)}{'' if left is None else ' left'}")


@contextmanager
def _bar(what: str, console: Console, total: int | None) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        _Time(),
    )
    bar = Bars(*columns, console=console)
    task = bar.add_task(what, total=total, note="")
    late = threading.Timer(SOON_S, bar.start)
    late.daemon = True
    late.start()
    try:
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)
    finally:
        late.cancel()
        late.join()  # so that the bar is not started once it was stopped
        if bar.live.is_started:
            bar.stop()


@dataclass
class _Place:
    """How far a part is."""

    done: int = 0
    total: int | None = None
    note: str = ""

    def move(self, done: int, total: int, note: str) -> None:
        """Notes it."""
        self.done, self.total, self.note = done, total, note

    def __str__(self) -> str:
        share = f"{self.done / self.total:.0%}, " if self.total else ""
        return share + (f"{self.note}, " if self.note else "")


@contextmanager
def _lines(what: str, console: Console, total: int | None) -> Iterator[Progress]:
    place, finished, start = _Place(total=total), threading.Event(), time.monotonic()

    def speak() -> None:
        while not finished.wait(EVERY_S):
            console.print(f"{what}: {place}{time.monotonic() - start:.0f} s so far", markup=False, soft_wrap=True)

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield place.move
    finally:
        finished.set()
        speaker.join()
