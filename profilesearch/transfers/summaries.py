"""Summaries over data sets, as papers on transfer give them: mean accuracy, relative error, mean rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from profilesearch.errors import UsageError
from profilesearch.experiments.analysis import RESAMPLES, Estimate
from profilesearch.networks.cost import FloatArray

Runs = Mapping[str, Sequence[float]]
"""Accuracies of a method's runs, in [0, 1], by data set."""


@dataclass(frozen=True)
class Summary:
    """A method over data sets, each with a 95 % interval over the runs.

    Attributes:
        accuracy: Mean over data sets of the mean accuracy.
        error: Mean over data sets of the increase of the error over dense, relative to it; 0.1 is a tenth more errors.
        rank: Mean over data sets of the place among the methods, 1 the most accurate; ties share their places.
    """

    accuracy: Estimate
    error: Estimate
    rank: Estimate


def summarize(runs: Mapping[str, Runs], dense: str = "dense", seed: int = 0) -> dict[str, Summary]:
    """Summarizes methods as Iofinova et al. (2022, arXiv 2111.13445) do.

    Runs are resampled within each data set (percentile bootstrap): the interval says what other seeds would give on
    these data sets, not what other data sets would.

    Args:
        runs: By method.
        dense: The method that errors are relative to.
        seed: Of the resampling.

    Raises:
        UsageError: A method lacks a data set that another one has, `dense` is missing, or it makes no errors.
    """
    if dense not in runs:
        raise UsageError(f"'{dense}' is not among the methods {', '.join(runs)}, and errors are relative to it")
    names = sorted({name for each in runs.values() for name in each})
    missing = next(((m, n) for m, each in runs.items() for n in names if not each.get(n)), None)
    if missing:
        raise UsageError(f"{missing[0]} was not run on {missing[1]}; summaries need every method on every data set")
    random = np.random.default_rng(seed)
    means = np.stack([np.stack([_resampled(each[n], random) for n in names]) for each in runs.values()])
    base = 1 - means[list(runs).index(dense)]
    if not (base > 0).all():
        raise UsageError(f"{dense} makes no errors on some data set, so no error can be relative to it")
    accuracy = means.mean(axis=1)
    error = ((1 - means) / base - 1).mean(axis=1)
    rank = rankdata(-means, axis=0).mean(axis=1)
    return {
        method: Summary(*(_estimate(values[place]) for values in (accuracy, error, rank)))
        for place, method in enumerate(runs)
    }


def _resampled(values: Sequence[float], random: np.random.Generator) -> FloatArray:
    """Returns the mean of the runs, then those of their bootstrap samples; shape (1 + RESAMPLES,)."""
    array = np.asarray(values, dtype=float)
    drawn = array[random.integers(len(array), size=(RESAMPLES, len(array)))].mean(axis=1)
    means: FloatArray = np.concatenate([[array.mean()], drawn])
    return means


def _estimate(values: FloatArray) -> Estimate:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))
