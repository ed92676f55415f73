"""Which score ranks profiles as the careful one does, and at what cost?

The careful score: full precision, BatchNorm re-estimated on 1,000 training images, accuracy on 2,500 images, which hold
those of the cheaper variants. Prints, for each variant, Spearman's rank correlation with it (95 % bootstrap interval)
and the time a profile takes.

    python benchmarks/score_variants.py --arch resnet56 --data cifar10 --data-dir DIR --checkpoint FILE
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap, spearmanr

from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget
from profilesearch.scoring.score import STATISTICS, Scorer, ScoreSettings, default_settings
from profilesearch.tasks.data import load_data
from profilesearch.tasks.pools import example_shape, foreign_member
from profilesearch.tasks.splits import split


def main() -> None:
    """Scores random profiles in every variant and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet56")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--profiles", type=int, default=40)
    options = parser.parse_args()

    data = load_data(options.data, options.data_dir)
    member = foreign_member(options.arch, options.checkpoint, data)
    model = member.load()
    space = Plan(options.arch, model, example_shape(model, data)).space(Budget("macs", options.keep))
    widths = space.sample(options.profiles, np.random.default_rng(0))
    parts = split(data, member.split_seed)
    search, train = parts.images(data, "search"), parts.images(data, "train")

    def scores(settings: ScoreSettings) -> tuple[np.ndarray, float]:
        scorer = Scorer(model, space.table, data, search, train, settings)
        start = time.perf_counter()
        result = np.array([scorer.score(row) for row in widths])
        return result, (time.perf_counter() - start) / len(widths)

    fast = default_settings()
    careful = ScoreSettings(statistics="reestimate", images=2500, statistics_images=1000)
    reference, seconds = scores(careful)
    print(f"{options.arch}, {len(widths)} random profiles at {options.keep:.0%} of the MACs, {member.name}")
    print(f"{'variant':44} {'rank corr.':>10} {'95 % interval':>16} {'mean':>6} {'ms':>6}")
    print(f"{'careful':44} {1:10.3f} {'':16} {reference.mean():6.3f} {seconds * 1000:6.0f}")
    variants = [replace(fast, statistics=s, images=n) for s in STATISTICS for n in (500, 1000)]
    variants += [replace(careful, statistics="batch"), replace(fast, criterion="random")]
    for settings in variants:
        result, seconds = scores(settings)
        interval = bootstrap(
            (reference, result), lambda a, b: spearmanr(a, b).statistic, paired=True, vectorized=False,
            n_resamples=1000, method="percentile", rng=0,
        ).confidence_interval  # fmt: skip
        name = f"{settings.statistics}, {settings.images} images, {settings.precision}, {settings.criterion}"
        correlation = spearmanr(reference, result).statistic
        span = f"{interval.low:.3f} ... {interval.high:.3f}"
        print(f"{name:44} {correlation:10.3f} {span:>16} {result.mean():6.3f} {seconds * 1000:6.0f}", flush=True)


if __name__ == "__main__":
    main()
