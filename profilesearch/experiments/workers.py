"""Worker processes: measurements side by side, each with its share of the processor."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import torch


def results(function: Callable[..., Any], common: Any, tasks: Sequence[Any], workers: int) -> Iterator[tuple[Any, Any]]:
    """Yields (task, result) as tasks are finished, in any order.

    Small networks gain little from many threads, so that processes with few threads each finish more: on two cores,
    two with one thread each train a ResNet-20 1.45 times as fast as one with two.

    Args:
        function: Called as `function(common, task)` in a worker; importable, with arguments that can be pickled.
        common: First argument of every call.
        tasks: Second arguments.
        workers: Number of processes; 1 runs everything in this one.
    """
    if workers == 1:
        for task in tasks:
            yield task, function(common, task)
        return
    threads = max(1, torch.get_num_threads() // workers)
    executor = ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), _prepare, (threads,))
    try:
        futures = {executor.submit(function, common, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in list((executor._processes or {}).values()):
            process.terminate()
        raise
    executor.shutdown()


def _prepare(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends the workers
    torch.set_num_threads(threads)
