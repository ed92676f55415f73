"""Worker processes on this machine, each with its share of the processor."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process
from tempfile import gettempdir
from typing import Any

import torch

from profilesearch.errors import UsageError
from profilesearch.system.allocator import keep_freed_memory
from profilesearch.system.parts import heard

_LONGEST_PLACE = 64
"""Characters of the folder for temporary files: addresses of sockets in it have 108 at most."""
_CALLS = 4096
"""Calls that may tell how far they are, at most."""
_EVERY_S = 1.0
"""Between two looks at that."""
RESTARTS = 3
"""How often workers may die in a row, with no result between, before their work is given up."""


class Workers:
    """Fresh processes that share the processor's threads; those that die are replaced, and what they were at is redone.

    They start with the first call, and end with this process, even if it is killed; Ctrl-C is its matter alone. Where
    the system can, they are forked from a process that has imported what they need and done nothing else, so that
    the imports, seconds of them, are made once.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._executor: ProcessPoolExecutor | None = None
        self._parts: Any = None  # how far each call is, in memory that workers write to

    @property
    def numbers(self) -> list[int]:
        """Process numbers of those that are running."""
        return list((self._executor._processes or {}) if self._executor else {})

    def results(
        self,
        function: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        watch: Callable[[float], None] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Calls a function in the workers, and yields (index of the call, result) as calls are finished, in any order.

        Args:
            function: Importable; may be called again with the same arguments when a worker has died.
            calls: Its arguments, for every call, which can be pickled.
            watch: Called now and then with how far the unfinished calls are, by `tell`, in calls.

        Raises:
            UsageError: Workers die again and again.
        """
        left, deaths = dict(enumerate(calls)), 0
        while left:
            futures: dict[Future[Any], int] = {}
            died: BrokenProcessPool | None = None
            try:
                for index, call in left.items():
                    executor = self._running(function.__module__)
                    futures[executor.submit(_numbered, index, function, call)] = index
            except BrokenProcessPool as error:
                died = error
            for future in self._finished(futures, watch):
                failed = future.exception()
                if isinstance(failed, BrokenProcessPool):
                    died = failed  # all that was not finished then says so
                    continue
                del left[futures[future]]
                deaths = 0
                yield futures[future], future.result()
            if died is None:
                continue
            self.close()
            deaths += 1
            if deaths > RESTARTS:
                raise UsageError(
                    "worker processes die again and again, perhaps for lack of memory; use fewer `workers`"
                ) from died

    def _finished(
        self, futures: Mapping[Future[Any], int], watch: Callable[[float], None] | None
    ) -> Iterator[Future[Any]]:
        """Yields calls as they are finished, and lets people watch those that are not."""
        if watch is None:
            yield from as_completed(futures)
            return
        left = set(futures)
        while left:
            done, left = wait(left, _EVERY_S, FIRST_COMPLETED)
            yield from done
            watch(sum(self._parts[futures[each] % _CALLS] for each in left if each.running()))

    def _running(self, module: str) -> ProcessPoolExecutor:
        if self._executor is None:
            threads = max(1, torch.get_num_threads() // self._count)
            forks = "forkserver" in get_all_start_methods() and len(gettempdir()) < _LONGEST_PLACE
            context = get_context("forkserver" if forks else "spawn")
            context.set_forkserver_preload([__name__, module])
            if forks:
                with _deaf():
                    forkserver.ensure_running()
            self._parts = context.RawArray("d", _CALLS)
            self._executor = ProcessPoolExecutor(self._count, context, _prepare, (threads, self._parts))
        return self._executor

    def close(self) -> None:
        """Ends all workers at once, whatever they are doing."""
        if self._executor is None:
            return
        processes = list((self._executor._processes or {}).values())
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        self._executor = None


@contextmanager
def _deaf() -> Iterator[None]:
    """What is started inside does not hear Ctrl-C, from its first moment on."""
    if threading.current_thread() is not threading.main_thread():  # others may not choose what is heard
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


_TOLD: ContextVar[Any] = ContextVar("told")
"""In a worker, the memory that says how far each call is."""


def _numbered(index: int, function: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    """Calls a function, whose telling is for a place in memory."""
    _TOLD.get()[index % _CALLS] = 0.0
    with heard(partial(_TOLD.get().__setitem__, index % _CALLS)):
        return function(*call)


def _prepare(threads: int, told: Any) -> None:
    _TOLD.set(told)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker when its parent is gone, even killed: nobody would read what it works on."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
