"""Is a profile that was searched for latency faster than one searched for multiply-adds, at equal accuracy?

For every seed, PPO searches a profile that keeps a part of the multiply-adds, then profiles for budgets of latency:
that of the first profile, and parts of it. All are really pruned, timed in alternation (one image, full precision), and
scored on test images before and after a short fine-tuning with a teacher. The better one has no lower accuracy in less
time.

    python benchmarks/latency.py --arch resnet20 --data cifar10 --checkpoint a.th
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from agents import PpoSearcher
from profilesearch.measure.intervals import mean_interval
from profilesearch.measure.speed import measure_speed
from profilesearch.networks.latency import LatencyModel, device_name
from profilesearch.profiles import Budget
from profilesearch.pruning import Pruned, prune_with_profile, reestimate_statistics
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member, example_shape, foreign_member, learning_images, tuning_recipe
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.sources import open_data
from profilesearch.tasks.training import train

_ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """A pruned network and what was measured on it: milliseconds, and test accuracies."""

    name: str
    macs: float
    milliseconds: float
    before: float
    after: float


def main() -> None:
    """Prints a line for each network, then the paired differences to the profiles for multiply-adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--keep", type=float, default=0.5, help="of the multiply-adds")
    parser.add_argument("--parts", type=float, nargs="+", default=[1.0, 0.9, 0.8], help="of that profile's latency")
    parser.add_argument("--evaluations", type=int, default=300)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--finetune", type=int, default=1, help="epochs")
    options = parser.parse_args()
    data = open_data(options.data, options.data_dir)
    member = foreign_member(options.arch, options.checkpoint, data)
    print(f"{member.name} on {data.name}, {device_name()}")
    print(f"{'seed':>4} {'profile':18} {'MACs':>7} {'ms':>7} {'before':>7} {'after':>7}")
    runs = [one_seed(member, data, options, seed) for seed in range(options.seeds)]
    for index, row in enumerate(runs[0][1:], 1):
        faster = mean_interval([1 - rows[index].milliseconds / rows[0].milliseconds for rows in runs])
        better = mean_interval([rows[index].after - rows[0].after for rows in runs])
        print(
            f"{row.name:18} {faster[0]:6.1%} ± {faster[1]:.1%} less time than the profile for multiply-adds, accuracy "
            f"{better[0] * 100:+.2f} ± {better[1] * 100:.2f} points"
        )


def one_seed(member: Member, data: DataSet, options: argparse.Namespace, seed: int) -> list[Row]:
    """Searches, prunes, times and fine-tunes; the profile for multiply-adds comes first."""
    first = found(member, data, Budget("macs", options.keep), options, seed)
    full = member.load()
    price = LatencyModel(full, first.table, torch.zeros(1, *example_shape(full, data)))
    latency = float(price.relative(first.widths, "latency"))
    budgets = {f"latency {part:.0%}": Budget("latency", round(latency * part, 4)) for part in options.parts}
    pruned = {"macs": first} | {name: found(member, data, budget, options, seed) for name, budget in budgets.items()}
    times = milliseconds([each.network for each in pruned.values()], example_shape(full, data))
    rows = []
    for (name, each), time in zip(pruned.items(), times, strict=True):
        before, after = tuned(each.network, member, data, options, seed)
        rows.append(Row(name, float(first.cost.relative(each.widths, "macs")), time, before, after))
        print(f"{seed:4} {name:18} {rows[-1].macs:7.2%} {time:7.3f} {before:7.2%} {after:7.2%}", flush=True)
    return rows


def found(member: Member, data: DataSet, budget: Budget, options: argparse.Namespace, seed: int) -> Pruned:
    """Prunes with the winner of a search by PPO."""
    problem = Problem([member], {data.name: data}, budget, default_settings(options.images), Ledger())
    winner = PpoSearcher().search(problem, options.evaluations, seed).winner
    full = member.load()
    return prune_with_profile(full, problem.space.profile(winner.evaluation.widths, {}), example_shape(full, data))


def milliseconds(networks: Sequence[nn.Module], shape: tuple[int, int, int]) -> list[float]:
    """Median time for one image of each network, over rounds in alternation."""
    rounds = [[speed.median(1) for speed in measure_speed(networks, shape)] for _ in range(_ROUNDS)]
    return [float(value) for value in np.median(rounds, axis=0)]


def tuned(
    network: nn.Module, member: Member, data: DataSet, options: argparse.Namespace, seed: int
) -> tuple[float, float]:
    """Returns test accuracy with re-estimated statistics, and after fine-tuning."""
    images = learning_images(member, data)
    reestimate_statistics(network, data, images[:2000])
    before = accuracy(network, data, data.test)
    train(network, data, images, tuning_recipe(data, options.finetune, distill=0.5, seed=seed), member.load())
    return before, accuracy(network, data, data.test)


if __name__ == "__main__":
    main()
