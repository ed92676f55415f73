"""`profilesearch pool`: trains the missing members of a pool, and lists them."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from profilesearch.console import Output, parser_for, run
from profilesearch.networks.checkpoints import load_metadata
from profilesearch.options import add_normalization_options, add_pool_options
from profilesearch.tasks.pools import Member, default_recipe, held_out_accuracy, trained_member
from profilesearch.workspace import Workspace

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
    made.add_argument("--epochs", type=int, metavar="N", help="of training (default: 40, and 30 on digits)")
    made.add_argument("--lr", type=float, metavar="RATE", help="peak learning rate (default: 0.2, and 0.05 on digits)")
    made.add_argument(
        "--start", type=Path, metavar="FILE", help="weights of another task to start from; the classifier starts anew"
    )
    made.add_argument("--list", action="store_true", help="list what is there, train nothing")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    options = parser().parse_args(arguments)
    output = Output.of(options)
    workspace = Workspace(options, output)
    members = workspace.foreign(options.checkpoint)
    if not options.checkpoint:
        members += _own(options, workspace)
    rows = [_row(member, workspace) for member in members]
    head = ["member", "data", "learned from", "held-out accuracy", "file"]
    output.table(f"pool of {options.arch}", head, [[str(cell) for cell in row.values()] for row in rows])
    if not rows:
        output.say(f"no member yet; train them with `profilesearch pool --arch {options.arch}` without --list")
    output.result({"architecture": options.arch, "members": rows})


def _own(options: argparse.Namespace, workspace: Workspace) -> list[Member]:
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
            members.append(workspace.trained(name, seed, recipe=recipe, start=options.start))
    return members


def _row(member: Member, workspace: Workspace) -> dict[str, str | float]:
    recorded = load_metadata(member.path).get("held_out_accuracy")
    accuracy = recorded if recorded is not None else held_out_accuracy(member, workspace.data(member.data))
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
