"""Curves of a search for TensorBoard, while it runs."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agents import Result
from agents.base import Progress
from profilesearch.errors import UsageError


def check_tensorboard(folder: Path | None) -> None:
    """Finds out before any work whether curves can be written.

    Raises:
        UsageError: They are asked for, and TensorBoard is not installed.
    """
    if folder is None:
        return
    try:
        import tensorboard  # noqa: F401, PLC0415  an extra
    except ImportError as error:
        raise UsageError(
            "--tensorboard needs TensorBoard; install it with: pip install 'profilesearch[tensorboard]'"
        ) from error


class Curves:
    """Writes scalars of a search; a context manager.

    Args:
        folder: Of the event files; nothing is written where None.
    """

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is not None:
            logging.getLogger("tensorflow").setLevel(logging.ERROR)
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an extra

            self._writer = SummaryWriter(str(folder))

    def watch(self, progress: Progress) -> Progress:
        """Returns a progress function that writes the best fitness so far, too."""
        if self._writer is None:
            return progress

        def both(done: int, total: int, best: float) -> None:
            self._writer.add_scalar("search/best fitness", best, done)
            progress(done, total, best)

        return both

    def finish(self, result: Result) -> None:
        """Writes what is known of every evaluation, and the accuracy of the finalists on fresh images."""
        if self._writer is None:
            return
        for step, evaluation in enumerate(result.history, 1):
            kind = "policy" if evaluation.is_policy else "proposals"
            self._writer.add_scalar(f"search/fitness of {kind}", evaluation.fitness, step)
            self._writer.add_scalar(f"search/own cost of {kind}", evaluation.own_cost, step)
        self._writer.add_scalar("search/winner on fresh images", result.winner.fresh, len(result.history))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
