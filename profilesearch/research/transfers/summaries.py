"""Summaries over data sets, as papers on transfer give them: mean accuracy, relative error, mean rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from profilesearch.errors import UsageError
from profilesearch.networks.cost import FloatArray
from profilesearch.research.study.analysis import RESAMPLES, Estimate

_LEAST_ERROR = 1e-4
Runs = Mapping[str, Sequence[float]]
"""Accuracies of a method's runs, in [0, 1], by data set."""


@dataclass(frozen=True)
class Summary:
    """A method over data sets, each with a 95 % interval over the runs.

    Attributes:
        accuracy: Mean over data sets of the mean accuracy.
        error: Mean over data sets of the increase of the error over dense, relative to it; 0.1 is a tenth more errors.
            Data sets where dense makes none are left out; NaN where that leaves nothing.
        rank: Mean over data sets of the place among the methods, 1 the most accurate; ties share their places.
    """

    accuracy: Estimate
    error: Estimate
    rank: Estimate


def summarize(runs: Mapping[str, Runs], dense: str = "dense", seed: int = 0) -> dict[str, Summary]:
    """Summarizes methods as Iofinova et al. (2022, arXiv 2111.13445) do.

    Intervals say what other seeds would give on these data sets, not what other data sets would. The mean of each data
    set's runs is drawn from Student's distribution around it, and the summaries' percentiles are taken; a data set
    with a single run adds no spread, and a method with no repeated run has no interval.

    Args:
        runs: By method.
        dense: The method that errors are relative to.
        seed: Of the draws.

    Raises:
        UsageError: A method lacks a data set that another one has, or `dense` is missing.
    """
    if dense not in runs:
        raise UsageError(f"'{dense}' is not among the methods {', '.join(runs)}, and errors are relative to it")
    names = sorted({name for each in runs.values() for name in each})
    missing = next(((m, n) for m, each in runs.items() for n in names if not each.get(n)), None)
    if missing:
        raise UsageError(f"{missing[0]} was not run on {missing[1]}; summaries need every method on every data set")
    random = np.random.default_rng(seed)
    means = np.stack([np.stack([_drawn(each[n], random) for n in names]) for each in runs.values()])
    base = 1 - means[list(runs).index(dense)]
    faulty = base[:, 0] > 0
    base = base.clip(_LEAST_ERROR)  # a draw may lie beyond the last image
    accuracy = means.mean(axis=1)
    error = ((1 - means) / base - 1)[:, faulty].mean(axis=1) if faulty.any() else np.full_like(accuracy, np.nan)
    rank = rankdata(-means, axis=0).mean(axis=1)
    repeated = [any(len(values) > 1 for values in each.values()) for each in runs.values()]
    return {
        method: Summary(*(_estimate(values[place], repeated[place]) for values in (accuracy, error, rank)))
        for place, method in enumerate(runs)
    }


def _drawn(values: Sequence[float], random: np.random.Generator) -> FloatArray:
    """Returns the mean of the runs, then draws of what it could have been; shape (1 + RESAMPLES,)."""
    mean, count = float(np.mean(values)), len(values)
    spread = float(np.std(values, ddof=1)) / count**0.5 if count > 1 else 0.0
    drawn: FloatArray = mean + spread * np.concatenate([[0.0], random.standard_t(max(1, count - 1), RESAMPLES)])
    return drawn


def _estimate(values: FloatArray, repeated: bool) -> Estimate:
    low, high = np.quantile(values[1:], [0.025, 0.975]) if repeated else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))
