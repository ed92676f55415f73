"""Engines: where profiles are scored."""

import torch

from profilesearch.errors import UsageError, choose
from profilesearch.scoring.engines.base import Engine, LocalEngine, Task
from profilesearch.scoring.engines.processes import ProcessEngine
from profilesearch.scoring.engines.ray import RayEngine
from profilesearch.scoring.names import ENGINES

__all__ = ["Engine", "LocalEngine", "ProcessEngine", "RayEngine", "Task", "open_engine"]


def open_engine(name: str, workers: int = 0, address: str | None = None) -> Engine:
    """Returns an engine by name.

    Args:
        name: One of `ENGINES`.
        workers: Processes; 0 for one a core.
        address: Of a running Ray cluster.

    Raises:
        UsageError: The name is unknown, there are fewer than 0 workers, or the engine cannot start.
    """
    choose("engine", name, ENGINES)
    if workers < 0:
        raise UsageError(f"workers must be 0 or more, got {workers}")
    workers = workers or torch.get_num_threads()
    if name == RayEngine.name:
        return RayEngine(workers, address)
    return ProcessEngine(workers) if name == ProcessEngine.name else LocalEngine()
