"""The experiments of the study, by name: read without torch, which an experiment imports when it is run."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, cast

from profilesearch.errors import UsageError

if TYPE_CHECKING:
    from profilesearch.research.study.lab import Lab
    from profilesearch.research.study.page import Section

EXPERIMENTS = (
    "fidelity", "criteria", "ranks", "spread", "searchers", "landing",
    "transfer", "families", "depths", "recipes", "headline", "shipping", "budgets", "truth",
)  # fmt: skip
"""Each is a module of this package, and a function of this name in it."""
LONG = ("truth",)
"""Experiments that take a night, and run when they are asked for by name."""


def experiment(name: str) -> "Callable[[Lab], Section]":
    """Returns what makes the section of an experiment, measuring what is not on record."""
    return cast("Callable[[Lab], Section]", resolve_name(f"{__package__}.{name}:{name}"))


def not_recorded(folder: Path, name: str) -> UsageError:
    """Returns the sentence about an experiment that is asked for from the records alone, which do not have it."""
    return UsageError(f"'{name}' is not on record in {folder}; run it first with --only {name}")
