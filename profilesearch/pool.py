"""`profilesearch pool`: trains the missing members of a pool, and lists them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from profilesearch.cli import ranges
from profilesearch.cli.console import Output, run
from profilesearch.cli.members import own_members, row_of
from profilesearch.cli.options import Normalized, Pooled
from profilesearch.cli.settings import option
from profilesearch.cli.workspace import Workspace
from profilesearch.system.files import check_writable


@dataclass(frozen=True, kw_only=True)
class Pooling(Normalized, Pooled):
    """What `pool` is told."""

    verb = "pool"
    description = """\
Train the missing members of a pool, once, and list them.

A pool is several trained models of one architecture, on one or more data sets and from several seeds.
Members learn on nine tenths of the training images (six on digits); searches score on the others.
Training resumes after an interruption. Checkpoints from elsewhere join by path."""
    epilog = """\
examples:
  profilesearch pool --arch resnet20 --data cifar10 cifar100 --seeds 0 1 2
  profilesearch pool --arch resnet56 --data cifar10 --checkpoint resnet56.th cifar100=other.safetensors
  profilesearch pool --arch resnet56 --data cifar100 --start resnet56.th --epochs 15 --lr 0.1
  profilesearch pool --arch resnet20 --data cifar100 --list

files:
  pools/ARCH/DATA-seedN.safetensors"""

    epochs: int | None = field(
        default=None,
        metadata=option("of training (default: 40, and 30 on digits)", "N", ranges.whole(1, unit="epoch")),
    )
    lr: float | None = field(
        default=None,
        metadata=option("peak learning rate (default: 0.2, and 0.05 on digits)", "RATE", ranges.real(0, 1000, "least")),
    )
    start: Path | None = field(
        default=None,
        metadata=option("weights of another task to start from; the classifier starts anew", "FILE"),
    )
    list: bool = field(default=False, metadata=option("list what is there, train nothing"))

    @property
    def recipe(self) -> dict[str, Any]:
        """What of the training is not as it is by default."""
        given = {"epochs": self.epochs, "lr": self.lr}
        return {name: value for name, value in given.items() if value is not None}


parser = Pooling.parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    settings = Pooling.read(arguments)
    output = Output.of(settings)
    if not settings.list:
        check_writable(settings.pool_dir)
    workspace = Workspace(settings, output)
    members = workspace.foreign(settings.checkpoint)
    if not settings.checkpoint:
        members += own_members(workspace, settings.seeds, settings.recipe, settings.start, settings.list, output)
    rows = [row_of(member, workspace, output) for member in members]
    head = ["member", "data", "learned from", "held-out accuracy", "file"]
    output.table(f"pool of {settings.arch}", head, [[str(cell) for cell in row.values()] for row in rows])
    if not rows:
        rest = settings.words(vars(settings), without=("arch", "list", "json", "quiet"))
        output.say(f"no member yet; train them with `profilesearch pool --arch {shlex.quote(settings.arch)}{rest}`")
    output.result({"architecture": settings.arch, "members": rows})


if __name__ == "__main__":
    run(main)
