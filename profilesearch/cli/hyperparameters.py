"""Hyperparameters of PPO, as NAME=VALUE on the command line."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from agents.ppo_settings import PpoSettings
from profilesearch.cli.settings import option
from profilesearch.errors import UsageError, nearest

_TYPES: Mapping[str, type] = get_type_hints(PpoSettings)


def _number(text: str) -> tuple[str, float]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, such as learning_rate=3e-4, got {text}")
    if name not in _TYPES:
        raise argparse.ArgumentTypeError(f"must name a hyperparameter of PPO, got {name}; {nearest(name, _TYPES)}")
    try:
        return name, _TYPES[name](value)
    except ValueError:
        kind = "a whole number" if _TYPES[name] is int else "a number"
        raise argparse.ArgumentTypeError(f"must give {name} {kind}, got {value}") from None


def _word(text: str) -> str:
    """Checks one word of `--ppo`, which stays as it was given, for commands that are suggested."""
    name, value = _number(text)
    try:
        _with({name: value})
    except UsageError as error:
        raise argparse.ArgumentTypeError(f"must be in range: {error}") from error
    return text


PPO = option(
    f"hyperparameters of ppo and ppo-sensitivity that are not as they are by default: {', '.join(_TYPES)}",
    "NAME=VALUE",
    _word,
)
"""The option of commands that search."""


def ppo_settings(words: Sequence[str]) -> PpoSettings:
    """Returns the hyperparameters that the words of `--ppo` give; the last of those that name the same one counts."""
    return _with(dict(map(_number, words)))


def _with(values: Mapping[str, Any]) -> PpoSettings:
    return PpoSettings(**values)
