"""95 % intervals: of an accuracy on many images, and of a mean over few runs."""

import math
from collections.abc import Sequence

import numpy as np

_Z = 1.959964
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t for 1 to 9 degrees of freedom; beyond, the normal one is near enough."""


def accuracy_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of an accuracy measured on that many images (Wilson 1927)."""
    centre = accuracy + _Z**2 / (2 * images)
    spread = _Z * math.sqrt(accuracy * (1 - accuracy) / images + _Z**2 / (4 * images**2))
    scale = 1 + _Z**2 / images
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the half width of its 95 % interval (Student's t); NaN for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    quantile = _T[len(values) - 2] if len(values) - 2 < len(_T) else _Z
    return mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))
