"""What measurements say: rank correlations, overlaps and paired differences, with 95 % intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from profilesearch.intervals import mean_interval
from profilesearch.networks.cost import FloatArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN ends where one run gives no interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3, scale: float = 1.0) -> str:
        """Formats the value with its interval in brackets."""
        value, low, high = (scale * number for number in (self.value, self.low, self.high))
        if np.isnan(low):
            return f"{value:.{digits}f}"
        return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    @property
    def positive(self) -> bool:
        """Whether the whole interval lies above zero."""
        return bool(self.low > 0)

    @property
    def negative(self) -> bool:
        """Whether the whole interval lies below zero."""
        return bool(self.high < 0)


def mean_of(values: Sequence[float]) -> Estimate:
    """Mean with Student's interval."""
    mean, half = mean_interval(values)
    return Estimate(mean, mean - half, mean + half)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Mean of paired differences with Student's interval."""
    return mean_of([a - b for a, b in zip(ours, theirs, strict=True)])


def accuracy_gap(ours: float, theirs: float, images: int) -> Estimate:
    """Difference of two accuracies on N images, with Wald's interval as if the images were not the same (too wide)."""
    half = 1.96 * float(np.sqrt((ours * (1 - ours) + theirs * (1 - theirs)) / images))
    return Estimate(ours - theirs, ours - theirs - half, ours - theirs + half)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation; NaN where one side is constant."""
    return float(_rank_correlations(np.asarray(first)[None], np.asarray(second)[None])[0])


def correlation(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Estimate:
    """Spearman's rank correlation with its bootstrap percentile interval over the pairs."""
    return bootstrap([first, second], lambda parts: _rank_correlations(parts[0], parts[1]), seed)


def correlation_gap(truth: Sequence[float], ours: Sequence[float], best: Sequence[float], seed: int = 0) -> Estimate:
    """Rank correlation of `ours` with the truth minus that of `best`, over the same resampled pairs."""
    return bootstrap(
        [truth, ours, best],
        lambda parts: _rank_correlations(parts[0], parts[1]) - _rank_correlations(parts[0], parts[2]),
        seed,
    )


def bootstrap(
    columns: Sequence[Sequence[float]], statistic: Callable[[Sequence[FloatArray]], FloatArray], seed: int = 0
) -> Estimate:
    """Percentile interval of a statistic over resampled rows (Efron 1979).

    Args:
        columns: Measurements that belong together, each of shape (N,).
        statistic: From columns of R samples, each of shape (R, N), to R values.
        seed: Of the resampling.
    """
    arrays = [np.asarray(column, dtype=float) for column in columns]
    random = np.random.default_rng(seed)
    draws = random.integers(len(arrays[0]), size=(RESAMPLES, len(arrays[0])))
    low, high = np.nanquantile(statistic([array[draws] for array in arrays]), [0.025, 0.975])
    return Estimate(float(statistic([array[None] for array in arrays])[0]), float(low), float(high))


def _rank_correlations(first: FloatArray, second: FloatArray) -> FloatArray:
    """Row by row, of two arrays of shape (R, N)."""
    a, b = (rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (first, second))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    result: FloatArray = np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=size > 0)
    return result


def top_overlap(first: Sequence[float], second: Sequence[float], top: int, within: int) -> int:
    """How many of the `top` best by the first are among the `within` best by the second."""
    best = np.argsort(-np.asarray(first), kind="stable")[:top]
    there = np.argsort(-np.asarray(second), kind="stable")[:within]
    return len(set(best.tolist()) & set(there.tolist()))
