"""Commands in processes of their own, to be killed or side by side, forked from one that has made their imports."""

import importlib
import os
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

_VERBS = [f"profilesearch.{verb}" for verb in ("train", "study", "transfer")]
_NEEDED = ["torchvision", "stable_baselines3", "optuna", "matplotlib.pyplot", "profilesearch.research.pool_search"]


def start(verb: str, arguments: Sequence[str], folder: Path, out: Path | None = None) -> BaseProcess:
    """Starts a verb as a shell would.

    Args:
        verb: The command.
        arguments: What follows it.
        folder: Where it runs.
        out: Takes what it prints.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([*_VERBS, *_NEEDED])
    process = context.Process(target=_run, args=(verb, list(arguments), folder, out, dict(os.environ)))
    process.start()
    return process


def _run(verb: str, arguments: list[str], folder: Path, out: Path | None, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if out:
        with out.open("w") as file:
            os.dup2(file.fileno(), 1)
    importlib.import_module(f"profilesearch.{verb}").main(arguments)
