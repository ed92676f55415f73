"""95 % intervals: of an accuracy on many images, of the difference of two, and of a mean over few runs."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit
from torch import Tensor

_ONE_SIDED = 0.975
_Z = float(ndtri(_ONE_SIDED))


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of an accuracy measured on that many images (Wilson 1927); of none, all of it."""
    if not images:
        return 0.0, 1.0
    centre = accuracy + _Z**2 / (2 * images)
    spread = _Z * math.sqrt(accuracy * (1 - accuracy) / images + _Z**2 / (4 * images**2))
    scale = 1 + _Z**2 / images
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_difference(ours: Tensor, theirs: Tensor) -> tuple[float, float, float]:
    """Returns by how much one accuracy is above another on the same images, with the ends of its 95 % interval.

    The images that both get right, or wrong, say nothing of the difference; the interval is that of Bonett and Price
    2012: Wald's, with one image more that each of the two alone gets right.

    Args:
        ours: Whether the one is right on each image, booleans of shape (N,).
        theirs: Likewise for the other.
    """
    count = len(ours)
    alone, other = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    high, low = (alone + 1) / (count + 2), (other + 1) / (count + 2)
    reach = _Z * math.sqrt((high + low - (high - low) ** 2) / (count + 2))
    return (alone - other) / count, max(-1.0, high - low - reach), min(1.0, high - low + reach)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the half width of its 95 % interval (Student's t); NaN for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    return mean, student(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def student(freedom: float) -> float:
    """Returns the 97.5 % quantile of Student's t for so many degrees of freedom, a positive number."""
    return float(stdtrit(freedom, _ONE_SIDED))
