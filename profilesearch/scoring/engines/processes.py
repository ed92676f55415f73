"""Worker processes on this machine."""

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.networks.groups import IntArray
from profilesearch.scoring.engines.base import Engine, Task, remembered
from profilesearch.scoring.score import Scorer
from profilesearch.system.files import write_atomically
from profilesearch.system.processes import start_workers, stop_workers
from profilesearch.system.temporary import scratch_folder

RESTARTS = 3
"""How often workers may die in a row, with no score between, before the search gives up."""


class ProcessEngine(Engine):
    """Scores in several processes; those that die are replaced, and lose nothing but the score they were at.

    Scorers reach the workers through files in a private temporary folder, which this engine wrote itself.

    Args:
        workers: Number of processes; they share the processor's threads.
    """

    name = "processes"

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._resources = ExitStack()
        self._folder = self._resources.enter_context(scratch_folder())

    def scores(self, scorers: Sequence[Scorer], tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Yields scores as they come."""
        left, deaths = dict(enumerate(tasks)), 0
        files = {place: self._file(scorers[place]) for place, _ in tasks}
        while left:
            try:
                for index, score in self._submit(left, files, scorers):
                    del left[index]
                    deaths = 0
                    yield index, score
            except BrokenProcessPool as error:
                self._stop()
                deaths += 1
                if deaths > RESTARTS:
                    raise UsageError(
                        "worker processes die again and again, perhaps for lack of memory; use fewer --workers"
                    ) from error

    def close(self) -> None:
        """Ends all workers."""
        self._stop()
        self._resources.close()

    def _submit(
        self, tasks: dict[int, Task], files: dict[int, Path], scorers: Sequence[Scorer]
    ) -> Iterator[tuple[int, float]]:
        if self._executor is None:
            self._executor = start_workers(self._workers)
        futures = {
            self._executor.submit(_score, scorers[place].digest, files[place], widths): index
            for index, (place, widths) in tasks.items()
        }
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _file(self, scorer: Scorer) -> Path:
        file = self._folder / scorer.digest
        if not file.exists():
            content = pickle.dumps(scorer)
            write_atomically(file, lambda temporary: temporary.write_bytes(content))
        return file

    def _stop(self) -> None:
        if self._executor is not None:
            stop_workers(self._executor)
            self._executor = None


def _score(digest: str, file: Path, widths: IntArray) -> float:
    return remembered(digest, lambda: pickle.loads(file.read_bytes())).score(widths)  # noqa: S301  our own file
