"""What measurements say: correlations, overlaps and differences, with 95 % intervals, and what follows from them."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from profilesearch.measure.intervals import accuracy_interval, mean_interval, student
from profilesearch.networks.cost import FloatArray

RESAMPLES = 2000
MARGIN = 0.005
"""Accuracies that differ by less, half a point, count as equally good; so they must be shown to."""
RANK_MARGIN = 0.05
"""Likewise, of rank correlations."""
_PAIRS = 5
"""Behind the interval of a rank correlation, at least."""
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN ends where one run gives no interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3, scale: float = 1.0) -> str:
        """Formats the value with its interval in brackets; nothing where there is no value."""
        value, low, high = (scale * number for number in (self.value, self.low, self.high))
        if np.isnan(value):
            return ""
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

    def within(self, margin: float) -> bool:
        """Whether the whole interval lies nearer to zero than the margin: shown to be equal, not just not different.

        At 95 % this is stricter than two one-sided tests at 5 % (Schuirmann 1987).
        """
        return bool(-margin < self.low and self.high < margin)

    def not_worse(self, margin: float) -> bool:
        """Whether the whole interval lies above minus the margin: shown not to be worse by as much."""
        return bool(self.low > -margin)


def mean_of(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Mean with Student's interval.

    Args:
        values: Measurements.
        clusters: Of each, what it shares with others, such as the profile or the network: they are not independent, so
            that each cluster counts once, with its mean. All are independent where None.
    """
    mean, half = mean_interval(cluster_means(values, clusters))
    return Estimate(mean, mean - half, mean + half)


def cluster_means(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> list[float]:
    """Returns each cluster's mean; the values where there are no clusters, as for `mean_of`."""
    groups: dict[Hashable, list[float]] = {}
    for place, value in enumerate(values):
        groups.setdefault(place if clusters is None else clusters[place], []).append(value)
    return [float(np.mean(each)) for each in groups.values()]


def difference(ours: Sequence[float], theirs: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Mean of paired differences with Student's interval; `clusters` of the pairs as for `mean_of`."""
    return mean_of([a - b for a, b in zip(ours, theirs, strict=True)], clusters)


def gap_between(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Difference of the means of two samples that have nothing to do with each other, such as runs of two searches.

    The interval is that of Welch (1947); NaN ends where one side is a single value.
    """
    sides = [np.asarray(side, dtype=float) for side in (ours, theirs)]
    value = float(sides[0].mean() - sides[1].mean())
    if min(map(len, sides)) < 2:
        return Estimate(value, np.nan, np.nan)
    parts = [side.var(ddof=1) / len(side) for side in sides]
    total = sum(parts)
    below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    half = student(total**2 / below) * float(np.sqrt(total)) if total else 0.0
    return Estimate(value, value - half, value + half)


def standing(gap: Estimate, margin: float = MARGIN) -> str:
    """Says what a difference shows: `better`, `worse`, `as good` (to within the margin) or `not told apart`."""
    if gap.positive or gap.negative:
        return "better" if gap.positive else "worse"
    return "as good" if gap.within(margin) else "not told apart"


def accuracy_gap(ours: float, theirs: float, images: int) -> Estimate:
    """Difference of two accuracies on N images each, with Newcombe's interval (1998, his method 10).

    It takes the images for different ones; where they are the same, it is too wide.
    """
    (low, high), (other_low, other_high) = (accuracy_interval(each, images) for each in (ours, theirs))
    below = float(np.hypot(ours - low, other_high - theirs))
    above = float(np.hypot(high - ours, theirs - other_low))
    return Estimate(ours - theirs, ours - theirs - below, ours - theirs + above)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation; NaN where one side is constant."""
    return float(_rank_correlations(np.asarray(first)[None], np.asarray(second)[None])[0])


def correlation(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Estimate:
    """Spearman's rank correlation with its bootstrap percentile interval over the pairs; NaN ends for a few.

    All samples of pairs in perfect order are so too, and four pairs are in one by chance once in 24 times.
    """
    found = bootstrap([first, second], lambda parts: _rank_correlations(parts[0], parts[1]), seed)
    return _of_pairs(found, len(first))


def correlation_gap(truth: Sequence[float], ours: Sequence[float], best: Sequence[float], seed: int = 0) -> Estimate:
    """Rank correlation of `ours` with the truth minus that of `best`, over the same resampled pairs.

    NaN ends for a few, as for `correlation`: two scores in one order are never apart, whatever the truth is.
    """
    found = bootstrap(
        [truth, ours, best],
        lambda parts: _rank_correlations(parts[0], parts[1]) - _rank_correlations(parts[0], parts[2]),
        seed,
    )
    return _of_pairs(found, len(truth))


def _of_pairs(found: Estimate, pairs: int) -> Estimate:
    """Returns what was found, without an interval where it is of a few pairs."""
    return found if pairs >= _PAIRS else Estimate(found.value, np.nan, np.nan)


def leading(found: Mapping[Name, Estimate]) -> Name:
    """Returns what has the largest correlation; a score that is the same for all profiles has none, and is last."""
    return max(found, key=lambda name: float(np.nan_to_num(found[name].value, nan=-np.inf)))


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
    found = statistic([array[draws] for array in arrays])
    low, high = (np.nan, np.nan) if np.isnan(found).all() else np.nanquantile(found, [0.025, 0.975])
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
