"""Is a profile for latency better than one for multiply-adds, at equal time?

Cuts a trained network by each rule to a part of its multiply-adds, then to the latency which that profile has by the
table of measured layers, so that only what was counted differs; and by the best rule to the latency of the uniform
profile. All are refitted on training images, none is fine-tuned. Prints what they cost, times measured in alternation,
and paired differences on test images: of agreement with the unpruned network, and of accuracy.

    python benchmarks/latency.py --arch resnet20 --data cifar10 --data-dir DIR --checkpoint resnet20-cifar10-12fca82f.th
    python benchmarks/latency.py --arch timm:tf_efficientnet_lite0 --checkpoint IMAGENET1K_V1 --data imagenette@160 \
        --calibration imagenet-sample@160 --keep 0.5
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from profilesearch.measure.intervals import paired_difference
from profilesearch.measure.speed import BATCHES, measure_speed
from profilesearch.networks.checkpoints import load_network
from profilesearch.networks.criteria import MOST_SEEN, rank_channels
from profilesearch.networks.groups import IntArray
from profilesearch.networks.latency import LatencyModel
from profilesearch.networks.plan import Plan
from profilesearch.networks.published import published_weights
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget
from profilesearch.pruning import prune_ordered
from profilesearch.refitting import refit_weights
from profilesearch.sensitivity import group_losses, sensitive
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.inputs import input_channels
from profilesearch.tasks.predicting import predictions
from profilesearch.tasks.sources import open_labelled

_ROUNDS = 5
_PAIRS = {
    "sensitivity, latency": "sensitivity, MACs",
    "uniform, latency": "uniform, MACs",
    "sensitivity, uniform's latency": "uniform, MACs",
}
"""What is held against what: the time is the same by the table."""


def main() -> None:
    """Prints a line for each network, then the paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--calibration", help="data set whose training images refit weights; that of --data where None")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--checkpoint", required=True, help="file, or IMAGENET1K_V1")
    parser.add_argument("--keep", type=float, default=0.5, help="of the multiply-adds")
    parser.add_argument("--test-images", type=int, default=4000)
    given = parser.parse_args()
    file = Path(given.checkpoint)
    weights = file if file.exists() else published_weights(given.arch, given.checkpoint)
    learn, test = (
        open_labelled(given.arch, name, given.data_dir, weights)
        for name in (given.calibration or given.data, given.data)
    )
    bench = _Bench(given.arch, weights, learn, test, given.test_images)
    names = [*dict.fromkeys([*_PAIRS.values(), *_PAIRS])]
    networks = bench.cut(given.keep)
    rounds = [measure_speed([*(networks[name] for name in names), bench.full], bench.shape) for _ in range(_ROUNDS)]
    for name, *speeds in zip(names, *rounds, strict=False):
        parts = [
            [speed.part(each[-1], batch)[0] for speed, each in zip(speeds, rounds, strict=True)] for batch in BATCHES
        ]
        times = ", ".join(f"{np.mean(each):.1%} (± {np.std(each):.1%})" for each in parts)
        right = bench.given[name] == test.test.labels[: given.test_images]
        print(f"{name:32} time of 1 and 64 images {times}; accuracy {float(right.float().mean()):.2%}")
    for ours, theirs in _PAIRS.items():
        bench.compare(ours, theirs)


class _Bench:
    """A network, its images, and what pruned ones give for them."""

    def __init__(self, architecture: str, weights: Path, learn: DataSet, test: DataSet, most: int) -> None:
        self.full = load_network(architecture, weights).eval()
        self.shape = (input_channels(self.full, test.image_shape), *test.image_shape[1:])
        self._plan = Plan(architecture, load_network(architecture, weights).eval(), self.shape)
        self._learn, self._test, self._some = learn, test, test.test[:most]
        self._wanted = predictions(self.full, test, self._some)
        self.given: dict[str, Tensor] = {}

    def cut(self, keep: float) -> dict[str, nn.Module]:
        """Returns the pruned networks, refitted, by name."""
        space = self._plan.space(Budget("macs", keep))
        seen = self._learn.train[:MOST_SEEN]
        images = self._learn.normalize(seen.pixels, self.shape[0])
        order = rank_channels(self._plan.network, space.table, "reconstruction", 0, (images, seen.labels))
        losses = group_losses(self._plan.network, space.table, order, images)
        networks = {}
        for name, widths in self._widths(space, losses).items():
            pruned = prune_ordered(self._plan, space.profile(widths, {}), order)
            refit_weights(pruned, self.full, self._learn, self._learn.train)
            networks[name] = pruned.network
            self.given[name] = predictions(pruned.network, self._test, self._some)
        return networks

    def _widths(self, space: ProfileSpace, losses: np.ndarray) -> Mapping[str, IntArray]:
        price = LatencyModel(self._plan.network, space.table, self._plan.example)
        found = {"uniform, MACs": space.uniform(), "sensitivity, MACs": sensitive(space, losses)}
        times = {name: float(price.relative(widths, "latency")) for name, widths in found.items()}
        slow = self._plan.space(Budget("latency", times["sensitivity, MACs"]))
        fast = self._plan.space(Budget("latency", times["uniform, MACs"]))
        found["sensitivity, latency"] = sensitive(slow, losses)
        found["uniform, latency"] = fast.uniform()
        found["sensitivity, uniform's latency"] = sensitive(fast, losses)
        for name, widths in found.items():
            cost = (float(price.relative(widths, metric)) for metric in ("macs", "params", "latency"))
            print(
                f"{name:32} MACs {next(cost):.1%}, parameters {next(cost):.1%}, latency by the table {next(cost):.1%}"
            )
        return found

    def compare(self, ours: str, theirs: str) -> None:
        """Prints how far one network is ahead of another, in points."""
        labels = self._some.labels
        for what, wanted in (("agreement", self._wanted), ("accuracy", labels)):
            difference, low, high = (
                100 * each for each in paired_difference(*(self.given[name] == wanted for name in (ours, theirs)))
            )
            print(f"{ours} minus {theirs}: {what} {difference:+.2f} ({low:+.2f} to {high:+.2f}) points")


if __name__ == "__main__":
    main()
