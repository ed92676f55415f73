"""Options that several commands share."""

import argparse
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from profilesearch.cli import ranges
from profilesearch.measure.multiples import AUTO
from profilesearch.networks.criteria import CRITERIA
from profilesearch.profiles import METRICS
from profilesearch.scoring.engines import ENGINES
from profilesearch.scoring.measures import MEASURES
from profilesearch.system.naming import safe_name
from profilesearch.tasks.hardware import DTYPES, best_precision
from profilesearch.tasks.sources import NAMES

_LONGEST = 48
"""Characters of a data set's part of a name."""


def add_pool_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which trained models to use."""
    group = parser.add_argument_group("models")
    group.add_argument(
        "--data",
        nargs="+",
        metavar="NAME",
        help=f"data sets: {', '.join(NAMES)}, or a folder with one subfolder a class; NAME@64 for "
        "images of 64 by 64 (default: cifar10 where it is on disk, else digits)",
    )
    group.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        metavar="FILE",
        help="trained models to use as the pool; DATA=FILE where they belong to another data set than the first of "
        "--data, DATA:SEED for one that `pool` trains, torchvision's names such as IMAGENET1K_V1, FILE#ENTRY for one "
        "of several networks in a file, such as averaged weights; without any, the "
        "whole pool is trained",
    )
    group.add_argument("--seeds", nargs="+", type=ranges.seed, default=[0, 1], metavar="N", help="of members to train")
    group.add_argument("--pool-dir", type=Path, default=Path("pools"), metavar="DIR", help="trained members")
    add_image_size_option(group)
    add_device_option(group)


def add_image_size_option(parser: argparse._ActionsContainer) -> None:
    """Adds the option that says how large images are."""
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="height and width of all images, as NAME@N for each data set (default: their own; 224 for those from "
        "files)",
    )


def add_normalization_options(parser: argparse._ActionsContainer) -> None:
    """Adds the options that say how the images' pixels are normalized."""
    own = "of pixels in [0, 1], as the model was trained: one for all channels, or one for each"
    default = "(default: the data set's; ImageNet's for images from files, or what timm says of its network)"
    parser.add_argument("--mean", nargs="+", type=ranges.real(-1000, 1000), metavar="VALUE", help=f"{own} {default}")
    parser.add_argument(
        "--std", nargs="+", type=ranges.real(0, 1000, "least"), metavar="VALUE", help="likewise, standard deviation"
    )


def add_tuning_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a pruned network is fine-tuned."""
    tune = parser.add_argument_group("fine-tuning")
    tune.add_argument("--finetune", type=ranges.whole(0), default=0, metavar="EPOCHS", help="0: no fine-tuning")
    tune.add_argument(
        "--lr", type=ranges.real(0, 1000, "least"), default=0.02, metavar="RATE", help="peak learning rate"
    )
    tune.add_argument("--schedule", default="cosine", metavar="NAME", help="cosine or linear")
    tune.add_argument(
        "--label-smoothing", type=ranges.real(0, 1, "most"), default=0.0, metavar="PART", help="in [0, 1)"
    )
    tune.add_argument(
        "--distill", type=ranges.real(0, 1), default=0.5, metavar="WEIGHT", help="of the unpruned model's outputs"
    )


def add_device_option(parser: argparse._ActionsContainer) -> None:
    """Adds the option that says where networks run."""
    parser.add_argument("--device", default="cpu", metavar="NAME", help="where networks run: cpu, or cuda")


def add_precision_option(parser: argparse._ActionsContainer) -> None:
    """Adds the option that says in which precision measurements are taken, so that rows of two machines do not mix."""
    parser.add_argument(
        "--precision",
        default=best_precision(),
        metavar="NAME",
        help=f"of forward passes: {' or '.join(DTYPES)}; rows in another one are other measurements, and none is taken "
        "for the other (default: the processor's best)",
    )


def said_precision(words: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Returns a command's words with its precision, since its default depends on the processor."""
    given = any(word.partition("=")[0] == "--precision" for word in words)
    return [*words, *([] if given else ["--precision", options.precision])]


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what to search, and how to score it."""
    group = parser.add_argument_group("search")
    group.add_argument(
        "--keep", type=ranges.share, default=0.5, metavar="FRACTION", help="budget: part of the cost to keep"
    )
    add_keep_params_option(group)
    group.add_argument("--metric", default="macs", metavar="NAME", help=f"cost: {' or '.join(METRICS)}")
    group.add_argument("--scope", default="block", metavar="NAME", help="block, or all to prune residual streams too")
    add_multiple_option(group)
    group.add_argument(
        "--evaluations",
        type=ranges.whole(1, unit="evaluation"),
        default=300,
        metavar="N",
        help="profiles that a search may score",
    )
    group.add_argument(
        "--images",
        type=ranges.whole(1, unit="image"),
        default=1000,
        metavar="N",
        help="held-out images that a score looks at",
    )
    group.add_argument(
        "--statistics",
        metavar="NAME",
        help="where BatchNorm takes its statistics from: sample (64 of the scored images, then folded), batch (the "
        "scored images, one pass), reestimate (training images, a second pass) or none (the full network's; useless "
        "but for showing that) (default: sample, and batch below 500 images)",
    )
    group.add_argument(
        "--score",
        default=MEASURES[0],
        metavar="NAME",
        help="what a score measures: accuracy; loss, as exp(-loss); or divergence, as exp(-divergence) from the "
        "unpruned network's outputs, which needs no labels",
    )
    group.add_argument(
        "--refit-scores",
        action="store_true",
        help="score networks whose layers are first fitted in closed form, from second moments that are taken once",
    )
    group.add_argument("--criterion", default="l1", metavar="NAME", help=f"which channels stay: {', '.join(CRITERIA)}")
    group.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="ledger, curves and pictures")
    where = parser.add_argument_group("engine")
    where.add_argument(
        "--engine",
        default=ENGINES[0],
        metavar="NAME",
        help="where profiles are scored: local (this process), processes, or ray (needs the extra)",
    )
    where.add_argument(
        "--workers", type=ranges.workers, default=0, metavar="N", help="of the engine (default: one for each core)"
    )
    where.add_argument("--address", metavar="HOST", help="of a running Ray cluster (default: start one here)")


def add_keep_params_option(parser: argparse._ActionsContainer) -> None:
    """Adds the option that gives a budget its second metric."""
    parser.add_argument(
        "--keep-params",
        type=ranges.share,
        metavar="FRACTION",
        help="keep this part of the parameters as well, exactly (default: as many as come with --keep)",
    )


def add_multiple_option(parser: argparse._ActionsContainer) -> None:
    """Adds the option that says what widths are multiples of."""
    parser.add_argument(
        "--multiple-of",
        type=number_or_auto,
        default=1,
        metavar="N",
        help="widths are multiples of N; `auto` takes the one whose networks are fastest on --device",
    )


def number_or_auto(text: str) -> int | str:
    """Reads the value of --multiple-of."""
    return AUTO if text == AUTO else ranges.whole(1, 4096)(text)


def setting_name(options: argparse.Namespace, data: Iterable[str]) -> str:
    """Returns what names of searches start with: the budget, and of the data sets the last part of their paths."""
    second = "" if options.keep_params is None else f"-params{options.keep_params:g}"
    extras = f"-{options.scope}" * (options.scope != "block") + f"-x{options.multiple_of}" * (options.multiple_of > 1)
    paths = (os.path.abspath(re.sub("/+@", "@", name)) for name in data)  # noqa: PTH100
    parts = "-".join(safe_name(Path(path).name, _LONGEST) for path in paths)
    return f"{options.metric}{options.keep:g}{second}{extras}-{parts}"
