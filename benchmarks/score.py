"""How fast is a profile scored, beside what others do and beside the limit?

Four ways to score the same random profiles on the same images, in alternation:

    ours      cut tensors, BatchNorm statistics from 64 of the images, folded, best precision of the processor
    AMC       full-size network with zeroed channels, full precision (He et al. 2018, arXiv 1802.03494)
    EagleEye  rebuilt with Torch-Pruning, about 100 batches through BatchNorm, then scored, full precision
              (Li et al. 2020, arXiv 2007.02491)
    limit     the bare forward pass of the pruned network, BatchNorm folded, best precision, nothing else

    python benchmarks/score.py                                   # speed; needs no data
    python benchmarks/score.py --checkpoint resnet56=FILE --data-dir DIR --correlate 100
                                                                 # and how well scores rank, on CIFAR-10
"""

import argparse
import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch_pruning as tp
from scipy.stats import bootstrap, spearmanr
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from profilesearch.networks.architectures import build
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import ProfileSpace
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import Budget
from profilesearch.scoring.score import Scorer, ScoreSettings, default_settings, reestimate
from profilesearch.tasks.data import DataSet, Images, load_data
from profilesearch.tasks.hardware import DTYPES, best_precision, open_device
from profilesearch.tasks.pools import foreign_member
from profilesearch.tasks.splits import split

IMAGES = 1000
BATCH = 125
Keep = Mapping[str, Tensor]


def main() -> None:
    """Prints one table for each architecture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["resnet56", "resnet20"])
    parser.add_argument("--profiles", type=int, default=5, help="that are timed")
    parser.add_argument("--batches", type=int, default=100, help="of 128 images through BatchNorm, EagleEye's way")
    parser.add_argument("--checkpoint", nargs="+", default=[], help="ARCH=FILE, trained on CIFAR-10")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--correlate", type=int, default=0, metavar="N", help="profiles whose scores are compared")
    parser.add_argument("--device", default="cpu", help="or cuda")
    options = parser.parse_args()
    device = open_device(options.device)
    files = dict(entry.split("=", 1) for entry in options.checkpoint)
    for name in options.arch:
        torch.manual_seed(0)
        speed(name, options.profiles, options.batches, device)
        if name in files and options.correlate:
            correlate(name, Path(files[name]), options.data_dir, options.correlate, device)


def speed(name: str, count: int, batches: int, device: torch.device) -> None:
    """Times the four ways on random weights and images, whose values cost the same as any others."""
    model = build(name, 10).eval()
    space = Plan(name, model, (3, 32, 32)).space(Budget("macs", 0.5))
    order = rank_channels(model, space.table, "l1")
    pixels = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    noise = Images(pixels, torch.randint(0, 10, (IMAGES,)))
    data = DataSet("noise", noise, noise, 10, (0.5,) * 3, (0.25,) * 3, flips=True)
    model.to(device)
    scorer = Scorer(model, space.table, data, noise, noise, default_settings(IMAGES, device=device))
    images = list(data.normalize(pixels, 3).to(device).split(BATCH))  # type: ignore[no-untyped-call]
    statistics = [torch.rand(128, 3, 32, 32, device=device) for _ in range(batches)]
    precision = best_precision(device)
    dtype = DTYPES[precision]
    fast = [batch.to(dtype).contiguous(memory_format=torch.channels_last) for batch in images]
    pruner = Pruner(model, space.table)
    spent: dict[str, list[float]] = {}

    def timed(what: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.setdefault(what, []).append(time.perf_counter() - start)

    for row in space.sample(count + 1, np.random.default_rng(0)):
        keep = keep_channels(order, space.table, row)
        bare = fuse(pruner.prune(keep).eval()).to(dtype).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            timed("ours", lambda: scorer.score(row))  # noqa: B023  called at once
            timed("limit", lambda: _forward(bare, fast))  # noqa: B023
            timed("  of it cutting", lambda: scorer._pruner.prune(keep, share=True))  # noqa: B023
            timed("AMC", lambda: _forward(_zeroed(model, space.table, keep), images))  # noqa: B023
        timed("EagleEye", lambda: _eagle_eye(model, keep, statistics, images))  # noqa: B023
    seconds = {what: float(np.median(times[1:])) for what, times in spent.items()}
    _show(name, seconds, f"{device}, {precision}", count, batches)


def _show(name: str, seconds: Mapping[str, float], where: str, count: int, batches: int) -> None:
    print(
        f"\n{name}, half of the multiply-adds, {IMAGES} images, {torch.get_num_threads()} threads, {where}; ",
        end="",
    )
    print(f"median of {count} profiles in alternation, {batches} BatchNorm batches for EagleEye")
    print(f"{'way':18}{'ms a profile':>14}{'profiles a second':>20}{'ours is':>18}")
    ours = seconds["ours"]
    for what in ("ours", "AMC", "EagleEye", "limit", "  of it cutting"):
        times = seconds[what]
        ratio = "" if what in ("ours", "  of it cutting") else f"{times / ours:.2f} times as fast"
        print(f"{what:18}{times * 1000:14.1f}{1 / times:20.2f}{ratio:>24}")
    rest = ours - seconds["limit"] - seconds["  of it cutting"]
    print(
        f"distance to the limit: {ours / seconds['limit']:.2f}; of our time {seconds['limit'] / ours:.0%} is the bare "
        f"forward pass, {seconds['  of it cutting'] / ours:.0%} cutting, {rest / ours:.0%} BatchNorm's own statistics"
    )


def _forward(network: nn.Module, batches: list[Tensor]) -> Tensor:
    return torch.cat([network(batch).argmax(dim=1) for batch in batches])


def _zeroed(model: nn.Module, table: GroupTable, keep: Keep) -> nn.Module:
    """The full-size network with the pruned channels of every group's first layers at zero."""
    network = copy.deepcopy(model)
    tensors = dict(network.named_parameters())
    for group in table.groups:
        gone = torch.ones(group.channels, dtype=torch.bool)
        gone[keep[group.name]] = False
        for part in group.slices:
            if part.dim == 0 and part.tensor in tensors:
                tensors[part.tensor].data[torch.from_numpy(part.rows)[gone].flatten()] = 0
    return network


def _eagle_eye(model: nn.Module, keep: Keep, statistics: list[Tensor], images: list[Tensor]) -> Tensor:
    network = copy.deepcopy(model)
    graph = tp.DependencyGraph().build_dependency(network, images[0][:1])
    layers = dict(network.named_modules())
    for name, stays in keep.items():
        layer = layers[name]
        gone = sorted(set(range(layer.out_channels)) - set(stays.tolist()))
        if gone:
            graph.get_pruning_group(layer, tp.prune_conv_out_channels, idxs=gone).prune()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.inference_mode():
        reestimate(network, list(norms), statistics)
        return _forward(network.eval(), images)


def correlate(name: str, file: Path, data_dir: Path | None, count: int, device: torch.device) -> None:
    """Prints how the default score ranks profiles beside the full-precision score with re-estimated statistics."""
    data = load_data("cifar10", data_dir)
    member = foreign_member(name, file, data)
    model = member.load()
    space: ProfileSpace = Plan(name, model, (3, 32, 32)).space(Budget("macs", 0.5))
    parts = split(data, member.split_seed)
    search, train = parts.images(data, "search"), parts.images(data, "train")
    careful = ScoreSettings(statistics="reestimate", images=IMAGES, statistics_images=IMAGES)
    settings = default_settings(IMAGES, device=device), careful
    scorers = [Scorer(model.to(device), space.table, data, search, train, each) for each in settings]
    rows = space.sample(count, np.random.default_rng(0))
    ours, theirs = (np.array([scorer.score(row) for row in rows]) for scorer in scorers)
    interval = bootstrap(
        (ours, theirs), lambda a, b: spearmanr(a, b).statistic, paired=True, vectorized=False, n_resamples=1000,
        method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    print(
        f"rank correlation with the full-precision, re-estimated score over {count} random profiles, {member.name}: "
        f"{spearmanr(ours, theirs).statistic:.3f} ({interval.low:.3f} to {interval.high:.3f})"
    )


if __name__ == "__main__":
    main()
