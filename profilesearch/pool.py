"""`profilesearch pool`: trains the missing members of a pool, and lists them."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilesearch.cli import ranges
from profilesearch.cli.baseline import state
from profilesearch.cli.console import Output, given_options, parser_for, run
from profilesearch.cli.options import add_normalization_options, add_pool_options
from profilesearch.cli.workspace import Workspace
from profilesearch.networks.checkpoints import load_metadata
from profilesearch.system.files import check_writable
from profilesearch.tasks.pools import Member, default_recipe, held_out_accuracy, trained_member
from profilesearch.tasks.splits import split

DESCRIPTION = """\
Train the missing members of a pool, once, and list them.

A pool is several trained models of one architecture, on one or more data sets and from several seeds.
Members learn on nine tenths of the training images (six on digits); searches score on the others.
Training resumes after an interruption. Checkpoints from elsewhere join by path."""
EPILOG = """\
examples:
  profilesearch pool --arch resnet20 --data cifar10 cifar100 --seeds 0 1 2
  profilesearch pool --arch resnet56 --data cifar10 --checkpoint resnet56.th cifar100=other.safetensors
  profilesearch pool --arch resnet56 --data cifar100 --start resnet56.th --epochs 15 --lr 0.1
  profilesearch pool --arch resnet20 --data cifar100 --list

files:
  pools/ARCH/DATA-seedN.safetensors"""


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    made = parser_for("pool", DESCRIPTION, EPILOG)
    add_pool_options(made)
    add_normalization_options(made)
    made.add_argument(
        "--epochs", type=ranges.whole(1, unit="epoch"), metavar="N", help="of training (default: 40, and 30 on digits)"
    )
    made.add_argument(
        "--lr",
        type=ranges.real(0, 1000, "least"),
        metavar="RATE",
        help="peak learning rate (default: 0.2, and 0.05 on digits)",
    )
    made.add_argument(
        "--start", type=Path, metavar="FILE", help="weights of another task to start from; the classifier starts anew"
    )
    made.add_argument("--list", action="store_true", help="list what is there, train nothing")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    options = parser().parse_args(arguments)
    output = Output.of(options)
    if not options.list:
        check_writable(options.pool_dir)
    workspace = Workspace(options, output)
    members = workspace.foreign(options.checkpoint)
    if not options.checkpoint:
        members += _own(options, workspace, output)
    rows = [_row(member, workspace, output) for member in members]
    head = ["member", "data", "learned from", "held-out accuracy", "file"]
    output.table(f"pool of {options.arch}", head, [[str(cell) for cell in row.values()] for row in rows])
    if not rows:
        rest = given_options(options.parser, options, without=("arch", "list", "json", "quiet"))
        output.say(f"no member yet; train them with `profilesearch pool --arch {shlex.quote(options.arch)}{rest}`")
    output.result({"architecture": options.arch, "members": rows})


def _own(options: argparse.Namespace, workspace: Workspace, output: Output) -> list[Member]:
    members = []
    for name in workspace.names:
        for seed in options.seeds:
            if options.list:
                member = trained_member(options.arch, workspace.data(name), seed, options.pool_dir)
                members += [member] if member else []
                continue
            given = {"epochs": options.epochs, "lr": options.lr}
            changed = {setting: value for setting, value in given.items() if value is not None}
            recipe = replace(default_recipe(workspace.data(name)), **changed)
            there = trained_member(options.arch, workspace.data(name), seed, options.pool_dir)
            asked = changed if options.start is None else {**changed, "start": options.start.stem}
            if there:
                _say_otherwise(there, asked, output)
            members.append(there or workspace.trained(name, seed, recipe=recipe, start=options.start))
    return members


def _say_otherwise(member: Member, asked: Mapping[str, Any], output: Output) -> None:
    """Says where a member that is there already was trained otherwise than asked."""
    metadata = load_metadata(member.path)
    recipe = {**metadata.get("recipe", {}), "start": metadata.get("start", "")}
    other = {name: recipe[name] for name, value in asked.items() if name in recipe and recipe[name] != value}
    if other:
        was, wanted = (
            ", ".join(f"{name} {values[name] if values[name] != '' else 'from nothing'}" for name in other)
            for values in (recipe, asked)
        )
        output.say(
            f"{member.name} is there already and was trained with {was}, not {wanted}; it stays as it is: remove "
            f"{shlex.quote(str(member.path))} to train it anew, or give another --pool-dir"
        )


def _row(member: Member, workspace: Workspace, output: Output) -> dict[str, str | float]:
    accuracy = load_metadata(member.path).get("held_out_accuracy") if member.trained_on == "train" else None
    if accuracy is None:
        data = workspace.data(member.data)
        accuracy = held_out_accuracy(member, data)
        state(output, member, accuracy, split(data, member.split_seed).images(data, "fresh"), "held-out", data)
    learned = "its train part" if member.trained_on == "train" else "every training image"
    return {
        "name": member.name,
        "data": member.data,
        "trained_on": learned,
        "held_out_accuracy": round(float(accuracy), 4),
        "path": str(member.path),
    }


if __name__ == "__main__":
    run(main)
