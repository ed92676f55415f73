"""What does it gain that freed memory serves the next tensors (see `profilesearch.system.allocator`)?

Trains each network for some steps, and classifies as many images, in processes of their own, with and without; prints
images for each second of processor time, the kernel's included.

    python benchmarks/memory.py --case resnet20@32 timm:tf_efficientnet_lite0@160
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch.nn import functional

from profilesearch.networks.architectures import build
from profilesearch.system.allocator import keep_freed_memory

_STEPS = 6


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", default=["resnet20@32", "resnet56@32", "timm:tf_efficientnet_lite0@160"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--one", choices=["kept", "returned"], help="one measurement, as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.case[0], options.batch, options.one == "kept")))
        return
    print(f"{'':32} {'training':>20} {'classifying':>20} {'peak memory, GB':>20}")
    for case in options.case:
        found = {}
        for way in ("returned", "kept"):
            command = [sys.executable, __file__, "--case", case, "--batch", str(options.batch), "--one", way]
            found[way] = json.loads(subprocess.check_output(command))  # noqa: S603  this very script
        cells = [f"{before:.1f} -> {after:.1f}" for before, after in zip(*found.values(), strict=True)]
        print(f"{case:32} " + " ".join(f"{cell:>20}" for cell in cells), flush=True)


def _measure(case: str, batch: int, kept: bool) -> tuple[float, float, float]:
    """Returns images a second, trained and classified, and the most memory in GB."""
    if kept:
        keep_freed_memory()
    name, _, size = case.partition("@")
    network = build(name, 100).to(memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, int(size), int(size)).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 100, (batch,))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def speed() -> float:
        step_or_pass()
        start = time.process_time()
        for _ in range(_STEPS):
            step_or_pass()
        return _STEPS * batch / (time.process_time() - start)

    step_or_pass = step
    training = speed()
    network.eval()
    step_or_pass = torch.inference_mode()(lambda: network(images))
    return training, speed(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
