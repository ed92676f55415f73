"""Which score ranks profiles as the truth does, and at what cost?

The truth is on record, with --records: a study's fine-tunings of one network by several profiles of a budget. Without,
it is the careful score of random profiles: full precision, BatchNorm re-estimated on 1,000 training images, accuracy on
2,500 images, which hold those of the cheaper variants. Prints, for each score, Spearman's rank correlation with the
truth over all profiles and over the half that the score puts first (95 % bootstrap intervals), what the truth loses by
taking the first one, in points, and the milliseconds that a profile takes.

    python benchmarks/score_variants.py --arch resnet20 --data-dir DIR --checkpoint FILE --records docs/results/resnet20
"""

import argparse
import csv
import time
from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget
from profilesearch.research.study.analysis import correlation
from profilesearch.scoring.names import MEASURES, STATISTICS
from profilesearch.scoring.score import Scorer, ScoreSettings, default_settings
from profilesearch.tasks.data import load_data
from profilesearch.tasks.pools import example_shape, foreign_member
from profilesearch.tasks.splits import split

_NEAR = 0.01
"""Relative distance from the budget up to which a recorded profile is one of it."""


def main() -> None:
    """Scores the recorded profiles in every variant and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--records", type=Path, help="folder of a study, such as docs/results/resnet20")
    parser.add_argument("--epochs", type=int, default=1, help="of the recorded fine-tunings")
    parser.add_argument("--profiles", type=int, default=40, help="random ones, without --records")
    parser.add_argument("--keep", type=float, default=0.5)
    options = parser.parse_args()

    data = load_data(options.data, options.data_dir)
    member = foreign_member(options.arch, options.checkpoint, data)
    model = member.load()
    space = Plan(options.arch, model, example_shape(model, data)).space(Budget("macs", options.keep))
    parts = split(data, member.split_seed)
    search, train = parts.images(data, "search"), parts.images(data, "train")

    def scores(settings: ScoreSettings) -> tuple[FloatArray, float]:
        scorer = Scorer(model, space.table, data, search, train, settings)
        start = time.perf_counter()
        result = np.array([scorer.score(row) for row in widths])
        return result, (time.perf_counter() - start) / len(widths)

    if options.records:
        widths, truth = _recorded(options.records, member.name, options.keep, options.epochs)
        what = f"{options.epochs} epoch(s) of fine-tuning"
    else:
        widths = space.sample(options.profiles, np.random.default_rng(0))
        truth, seconds = scores(ScoreSettings("reestimate", 2500))
        what = f"the careful score, {seconds * 1000:.0f} ms a profile"
    print(f"{member.name}: {len(widths)} profiles at {options.keep:.0%} of the MACs, {truth.min():.2%} to "
          f"{truth.max():.2%} by {what}")  # fmt: skip
    print(f"{'score':48} {'all':>22} {'best half':>22} {'loses':>6} {'ms':>6}")

    def show(name: str, values: FloatArray, seconds: float = 0.0) -> None:
        half = np.argsort(-values, kind="stable")[: len(values) // 2]
        over = [correlation(values[part].tolist(), truth[part].tolist()).text(2) for part in (np.argsort(values), half)]
        loses = 100 * (truth.max() - truth[values.argmax()])
        print(f"{name:48} {over[0]:>22} {over[1]:>22} {loses:6.2f} {seconds * 1000:6.0f}", flush=True)

    params = space.cost.relative(widths, "params")
    show("parameters", params)
    for settings in _variants():
        values, seconds = scores(settings)
        refitted = "refitted, " if settings.refit else ""
        show(f"{refitted}{settings.measure}, {settings.images} images, {settings.statistics}", values, seconds)
        if settings.measure == "divergence":
            show("  and parameters, sum of ranks", rankdata(values) + rankdata(params))


def _variants() -> list[ScoreSettings]:
    precision = default_settings().precision
    made = [ScoreSettings(statistics, 1000, precision=precision) for statistics in STATISTICS]
    for refit, images in product((False, True), (125, 250, 1000)):
        base = ScoreSettings("batch", images, precision=precision, refit=refit)
        made += [replace(base, measure=measure) for measure in MEASURES]
    return list(dict.fromkeys(made))


def _recorded(folder: Path, model: str, keep: float, epochs: int) -> tuple[IntArray, FloatArray]:
    """Returns the profiles of a budget that were fine-tuned on a model, (N, G), and their mean accuracies, (N,)."""
    with (folder / "profiles.csv").open() as file:
        widths = {row["profile"]: [int(width) for width in row["widths"].split("-")] for row in csv.DictReader(file)}
    after: dict[str, list[float]] = defaultdict(list)
    with (folder / "finetunes.csv").open() as file:
        for row in csv.DictReader(file):
            near = abs(float(row["cost"]) / keep - 1) < _NEAR and row["keep"] == "0"
            if near and (row["model"], row["criterion"], row["epochs"]) == (model, "l1", str(epochs)):
                after[row["profile"]].append(float(row["after"]))
    return np.array([widths[name] for name in after]), np.array([np.mean(each) for each in after.values()])


if __name__ == "__main__":
    main()
