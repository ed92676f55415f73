"""Passes over images in batches that fit into memory."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

from profilesearch.errors import no_memory

BATCH = 250
"""Images a pass, where memory suffices."""
Result = TypeVar("Result")


def batches(count: int, most: int) -> Iterator[slice]:
    """Cuts images into batches of nearly equal size, none of them of one image where there are more.

    Statistics over one image are no statistics, and BatchNorm refuses them behind a flatten.

    Args:
        count: How many images there are.
        most: Images a batch; one more where a single image would be left over.
    """
    parts = max(1, min(-(-count // most), count // 2))
    ends = [count * part // parts for part in range(parts + 1)]
    return (slice(start, end) for start, end in pairwise(ends))


def fitting(
    work: Callable[[int], Result], say: Callable[[str], None] | None = None, batch: int = BATCH, least: int = 1
) -> Result:
    """Does work with the largest batch, halved from `batch`, for which memory suffices.

    Args:
        work: Given how many images to take at a time; starts anew when memory has run out.
        say: Called with a line for people when the batch is halved.
        batch: The first one to try.
        least: The last one to try.

    Raises:
        RuntimeError: There is no memory for the last one.
    """
    while True:
        try:
            return work(batch)
        except RuntimeError as error:
            if batch <= least or not no_memory(error):
                raise
        batch = max(least, batch // 2)
        if say:
            say(f"out of memory; going on with {batch} images at a time")
