"""`profilesearch apply`: prunes a trained model with a stored profile."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from profilesearch import train
from profilesearch.applying.advice import Facts, Step, next_steps
from profilesearch.applying.exports import check_format
from profilesearch.applying.making import make
from profilesearch.applying.settings import Applying, Subject
from profilesearch.applying.writing import write
from profilesearch.cli import ranges
from profilesearch.cli.baseline import state
from profilesearch.cli.choosing import chosen_profile, fitted_profile
from profilesearch.cli.console import Output, given_options, parser_for, run
from profilesearch.cli.options import (
    add_device_option,
    add_image_size_option,
    add_keep_params_option,
    add_multiple_option,
    add_normalization_options,
    add_tuning_options,
)
from profilesearch.cli.workspace import Workspace, budget_of
from profilesearch.errors import UsageError, choose
from profilesearch.networks.criteria import CRITERIA
from profilesearch.networks.plan import Plan
from profilesearch.networks.refit import INPUTS
from profilesearch.networks.rivals import RIVALS
from profilesearch.profiles import METRICS, SCOPES, Profile
from profilesearch.system.files import check_writable
from profilesearch.system.folders import check_place
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.hardware import open_device
from profilesearch.tasks.parallel import World, joined
from profilesearch.tasks.pools import Member, example_shape, learning_images
from profilesearch.tasks.step import check_trains
from profilesearch.tasks.training import predictions, right_part
from profilesearch.tasks.unfinished import Unfinished

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
  profilesearch apply --arch resnet56 --checkpoint resnet56.th --data cifar10 --finetune 10 --against uniform
  profilesearch apply --arch resnet18 --checkpoint mine.safetensors --data photos/ --finetune 10 --export onnx

files, in --out, which appears whole (an earlier result of other settings there moves to DIR-2, ...):
  pruned.safetensors   weights and how to rebuild the network
  against.safetensors  with --against, the rival's network
  pruned.onnx, .pt2    with --export, each read back and compared
  profile.json         the profile, with this result as evidence
  report.json          before and after
  result.html          all of it to look at, with the test images whose class changed
  README.md            with --card, the model card
  profile.png          the widths"""
REFITS = (*INPUTS, "none")
_UNSAID = ("json", "quiet")
"""Options that suggested commands leave out."""


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
    which.add_argument(
        "--profile",
        metavar="NAME",
        help=f"a profile file, or one that needs no search: {', '.join(RIVALS)}; else the best stored one for:",
    )
    which.add_argument(
        "--against",
        metavar="NAME",
        help="another profile, such as `uniform`: made with the same recipe and seed, and set beside it with a verdict",
    )
    which.add_argument("--keep", type=ranges.share, default=0.5, metavar="FRACTION", help="part of the cost to keep")
    add_keep_params_option(which)
    which.add_argument("--metric", default="macs", metavar="NAME", help=f"cost: {' or '.join(METRICS)}")
    which.add_argument("--scope", default="block", metavar="NAME", help="of those that need no search: block, or all")
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
    add_tuning_options(made)
    add_device_option(made)
    made.add_argument(
        "--export", nargs="+", default=[], metavar="NAME", help="also write: onnx (needs the extra), pt2 (torch.export)"
    )
    made.add_argument(
        "--card", action="store_true", help="also write a model card, README.md, as Hugging Face's hub reads"
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
    budget_of(options)  # finds mistakes
    check_place(options.out)
    if options.checkpoint is None:
        check_writable(options.pool_dir)
    with joined(device) as world:
        asked = {field.name: getattr(options, field.name) for field in fields(Applying)}
        settings = Applying(**asked | {"export": tuple(options.export)})
        _apply(options, settings, Output.of(options, quiet=not world.leads), world)


def _apply(options: argparse.Namespace, settings: Applying, output: Output, world: World) -> None:
    workspace = Workspace(options, output)
    data = workspace.data(workspace.names[0])
    if settings.finetune:
        settings.recipe(data)  # finds mistakes
    if options.against is not None and options.against == options.profile:
        raise _same(options.against)  # before a network is trained
    asked = [options, *([_with(options, profile=options.against)] if options.against else [])]
    given = [chosen_profile(each, data, output, train.parser()) for each in asked]
    own = options.checkpoint is None
    member = workspace.trained(data.name, 0) if own else workspace.foreign([options.checkpoint])[0]
    data = workspace.data(data.name)  # the network decides how a part of ImageNet is labelled
    full = member.load()
    shape = example_shape(full, data)
    if settings.finetune:
        check_trains(full, data.normalize(data.train[:2].pixels, shape[0]), data.num_classes)
    plan = Plan(options.arch, full, shape)
    with output.progress("finding what can be pruned"):
        table = plan.table
    profiles = world.first(lambda: _fitted(asked, given, plan, workspace, output))
    for profile in profiles:
        table.within(profile.scope).ratios(profile)  # or it is of another architecture
    known = world.first(lambda: _base(full, member, data, profiles[0], output, world.device))
    subject = Subject(member, plan, data, learning_images(member, data))
    with Unfinished(settings.out / "finetune") as resume:
        named = zip(("the profile", options.against), profiles, strict=False)
        made = [make(subject, profile, settings, resume, output, world, name) for name, profile in named]
        if world.leads:
            command = f"python -m profilesearch.apply{given_options(options.parser, options, _UNSAID)}"
            write(settings, subject, known, made, partial(_advise, options), command, output)


def _with(options: argparse.Namespace, **changed: Any) -> argparse.Namespace:
    """Returns a copy of the options in which some have other values."""
    return argparse.Namespace(**{**vars(options), **changed})


def _fitted(
    asked: Sequence[argparse.Namespace],
    given: Sequence[Profile | None],
    plan: Plan,
    workspace: Workspace,
    output: Output,
) -> list[Profile]:
    """Returns the profile, and its rival on the same budget if there is one, as they are for the network at hand.

    Raises:
        UsageError: Both are the same.
    """
    profile = fitted_profile(asked[0], given[0], plan, workspace, output)
    if not asked[1:]:
        return [profile]
    budget = {**asdict(profile.budget), "scope": profile.scope}
    rival = fitted_profile(_with(asked[1], **budget), given[1], plan, workspace, output)
    if (rival.scope, dict(rival.keep)) == (profile.scope, dict(profile.keep)):
        raise _same(asked[1].profile)
    return [profile, rival]


def _same(name: str) -> UsageError:
    return UsageError(f"--against {name} is the very profile that is applied; name another one")


def _advise(options: argparse.Namespace, facts: Facts) -> list[Step]:
    """Returns what to do next, as commands with the options that were given."""
    searching = train.parser()

    def again(**changed: Any) -> str:
        given = given_options(options.parser, _with(options, **changed), _UNSAID)
        return f"python -m profilesearch.apply{given}"

    keep = _with(options, keep=facts.keep, checkpoint=[options.checkpoint] if options.checkpoint else [])
    return next_steps(facts, again, f"python -m profilesearch.train{given_options(searching, keep, _UNSAID)}")


def _base(
    full: nn.Module, member: Member, data: DataSet, profile: Profile, output: Output, device: torch.device
) -> Tensor:
    """Measures and says what the full network reaches, before anything is made of it; returns what it says."""
    with output.progress("classifying test images") as move:
        predicted = predictions(full.to(device), data, data.test, "fp32", output.say, move)
    known = [
        float(entry["base_accuracy"])
        for entry in profile.evidence
        if (entry.get("model"), entry.get("data")) == (member.name, data.name) and "base_accuracy" in entry
    ]
    state(output, member, right_part(predicted, data.test), data.test, "test", data, known)
    full.cpu()
    return predicted


if __name__ == "__main__":
    run(main)
