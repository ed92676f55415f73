"""The one contract of all engines: scorers and tasks in, scores out as they are finished."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from profilesearch.networks.groups import IntArray
from profilesearch.scoring.names import LOCAL
from profilesearch.scoring.score import Scorer

Task = tuple[int, IntArray]
"""Which scorer, and the widths (G,) that it is to score."""


class Engine(ABC):
    """Scores profiles, here or elsewhere. A context manager: what it started ends with it.

    A score is a pure function of scorer and widths, so that every engine gives the same numbers, and a lost task can be
    given to another worker. What remains is rounding: it depends on the number of threads, which workers share.
    """

    name: str
    """As on the command line."""

    @abstractmethod
    def scores(self, scorers: Sequence[Scorer], tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Yields (index of the task, accuracy in [0, 1]) as tasks are finished, in any order.

        A worker gets each scorer (network and images) once; from then on, only widths and scores travel.

        Raises:
            UsageError: Workers die again and again.
        """

    def close(self) -> None:  # noqa: B027  most have nothing to end
        """Ends all workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalEngine(Engine):
    """Scores in this process, one after the other."""

    name = LOCAL

    def scores(self, scorers: Sequence[Scorer], tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        """Yields every score as it is taken, in order."""
        for index, (place, widths) in enumerate(tasks):
            yield index, scorers[place].score(widths)


_scorers: dict[str, Scorer] = {}


def remembered(digest: str, fetch: Callable[[], Scorer]) -> Scorer:
    """Returns a scorer that this worker has, or fetches it, once."""
    if digest not in _scorers:
        _scorers[digest] = fetch()
    return _scorers[digest]
