"""The random streams that a whole process shares: stable-baselines3 seeds all of them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def streams_kept() -> Iterator[None]:
    """Puts the streams of Python, NumPy and torch back to where they were, whatever is seeded or drawn meanwhile."""
    python, numpy = random.getstate(), np.random.get_state()
    # A GPU that is not in use yet has no stream to keep, and must not be started for it.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
