"""The problem that the environment runs on when it is given none: real images that come with the installation."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from profilesearch.errors import UsageError
from profilesearch.profiles import Budget
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.system.files import cache_folder, check_writable
from profilesearch.system.folders import digest_of
from profilesearch.system.temporary import scratch_folder
from profilesearch.tasks.data import DataSet, load_data
from profilesearch.tasks.pools import Member, default_recipe, pool_path, train_member, trained_member

_NETWORK = "resnet20"


@cache
def embedded_problem() -> Problem:
    """Returns the search for a ResNet-20 on digits, where half of its multiply-adds are the budget.

    The network is trained once, in some seconds, with a bar on standard error, and kept in the user's cache, where
    other processes wait for it instead of training their own. Where nothing can be kept, every process trains it.
    """
    data = load_data("digits")
    with _place(data) as folder:
        member = _kept(folder, data) or _trained(folder, data)
        return Problem([member], {data.name: data}, Budget("macs", 0.5), default_settings(), Ledger())


@contextmanager
def _place(data: DataSet) -> Iterator[Path]:
    """Gives a folder to this process alone: that of the cache for this recipe, or a temporary one."""
    folder = cache_folder() / f"environment-{digest_of(asdict(default_recipe(data)))}"
    try:
        check_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except (UsageError, OSError):
        with scratch_folder() as other:
            yield other
        return
    with FileLock(folder / "lock"):
        yield folder


def _kept(folder: Path, data: DataSet) -> Member | None:
    """Returns the network that was trained before; a damaged one, or one of another version of torch, is removed."""
    try:
        member = trained_member(_NETWORK, data, 0, folder)
        if member is not None:
            member.load()
        return member
    except UsageError:
        pool_path(folder, _NETWORK, data.own_name, 0).unlink()
        return None


def _trained(folder: Path, data: DataSet) -> Member:
    """Trains the network, and shows how far it is: a bar on a terminal, one line elsewhere."""
    console = Console(stderr=True)
    what = f"training the environment's small network once, on {data.name}"
    if not console.is_terminal:
        console.print(f"{what}; it takes some seconds", soft_wrap=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        return train_member(
            _NETWORK, data, 0, folder, progress=lambda done, total, _: bar.update(task, completed=done, total=total)
        )
