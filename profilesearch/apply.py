"""`profilesearch apply`: prunes a trained model with a stored profile."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from profilesearch.console import Output, parser_for, run
from profilesearch.errors import UsageError, choose
from profilesearch.files import check_writable, write_json
from profilesearch.intervals import accuracy_interval
from profilesearch.latency import Speed, measure_speed
from profilesearch.networks.checkpoints import load_pruned, save_network
from profilesearch.networks.cost import CostModel
from profilesearch.networks.criteria import CRITERIA
from profilesearch.networks.groups import IntArray
from profilesearch.plots import plot_profile
from profilesearch.profile import METRICS, Profile
from profilesearch.pruning import prune_with_profile, reestimate_statistics
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import example_shape, learning_images, tuning_recipe
from profilesearch.tasks.training import Recipe, accuracy, train
from profilesearch.workspace import Workspace

DESCRIPTION = """\
Prune a trained model with a stored profile: no search, a smaller network at once.

Channels are removed for real, BatchNorm statistics are re-estimated on training images, and the network is
fine-tuned if asked (with distillation from the unpruned model). The file that is written rebuilds itself:

  from profilesearch import load_pruned
  network = load_pruned("applied/pruned.safetensors")"""
EPILOG = """\
examples:
  profilesearch apply --arch resnet56 --checkpoint resnet56.th --data cifar10 --keep 0.5
  profilesearch apply --arch resnet56 --checkpoint resnet56.th --data cifar10 --profile my.json --finetune 10

files, in --out:
  pruned.safetensors   weights and how to rebuild the network
  profile.json         the profile, with this result as evidence
  report.json          before and after
  profile.png          the widths"""


@dataclass(frozen=True)
class Side:
    """One side of the before / after table."""

    accuracy: float
    macs: int
    params: int
    bytes: int
    speed: Speed

    def to_json(self, images: int) -> dict[str, Any]:
        """Returns the numbers, accuracy with its 95 % interval."""
        interval = [round(end, 4) for end in accuracy_interval(self.accuracy, images)]
        return {
            "accuracy": self.accuracy,
            "interval": interval,
            "macs": self.macs,
            "params": self.params,
            "bytes": self.bytes,
            "latency_ms": self.speed.to_json(),
        }


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    made = parser_for("apply", DESCRIPTION, EPILOG)
    made.add_argument("--data", nargs=1, metavar="NAME", help="the model's data set (default: cifar10, else digits)")
    made.add_argument("--checkpoint", metavar="FILE", help="the trained model (default: the pool's, seed 0)")
    made.add_argument("--pool-dir", type=Path, default=Path("pools"), metavar="DIR", help="trained members")
    which = made.add_argument_group("profile")
    which.add_argument("--profile", type=Path, metavar="FILE", help="a profile file; else the best stored one for:")
    which.add_argument("--keep", type=float, default=0.5, metavar="FRACTION", help="part of the cost to keep")
    which.add_argument("--metric", default="macs", metavar="NAME", help=f"cost: {' or '.join(METRICS)}")
    which.add_argument("--store", type=Path, default=Path("profiles"), metavar="DIR", help="where profiles are kept")
    which.add_argument("--criterion", default="l1", metavar="NAME", help=f"which channels stay: {', '.join(CRITERIA)}")
    tune = made.add_argument_group("fine-tuning")
    tune.add_argument("--finetune", type=int, default=0, metavar="EPOCHS", help="0: re-estimate BatchNorm alone")
    tune.add_argument("--lr", type=float, default=0.02, metavar="RATE", help="peak learning rate")
    tune.add_argument("--schedule", default="cosine", metavar="NAME", help="cosine or linear")
    tune.add_argument("--label-smoothing", type=float, default=0.0, metavar="PART", help="in [0, 1)")
    tune.add_argument("--distill", type=float, default=0.5, metavar="WEIGHT", help="of the unpruned model's outputs")
    made.add_argument("--out", type=Path, default=Path("applied"), metavar="DIR", help="where the results are written")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    options = parser().parse_args(arguments)
    output = Output.of(options)
    choose("criterion", options.criterion, CRITERIA)
    choose("schedule", options.schedule, ("cosine", "linear"))
    if options.finetune < 0:
        raise UsageError(f"--finetune must be 0 or more epochs, got {options.finetune}")
    check_writable(options.out)
    workspace = Workspace(options, output)
    data = workspace.data(workspace.names[0])
    profile = _profile(options, data, output)
    own = options.checkpoint is None
    member = workspace.trained(data.name, 0) if own else workspace.foreign([options.checkpoint])[0]
    full = member.load()
    shape = example_shape(full, data)
    learn = learning_images(member, data)
    batch = learn[:512]
    images = data.normalize(batch.pixels, shape[0])
    pruned = prune_with_profile(full, profile, shape, options.criterion, options.seed, (images, batch.labels))
    reestimate_statistics(pruned.network, data, learn[:2000])
    untuned = accuracy(pruned.network, data, data.test, "fp32") if options.finetune else None
    if options.finetune:
        recipe = _recipe(options, data)
        with output.progress("fine-tuning", 1) as move:
            train(pruned.network, data, learn, recipe, full, move, options.out / "finetune.resume.safetensors")

    path = options.out / "pruned.safetensors"
    about = {"architecture": options.arch, "num_classes": data.num_classes, "in_channels": shape[0], "data": data.name}
    save_network(path, pruned.network, about)
    reloaded = load_pruned(path, options.arch)
    speeds = measure_speed([full, reloaded], shape)
    channels = pruned.table.channels
    sides = [
        _side(full, data, pruned.cost, channels, speeds[0], _bytes(full)),
        _side(reloaded, data, pruned.cost, pruned.widths, speeds[1], path.stat().st_size),
    ]
    entry = _evidence(options, member.name, data, sides, untuned)
    profile.with_evidence(entry).save(options.out / "profile.json")
    before, after = (side.to_json(len(data.test)) for side in sides)
    report = {"model": str(path), "profile": profile.to_json(), "before": before, "after": after, "evidence": entry}
    write_json(options.out / "report.json", report)
    title = f"{options.arch}: {profile.reached:.1%} of the {profile.budget.metric}"
    plot_profile(pruned.table, pruned.widths, title, options.out / "profile.png")
    _show(output, sides, len(data.test), untuned)
    output.say(f"wrote {path}, profile.json, report.json and profile.png beside it")
    output.result(report)


def _profile(options: argparse.Namespace, data: DataSet, output: Output) -> Profile:
    if options.profile is not None:
        return Profile.load(options.profile)
    metric = choose("metric", options.metric, METRICS)
    stored = Store(options.store).best(options.arch, options.keep, metric, data.name)  # type: ignore[arg-type]
    searched = ", ".join(sorted({member["data"] for member in stored.profile.found.get("pool", [])}))
    output.say(f"using profile {stored.name}, searched on {searched or 'unknown data'}")
    return stored.profile


def _recipe(options: argparse.Namespace, data: DataSet) -> Recipe:
    names = ("lr", "schedule", "distill", "label_smoothing", "seed")
    return tuning_recipe(data, options.finetune, **{name: getattr(options, name) for name in names})


def _side(model: nn.Module, data: DataSet, cost: CostModel, widths: IntArray, speed: Speed, size: int) -> Side:
    macs, params = int(cost.macs(widths)), int(cost.params(widths))
    return Side(accuracy(model, data, data.test, "fp32"), macs, params, size, speed)


def _bytes(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _evidence(
    options: argparse.Namespace, model: str, data: DataSet, sides: list[Side], untuned: float | None
) -> dict[str, Any]:
    before, after = sides
    count = len(data.test)
    entry: dict[str, Any] = {
        "data": data.name,
        "model": model,
        "test_images": count,
        "criterion": options.criterion,
        "seed": options.seed,
        "base_accuracy": before.accuracy,
        "pruned_accuracy": after.accuracy if untuned is None else untuned,
    }
    if untuned is not None:
        entry["finetuned_accuracy"] = after.accuracy
        entry["recipe"] = {name: getattr(options, name) for name in ("finetune", "lr", "schedule", "distill")}
    entry["interval"] = [round(end, 4) for end in accuracy_interval(after.accuracy, count)]
    return entry


def _show(output: Output, sides: list[Side], images: int, untuned: float | None) -> None:
    before, after = sides

    def text(side: Side) -> str:
        low, high = accuracy_interval(side.accuracy, images)
        return f"{side.accuracy:.2%} ({low:.2%} to {high:.2%})"

    def ratio(new: float, old: float) -> str:
        return f"{new / old:.1%}"

    gain = f"{(after.accuracy - before.accuracy) * 100:+.2f} points"
    rows = [["accuracy on test images (95 % interval)", text(before), text(after), gain]]
    if untuned is not None:
        rows.append(["  before fine-tuning", "", f"{untuned:.2%}", f"{(untuned - before.accuracy) * 100:+.2f} points"])
    rows += [
        ["MACs", f"{before.macs / 1e6:.2f} M", f"{after.macs / 1e6:.2f} M", ratio(after.macs, before.macs)],
        [
            "parameters",
            f"{before.params / 1e3:.1f} k",
            f"{after.params / 1e3:.1f} k",
            ratio(after.params, before.params),
        ],
        ["file size", f"{before.bytes / 1e6:.2f} MB", f"{after.bytes / 1e6:.2f} MB", ratio(after.bytes, before.bytes)],
    ]
    for batch in (1, 64):
        old, new = (getattr(side.speed, f"batch{batch}") for side in sides)
        rows.append([f"latency, batch {batch}", f"{old:.2f} ms", f"{new:.2f} ms", ratio(new, old)])
    output.table("before and after", ["", "full", "pruned", "change"], rows)


if __name__ == "__main__":
    run(main)
