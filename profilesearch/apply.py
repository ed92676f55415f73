"""`profilesearch apply`: prunes a trained model with a stored profile."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from profilesearch import ranges
from profilesearch.baseline import state
from profilesearch.choosing import chosen_profile, fitted_profile
from profilesearch.console import Output, parser_for, run
from profilesearch.errors import UsageError, choose
from profilesearch.exports import check_format, export
from profilesearch.files import check_writable
from profilesearch.folders import APPLIED, check_place, digest_of, drafted
from profilesearch.latency import measure_speed
from profilesearch.networks.checkpoints import load_pruned, save_network
from profilesearch.networks.criteria import CRITERIA
from profilesearch.networks.plan import Plan
from profilesearch.networks.reading import tensor_digest
from profilesearch.networks.refit import INPUTS
from profilesearch.options import (
    add_device_option,
    add_image_size_option,
    add_multiple_option,
    add_normalization_options,
)
from profilesearch.outcome import both_sides, evidence_of, not_faster, report_of, show
from profilesearch.plots import profile_figure, save_figure
from profilesearch.profiles import METRICS, SCOPES, Budget, Profile
from profilesearch.pruning import Pruned, prune_with_profile, reestimate_statistics, refit_weights
from profilesearch.reaching import off_budget, reached_in
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import best_precision, device_of, open_device
from profilesearch.tasks.inputs import input_channels
from profilesearch.tasks.parallel import World, joined
from profilesearch.tasks.pools import Member, example_shape, learning_images, tuning_recipe
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.step import check_trains
from profilesearch.tasks.training import NotFinite, accuracy, train
from profilesearch.tasks.unfinished import Unfinished
from profilesearch.workspace import Workspace

DESCRIPTION = """\
Prune a trained model with a stored profile: no search, a smaller network at once.

Channels are removed for real, the weights that are left are refitted in closed form on a few training images, and the
network is fine-tuned if asked (with distillation from the unpruned model). The file that is written rebuilds itself:

  from profilesearch import load_pruned
  network = load_pruned("applied/pruned.safetensors")"""
EPILOG = """\
examples:
  profilesearch apply --arch resnet56 --checkpoint resnet56.th --data cifar10 --keep 0.5
  profilesearch apply --arch resnet56 --checkpoint resnet56.th --data cifar10 --profile my.json --finetune 10
  torchrun --nproc-per-node 2 -m profilesearch.apply --arch resnet56 --checkpoint resnet56.th --finetune 10
  profilesearch apply --arch resnet18 --checkpoint mine.safetensors --data photos/ --finetune 10 --export onnx

files, in --out, which appears whole (an earlier result of other settings there moves to DIR-2, ...):
  pruned.safetensors   weights and how to rebuild the network
  pruned.onnx, .pt2    with --export, each read back and compared
  profile.json         the profile, with this result as evidence
  report.json          before and after
  profile.png          the widths"""
REFITS = (*INPUTS, "none")
CHECKED = 1000
"""Test images on which exported files are compared with the network."""


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    made = parser_for("apply", DESCRIPTION, EPILOG)
    made.add_argument(
        "--data",
        nargs=1,
        metavar="NAME",
        help="the model's data set, or a folder with one subfolder a class; NAME@64 for images of 64 by 64 (default: "
        "cifar10, else digits)",
    )
    made.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="the trained model: a file, or a name such as IMAGENET1K_V1 (default: the pool's, seed 0)",
    )
    made.add_argument("--pool-dir", type=Path, default=Path("pools"), metavar="DIR", help="trained members")
    add_image_size_option(made)
    add_normalization_options(made)
    which = made.add_argument_group("profile")
    which.add_argument("--profile", metavar="FILE", help="a profile file, or `uniform`; else the best stored one for:")
    which.add_argument("--keep", type=ranges.share, default=0.5, metavar="FRACTION", help="part of the cost to keep")
    which.add_argument("--metric", default="macs", metavar="NAME", help=f"cost: {' or '.join(METRICS)}")
    which.add_argument("--scope", default="block", metavar="NAME", help="of `uniform`: block, or all")
    which.add_argument("--store", type=Path, default=Path("profiles"), metavar="DIR", help="where profiles are kept")
    which.add_argument(
        "--map-by-position",
        action="store_true",
        help="let --profile be of a relative, another depth or width of the family: stages go to stages, groups take "
        "the ratio at their relative place, and the result is projected onto the budget",
    )
    add_multiple_option(which)
    which.add_argument("--criterion", default="l1", metavar="NAME", help=f"which channels stay: {', '.join(CRITERIA)}")
    which.add_argument(
        "--refit",
        default=REFITS[0],
        metavar="NAME",
        help="how layers are fitted in closed form to what they gave before the cut: sequential (on what the refitted "
        "layers before them give), full (on what the full network's gave), or none, which re-estimates BatchNorm alone",
    )
    tune = made.add_argument_group("fine-tuning")
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
    add_device_option(made)
    made.add_argument(
        "--export", nargs="+", default=[], metavar="NAME", help="also write: onnx (needs the extra), pt2 (torch.export)"
    )
    made.add_argument("--out", type=Path, default=Path("applied"), metavar="DIR", help="where the results are written")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    options = parser().parse_args(arguments)
    choose("criterion", options.criterion, CRITERIA)
    choose("scope", options.scope, SCOPES)
    choose("refit", options.refit, REFITS)
    choose("schedule", options.schedule, ("cosine", "linear"))
    for kind in options.export:
        check_format(kind)
    device = open_device(options.device)
    Budget(choose("metric", options.metric, METRICS), options.keep)  # type: ignore[arg-type]
    check_place(options.out)
    if options.checkpoint is None:
        check_writable(options.pool_dir)
    with joined(device) as world:
        _apply(options, Output.of(options, quiet=not world.leads), world)


def _apply(options: argparse.Namespace, output: Output, world: World) -> None:
    workspace = Workspace(options, output)
    data = workspace.data(workspace.names[0])
    if options.finetune:
        _tuning(options, data)  # finds mistakes
    profile = chosen_profile(options, data, output)
    own = options.checkpoint is None
    member = workspace.trained(data.name, 0) if own else workspace.foreign([options.checkpoint])[0]
    data = workspace.data(data.name)  # the network decides how a part of ImageNet is labelled
    full = member.load()
    shape = example_shape(full, data)
    if options.finetune:
        check_trains(full, data.normalize(data.train[:2].pixels, shape[0]), data.num_classes)
    plan, stored = Plan(options.arch, full, shape), profile
    profile = world.first(lambda: fitted_profile(options, stored, plan, workspace, output))
    plan.table.within(profile.scope).ratios(profile)  # or it is of another architecture
    base = world.first(lambda: _base(full, member, data, profile, output, world.device))
    learn = learning_images(member, data)
    batch = learn[:512]
    images = data.normalize(batch.pixels, shape[0])
    pruned = prune_with_profile(full, profile, shape, options.criterion, options.seed, (images, batch.labels))
    cut = reached_in(profile, pruned)
    output.say(f"the profile keeps {cut.reached:.1%} of the {cut.budget.metric} of this network{off_budget(cut)}")
    _move((full, pruned.network), world.device)
    if options.refit == "none":
        reestimate_statistics(pruned.network, data, learn[:2000], say=output.say)
    else:
        refit_weights(pruned, full, data, learn, options.refit, output.say)
    untuned = accuracy(pruned.network, data, data.test, "fp32", output.say) if options.finetune else None
    with Unfinished(options.out / "finetune") as resume:
        if options.finetune:
            _finetune(options, data, learn, (full, pruned.network), shape, resume, output, world)
        if world.leads:
            about = {"num_classes": data.num_classes, "in_channels": shape[0], "data": data.name, "model": member.name}
            about |= {"mean": data.mean, "std": data.std}
            _write(options, output, data, full, base, pruned, cut, untuned, about)


def _finetune(
    options: argparse.Namespace,
    data: DataSet,
    learn: Images,
    networks: tuple[nn.Module, nn.Module],
    shape: tuple[int, int, int],
    resume: Unfinished,
    output: Output,
    world: World,
) -> None:
    """Fine-tunes the second network with the first one as its teacher."""
    full, pruned = networks
    slow = not_faster(*measure_speed(networks, shape)) if world.leads else ""
    if slow:
        output.say(slow)  # before the fine-tuning, which would not be worth it
    with output.progress("fine-tuning", 1) as move:
        try:
            train(pruned, data, learn, _tuning(options, data), full, move, resume, output.say, world)
        except NotFinite as error:
            raise _kept(options, data, pruned, error, world) from error


def _base(
    full: nn.Module, member: Member, data: DataSet, profile: Profile, output: Output, device: torch.device
) -> float:
    """Measures and says what the full network reaches, before anything is made of it."""
    reached = accuracy(full.to(device), data, data.test, "fp32", output.say)
    known = [
        float(entry["base_accuracy"])
        for entry in profile.evidence
        if (entry.get("model"), entry.get("data")) == (member.name, data.name) and "base_accuracy" in entry
    ]
    state(output, member, reached, data.test, "test", data, known)
    full.cpu()
    return reached


def _kept(options: argparse.Namespace, data: DataSet, network: nn.Module, error: NotFinite, world: World) -> UsageError:
    """Saves the network of the last good epoch, if there was one; returns the error that says so."""
    if not error.finished or not world.leads:
        return error
    path = options.out / "last-good.safetensors"
    about = {"num_classes": data.num_classes, "in_channels": input_channels(network, data.image_shape)}
    save_network(path, network, {"architecture": options.arch, **about})
    return UsageError(f"{error}; the network after epoch {error.finished} is in {path}")


def _move(networks: Sequence[nn.Module], device: torch.device) -> None:
    for network in networks:
        network.to(device)


def _write(
    options: argparse.Namespace,
    output: Output,
    data: DataSet,
    full: nn.Module,
    base: float,
    pruned: Pruned,
    profile: Profile,
    untuned: float | None,
    about: Mapping[str, Any],
) -> None:
    """Writes the result as one folder: the network, read back, what was measured on it, and its exports."""
    failed: UsageError | None = None
    with drafted(options.out, APPLIED, _settings(options, data, full, profile)) as draft:
        path = draft.folder / "pruned.safetensors"
        save_network(path, pruned.network, {"architecture": options.arch, **about})
        reloaded = load_pruned(path, options.arch).to(device_of(full))
        sides = both_sides(full, base, pruned, path, reloaded, data)
        measured = {
            "model": about["model"],
            "criterion": options.criterion,
            "refit": options.refit,
            "seed": options.seed,
        }
        recipe = {"finetune": options.finetune, **_recipe(options, data, device_of(pruned.network))}
        entry = evidence_of(sides, untuned, data, measured, recipe)
        report = report_of(options.out / path.name, pruned, profile, sides, len(data.test), entry)
        profile.with_evidence(entry).save(draft.folder / "profile.json")
        title = f"{options.arch}: {profile.reached:.1%} of the {profile.budget.metric}"
        figure = profile_figure(pruned.table.names, pruned.table.channels, pruned.widths, title)
        save_figure(figure, draft.folder / "profile.png")
        show(output, sides, len(data.test), untuned)
        if report["not_faster"]:
            output.say(report["not_faster"])
        try:
            for made in _exports(options, draft.folder, reloaded.cpu(), data, output):
                report["exports"].append(made)
        except UsageError as error:  # exporters fail in ways of their own: all else is a result without them
            failed = error
        report = draft.seal(report)
    if draft.aside:
        output.say(f"what was in {options.out}, of other settings, is in {draft.aside} now")
    output.say(f"wrote pruned.safetensors, profile.json, report.json and profile.png in {options.out}")
    if failed:
        raise failed
    output.result(report)


def _settings(options: argparse.Namespace, data: DataSet, full: nn.Module, profile: Profile) -> str:
    """Names a result by what it depends on."""
    names = ("arch", "criterion", "refit", "seed", "finetune", "lr", "schedule", "label_smoothing", "distill", "export")
    return digest_of({
        **{name: getattr(options, name) for name in names},
        "weights": tensor_digest(full.state_dict()),
        "data": [data.name, data.train.digest, data.preparation],
        "profile": [profile.scope, dict(profile.keep)],
    })  # fmt: skip


def _exports(
    options: argparse.Namespace, folder: Path, network: nn.Module, data: DataSet, output: Output
) -> Iterator[dict[str, Any]]:
    """Writes the asked formats, each read back and compared on test images."""
    for kind in options.export:
        made = export(network, kind, folder / f"pruned.{kind}", data, data.test[:CHECKED])
        output.say(
            f"{made.file}, read back: {made.accuracy:.2%} on {made.images} test images (torch: "
            f"{made.torch_accuracy:.2%}); same class for {made.same:.2%} of them"
        )
        yield made.to_json()


def _tuning(options: argparse.Namespace, data: DataSet) -> Recipe:
    names = ("lr", "schedule", "distill", "label_smoothing", "seed")
    return tuning_recipe(data, options.finetune, **{name: getattr(options, name) for name in names})


def _recipe(options: argparse.Namespace, data: DataSet, device: torch.device) -> dict[str, Any]:
    """Returns all that the fine-tuning depended on, for the record; nothing where there was none."""
    if not options.finetune:
        return {}
    recipe = _tuning(options, data)
    return asdict(replace(recipe, precision=best_precision(device)))


if __name__ == "__main__":
    run(main)
