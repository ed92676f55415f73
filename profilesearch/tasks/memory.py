"""Passes over images in batches that fit into memory."""

from collections.abc import Callable
from typing import TypeVar

from profilesearch.errors import NO_MEMORY

BATCH = 250
"""Images a pass, where memory suffices."""
Result = TypeVar("Result")


def fitting(work: Callable[[int], Result], say: Callable[[str], None] | None = None, batch: int = BATCH) -> Result:
    """Does work with the largest batch, halved from `batch`, for which memory suffices.

    Args:
        work: Given how many images to take at a time; starts anew when memory has run out.
        say: Called with a line for people when the batch is halved.
        batch: The first one to try.

    Raises:
        RuntimeError: There is no memory for a single image.
    """
    while True:
        try:
            return work(batch)
        except RuntimeError as error:
            if batch == 1 or not any(text in str(error) for text in NO_MEMORY):
                raise
        batch //= 2
        if say:
            say(f"out of memory; going on with {batch} images at a time")
