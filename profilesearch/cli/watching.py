"""Curves of a search for TensorBoard, while it runs."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from agents import Result
from agents.base import Progress
from profilesearch.errors import UsageError
from profilesearch.system.files import cannot_write, check_writable


def check_tensorboard(folder: Path | None) -> None:
    """Finds out before any work whether curves can be written.

    Raises:
        UsageError: They are asked for, and TensorBoard is not installed, or the folder cannot be written.
    """
    if folder is None:
        return
    check_writable(folder)
    try:
        import tensorboard  # noqa: F401, PLC0415  an extra
    except ImportError as error:
        raise UsageError(
            "--tensorboard needs TensorBoard; install it with: pip install 'profilesearch[tensorboard]'"
        ) from error


class Curves:
    """Writes scalars of a search; a context manager. A search does not end because they cannot be written.

    Args:
        folder: Of the event files; nothing is written where None.
        say: Called with a line for people when the disk is full.
    """

    def __init__(self, folder: Path | None, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._file: BinaryIO | None = None

    def watch(self, progress: Progress) -> Progress:
        """Returns a progress function that writes the best fitness so far, too."""

        def both(done: int, total: int, best: float) -> None:
            self._add("search/best fitness", best, done)
            progress(done, total, best)

        return both

    def finish(self, result: Result) -> None:
        """Writes what is known of every evaluation, and the accuracy of the finalists on fresh images."""
        for step, evaluation in enumerate(result.history, 1):
            kind = "policy" if evaluation.is_policy else "proposals"
            self._add(f"search/fitness of {kind}", evaluation.fitness, step)
            self._add(f"search/own cost of {kind}", evaluation.own_cost, step)
        self._add("search/winner on fresh images", result.winner.fresh, len(result.history))

    def _add(self, name: str, value: float, step: int) -> None:
        if self._file is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415  an extra
        from torch.utils.tensorboard.summary import scalar  # noqa: PLC0415

        self._write(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))  # type: ignore[no-untyped-call]

    def _write(self, event: Any) -> None:
        """Writes at once: TensorBoard's own writer does it in a thread, which a full disk ends."""
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415  an extra

        assert self._file is not None  # noqa: S101
        try:
            RecordWriter(self._file).write(event.SerializeToString())
        except OSError as error:
            self._say(f"no more curves are written to {self._folder}: {error.strerror}; the search goes on")
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        if self._folder is not None:
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415  an extra

            name = f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = (self._folder / name).open("wb", buffering=0)
            except OSError as error:
                raise cannot_write(self._folder, error) from error
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
