"""Worker processes on this machine."""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from profilesearch.networks.groups import IntArray
from profilesearch.scoring.engines.base import Engine, Task, remembered
from profilesearch.scoring.names import PROCESSES
from profilesearch.scoring.score import Scorer
from profilesearch.system.files import write_atomically
from profilesearch.system.processes import Workers
from profilesearch.system.temporary import scratch_folder


class ProcessEngine(Engine):
    """Scores in several processes; those that die are replaced, and lose nothing but the score they were at.

    Scorers reach the workers through files in a private temporary folder, which this engine wrote itself.

    Args:
        workers: Number of processes; they share the processor's threads.
    """

    name = PROCESSES

    def __init__(self, workers: int) -> None:
        self._workers = Workers(workers)
        self._resources = ExitStack()
        self._folder = self._resources.enter_context(scratch_folder())

    def scores(self, scorers: Sequence[Scorer], tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Yields scores as they come."""
        files = {place: self._file(scorers[place]) for place in {place for place, _ in tasks}}
        calls = [(scorers[place].digest, files[place], widths) for place, widths in tasks]
        yield from self._workers.results(_score, calls)

    def close(self) -> None:
        """Ends all workers."""
        self._workers.close()
        self._resources.close()

    def _file(self, scorer: Scorer) -> Path:
        file = self._folder / scorer.digest
        if not file.exists():
            content = pickle.dumps(scorer)
            write_atomically(file, lambda temporary: temporary.write_bytes(content))
        return file


def _score(digest: str, file: Path, widths: IntArray) -> float:
    return remembered(digest, lambda: pickle.loads(file.read_bytes())).score(widths)  # noqa: S301  our own file
