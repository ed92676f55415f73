"""How does the time of a search grow, and does its memory?

Searches on random weights and images, which cost what any others cost: time against evaluations, images, depth and
pool size, one at a time, with the exponent of a power law (1 is linear); then the memory along one long search.

    python benchmarks/growth.py
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from agents import PpoSearcher, RandomSearcher
from profilesearch.networks.architectures import build
from profilesearch.networks.checkpoints import save_network
from profilesearch.profiles import Budget
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.pools import Member


def main() -> None:
    """Prints a line for each size, and the exponents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", type=int, default=5000, help="evaluations of the search whose memory is watched")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pools = {depth: pool(f"resnet{depth}", 8, Path(folder)) for depth in (20, 32, 44, 56, 110)}
        print(f"{torch.get_num_threads()} threads, {default_settings().precision}; seconds of a search by PPO")
        grow("evaluations", (50, 100, 200, 400), lambda n: search(pools[20][:1], 50, n))
        grow("images", (125, 250, 500, 1000), lambda n: search(pools[20][:1], n, 30))
        grow("depth", tuple(pools), lambda depth: search(pools[depth][:1], 125, 30))
        grow("pool size", (1, 2, 4, 8), lambda n: search(pools[20][:n], 125, 30))
        watch_memory(pools[20][:1], options.long)


def grow(what: str, sizes: Sequence[int], run: Callable[[int], float]) -> None:
    """Times a search at several sizes and fits the exponent."""
    run(sizes[0])  # caches and thread pools
    seconds = [run(size) for size in sizes]
    exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    cells = "  ".join(f"{size}: {second:.2f}" for size, second in zip(sizes, seconds, strict=True))
    print(f"{what:12} {cells}  exponent {exponent:.2f}", flush=True)


def search(members: Sequence[Member], images: int, evaluations: int) -> float:
    """Returns the seconds of a search by PPO, without the making of the problem."""
    problem = make_problem(members, images)
    problem.base()
    start = time.perf_counter()
    PpoSearcher().search(problem, evaluations)
    return time.perf_counter() - start


def watch_memory(members: Sequence[Member], evaluations: int) -> None:
    """Prints the memory of this process along a search."""
    problem = make_problem(members, 10)
    seen = {}

    def note(done: int, _: int, __: float) -> None:
        if done in (evaluations // 10, evaluations // 2, evaluations):
            seen[done] = resident()

    RandomSearcher().search(problem, evaluations, progress=note)
    cells = "  ".join(f"{done}: {size / 2**20:.0f}" for done, size in seen.items())
    print(f"MiB of memory after evaluations  {cells}")


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_problem(members: Sequence[Member], images: int) -> Problem:
    """Returns a problem on noise, with a ledger of its own."""
    noise = Images(torch.randint(0, 256, (20000, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 10, (20000,)))
    data = DataSet("noise", noise, noise, 10, (0.5,) * 3, (0.25,) * 3, flips=True)
    return Problem(members, {"noise": data}, Budget("macs", 0.5), default_settings(images), Ledger())


def pool(architecture: str, count: int, folder: Path) -> list[Member]:
    """Writes networks with random weights."""
    members = []
    for seed in range(count if architecture == "resnet20" else 1):
        torch.manual_seed(seed)
        path = folder / f"{architecture}-{seed}.safetensors"
        save_network(path, build(architecture, 10), {})
        members.append(Member(path.stem, architecture, "noise", path, "train"))
    return members


if __name__ == "__main__":
    main()
