"""Training steps a second on a CUDA device: handed over kernel by kernel, recorded, and several side by side.

    python benchmarks/replay.py [--seconds 3] [--arch resnet20 resnet56]

Random images of 32 by 32 pixels, batches of 128, bfloat16, with distillation from a network of the same architecture.
"""

import argparse
import time
from itertools import islice

import torch

from profilesearch.networks.architectures import build
from profilesearch.tasks.data import IMAGENET_MEAN, IMAGENET_STD, DataSet, Images
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.training import training
from profilesearch.tasks.turns import Training, in_turns

CUDA = torch.device("cuda")
STEPS_OF_AN_EPOCH = 390


def images() -> Images:
    """Returns random images on the device."""
    count = STEPS_OF_AN_EPOCH * 128
    return Images(torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (count,))).to(CUDA)


def rate(arch: str, data: DataSet, lanes: int, seconds: float, recorded: bool = True) -> float:
    """Returns steps a second of all trainings together."""
    done = [0]

    def one(seed: int) -> Training[None]:
        network, teacher = (build(arch, 10).to(CUDA).to(memory_format=torch.channels_last) for _ in range(2))
        recipe, hook = Recipe(1000, distill=0.5, seed=seed), None if recorded else _hook
        steps = training(network, data, data.train, recipe, teacher.eval(), hook=hook)
        for each in steps:
            yield each
            done[0] += 1
            if time.perf_counter() > end[0]:
                return

    end = [float("inf")]
    trainings = [one(seed) for seed in range(lanes)]
    for each in trainings:  # up to the recorded step
        for _ in islice(each, 10):
            pass
    torch.cuda.synchronize()
    start, done[0] = time.perf_counter(), 0
    end[0] = start + seconds
    for _ in in_turns(iter(trainings), lanes):
        pass
    torch.cuda.synchronize()
    return done[0] / (time.perf_counter() - start)


def _hook(*_: int) -> None:
    """A training with a hook is not recorded, since steps may differ."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure")
    parser.add_argument("--arch", nargs="+", default=["resnet20", "resnet56"])
    parser.add_argument("--lanes", nargs="+", type=int, default=[1, 4, 8, 16], help="trainings side by side")
    told = parser.parse_args()
    there = images()
    data = DataSet("random", there, there[:100], 10, IMAGENET_MEAN, IMAGENET_STD, flips=True)
    print(torch.cuda.get_device_name())
    for arch in told.arch:
        plain = rate(arch, data, 1, told.seconds, recorded=False)
        cells = [f"{lanes}: {rate(arch, data, lanes, told.seconds):.0f}" for lanes in told.lanes]
        print(f"{arch}: {plain:.0f} steps/s kernel by kernel; recorded, side by side {', '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
