"""Worker processes on this machine, each with its share of the processor."""

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process

import torch

from profilesearch.system.allocator import keep_freed_memory


def start_workers(workers: int) -> ProcessPoolExecutor:
    """Returns fresh worker processes; Ctrl-C is the parent's matter, which ends them."""
    threads = max(1, torch.get_num_threads() // workers)
    return ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (threads,))


def stop_workers(executor: ProcessPoolExecutor) -> None:
    """Ends worker processes at once, whatever they are doing."""
    processes = list((executor._processes or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _prepare(threads: int) -> None:
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
