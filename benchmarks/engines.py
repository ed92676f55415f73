"""What do engines cost and gain? Scores a second of each, for tiny scores, which are all overhead, and for real ones.

python benchmarks/engines.py --workers 2
"""

import argparse
import pickle
import time

import numpy as np
import torch

from profilesearch.networks.architectures import build
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget
from profilesearch.scoring.engines import Engine, Task, open_engine
from profilesearch.scoring.names import ENGINES
from profilesearch.scoring.score import Scorer, default_settings
from profilesearch.tasks.data import DataSet, Images

SIZES = {"tiny: 1 image of 8x8": (1, 8), "125 images of 32x32": (125, 32)}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=400)
    options = parser.parse_args()
    scorers = {name: make_scorer(options.arch, *size) for name, size in SIZES.items()}
    rows = sample(options.arch, options.tasks)
    print(f"{options.arch}, {options.tasks} scores, {torch.get_num_threads()} threads; scores a second")
    print(f"{'engine':12}" + "".join(f"{name:>24}" for name in scorers))
    for name in ENGINES:
        with open_engine(name, options.workers) as engine:
            rates = [rate(engine, scorer, rows) for scorer in scorers.values()]
        print(f"{name:12}" + "".join(f"{each:24.1f}" for each in rates), flush=True)
    sent = len(pickle.dumps(("0" * 16, rows[0][1])))
    whole = len(pickle.dumps(scorers["125 images of 32x32"]))
    print(f"sent for a score: {sent} bytes there, {len(pickle.dumps(0.5))} back; once for each scorer: {whole:,} bytes")


def rate(engine: Engine, scorer: Scorer, tasks: list[Task]) -> float:
    """Scores a second, once the workers know the scorer."""
    list(engine.scores([scorer], tasks[:16]))
    start = time.perf_counter()
    list(engine.scores([scorer], tasks))
    return len(tasks) / (time.perf_counter() - start)


def sample(architecture: str, count: int) -> list[Task]:
    """Random profiles at half of the multiply-adds, all for the first scorer."""
    space = Plan(architecture, build(architecture, 10), (3, 32, 32)).space(Budget("macs", 0.5))
    return [(0, row) for row in space.sample(count, np.random.default_rng(0))]


def make_scorer(architecture: str, images: int, size: int) -> Scorer:
    """A scorer of random weights on noise."""
    noise = Images(torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8), torch.zeros(images).long())
    data = DataSet("noise", noise, noise, 10, (0.5,) * 3, (0.25,) * 3, flips=True)
    model = build(architecture, 10)
    table = Plan(architecture, model, (3, size, size)).space(Budget("macs", 0.5)).table
    return Scorer(model, table, data, noise, noise, default_settings(images))


if __name__ == "__main__":
    main()
