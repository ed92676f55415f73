"""How long `prune` takes on images, part by part, as a multiple of one forward pass of the network over all of them.

    python benchmarks/prune.py --arch resnet50 --images 64 --size 224

Images are random and weights untrained, of any of torchvision's names, which hardly matters for what is computed. The
forward pass is of images as they are, one channel after another; `prune` lays them out as the network runs fastest.
"""

import argparse
import time
from collections import defaultdict

import torch

from profilesearch import prune
from profilesearch.networks.architectures import build


def main() -> None:
    """Prints a line for each part, and the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--keep", type=float, default=0.5)
    given = parser.parse_args()
    torch.manual_seed(0)
    network, images = build(given.arch, 1000), torch.randn(given.images, 3, given.size, given.size)
    with torch.no_grad():
        network(images[:16])  # statistics of these images
        network.eval()
        network(images[:2])
        start = time.perf_counter()
        for first in range(0, len(images), 32):
            network(images[first : first + 32])
        bare = time.perf_counter() - start
    print(f"one forward pass over {given.images} images: {bare:.1f} s on {torch.get_num_threads()} threads")
    seconds: defaultdict[str, float] = defaultdict(float)
    last = time.perf_counter(), "checking channel groups"

    def note(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[last[1]] += now - last[0]
        last = now, what.split(":", maxsplit=1)[0]

    small = prune(network, given.keep, images=images, progress=note)
    note(1, 1, "")
    for part, spent in seconds.items():
        print(f"{part:48} {spent:7.1f} s  {spent / bare:6.1f} passes")
    whole = sum(seconds.values())
    print(f"{'all':48} {whole:7.1f} s  {whole / bare:6.1f} passes\n{small}")


if __name__ == "__main__":
    main()
