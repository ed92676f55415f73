"""A command's settings: one frozen dataclass is default, help and record at once, and the parser is made of it."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, NoReturn, Self, get_args, get_origin, get_type_hints

from profilesearch.errors import UsageError

_OPTION = re.compile(r"--?[A-Za-z][\w-]*(=.*)?", re.DOTALL)
_HOME = re.compile(r"(?:(?<==)|^)~(?=/|$)")
"""What stands for the home folder; shells read it so at the start of a word alone, not in `--out=~/result`."""
_CLOSE = 0.55
"""Likeness of an option's name to what was written, from which on it may be meant."""


def option(
    text: str,
    metavar: str | None = None,
    read: Callable[[str], Any] | None = None,
    *,
    group: str = "",
    flags: Sequence[str] | None = None,
    nargs: int | str | None = None,
) -> dict[str, Any]:
    """Returns the metadata of a field that is an option; its type and default say the rest.

    A field of type bool is a flag, one of type tuple takes several values.

    Args:
        text: The help.
        metavar: Name of the value.
        read: Makes the value of its text, or refuses it; a field of type Path or str needs none.
        group: Heading of the help that the option stands under.
        flags: What it is called; `--name` of the field where None, and an argument without a name where empty.
        nargs: Of argparse, where it is not what the type says.
    """
    return {"help": text, "metavar": metavar, "type": read, "group": group, "flags": flags, "nargs": nargs}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a command was told; each verb derives its own, and fields with the metadata of `option` are its options.

    Attributes:
        json: The result is one JSON object on standard output.
        quiet: Nothing is said but mistakes and that object.
    """

    verb: ClassVar[str]
    description: ClassVar[str]
    epilog: ClassVar[str]

    json: bool = field(default=False, metadata=option("one JSON object on standard output, progress on stderr"))
    quiet: bool = field(default=False, metadata=option("say nothing but mistakes, and with --json the result"))

    def validate(self) -> None:
        """Finds mistakes in what was told, before anything is imported that takes seconds.

        Raises:
            UsageError: There is one.
        """

    @classmethod
    def parser(cls) -> argparse.ArgumentParser:
        """Returns the command's parser, whose help reads like a manual page."""
        made = _Parser(
            prog=f"profilesearch {cls.verb}",
            description=cls.description,
            epilog=cls.epilog,
            formatter_class=_ManualPage,
            allow_abbrev=False,
        )
        made.set_defaults(verb=cls.verb)
        groups: dict[str, argparse._ActionsContainer] = {"": made}
        types = get_type_hints(cls)
        for each in fields(cls):
            heading = each.metadata["group"]
            if heading not in groups:
                groups[heading] = made.add_argument_group(heading)
            flags, how = _argument(each, types[each.name])
            groups[heading].add_argument(*flags, **how)
        return made

    @classmethod
    def read(cls, arguments: Sequence[str] | None = None) -> Self:
        """Returns the settings that a command line says.

        Args:
            arguments: Its words; those of this process where None.

        Raises:
            UsageError: They are not understood, or a value is out of its range.
        """
        found = cls.parser().parse_args(arguments)
        values: dict[str, Any] = {each.name: getattr(found, each.name) for each in fields(cls)}
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    @classmethod
    def words(cls, values: Mapping[str, Any], without: Sequence[str] = ()) -> str:
        """Returns those options of this command that are not its defaults, as a shell takes them.

        Args:
            values: By name of the field; they may be another command's, and what this one does not have is left out.
            without: Names that are left out.

        Returns:
            Nothing, or text that starts with a space.
        """
        words: list[str] = []
        for each in fields(cls):
            value, flags = values.get(each.name), _flags(each)
            unsaid = value is None or value is False or value in ((), _default(each))
            if unsaid or each.name in without or not flags[-1].startswith("-"):
                continue
            words.append(flags[-1])
            if value is not True:
                words += map(str, value if isinstance(value, tuple) else [value])
        return f" {shlex.join(words)}" if words else ""


def _flags(each: Field[Any]) -> tuple[str, ...]:
    flags: Sequence[str] | None = each.metadata["flags"]
    return (f"--{each.name.replace('_', '-')}",) if flags is None else tuple(flags) or (each.name,)


def _default(each: Field[Any]) -> Any:
    if each.default_factory is not MISSING:
        return each.default_factory()
    return None if each.default is MISSING else each.default


def _argument(each: Field[Any], kind: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Returns what `add_argument` is told of a field."""
    flags, about = _flags(each), each.metadata
    if kind is bool:
        return flags, {"action": "store_true", "help": about["help"]}
    several, part = _part(kind)
    how = {
        "help": about["help"],
        "metavar": about["metavar"],
        "type": about["type"] or (Path if part is Path else None),
    }
    if several or about["nargs"]:
        how["nargs"] = about["nargs"] or "+"
    if several and not about["nargs"]:
        how["action"] = _Joined
    needed = each.default is MISSING and each.default_factory is MISSING
    if flags[0].startswith("-"):
        how["required"] = needed
    return flags, how if needed else how | {"default": _default(each)}


def _part(kind: Any) -> tuple[bool, Any]:
    """Returns whether a field holds several values, and the type of one."""
    first = next(each for each in get_args(kind) if each is not NoneType) if isinstance(kind, UnionType) else kind
    several = get_origin(first) is tuple
    return several, get_args(first)[0] if several else first


class _Joined(argparse.Action):
    """Takes the values of all mentions of an option, where argparse would forget all but the last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Adds values to those that were given before; the default, a tuple or None, is none of them."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(before if isinstance(before, list) else []), *values])


class _Parser(argparse.ArgumentParser):
    """Its complaints are sentences as all others are, and come before any that a misspelt option brings about."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuses unknown options by the nearest ones, then does as argparse does."""
        words = [at_home(word) for word in (sys.argv[1:] if args is None else args)]
        known = self._option_string_actions
        options = takewhile(lambda word: word != "--", words)
        names = [word.partition("=")[0] for word in options if _OPTION.fullmatch(word) and word[:2] not in known]
        unknown = [name for name in dict.fromkeys(names) if name not in known]
        if unknown and not {"-h", "--help"} & set(words):
            self.error("; ".join(f"unknown option {name}{_meant(name, known)}" for name in unknown))
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raises a `UsageError`."""
        raise UsageError(re.sub(r"^argument (?:-./)?(--[^:]+): must", r"\1 must", message) + "; see --help")


def at_home(word: str) -> str:
    """Returns a word with the home folder where `~` stands for it, so that no folder of that name is made."""
    return _HOME.sub(lambda _: os.path.expanduser("~"), word)  # noqa: PTH111  as it is where nobody knows the home


def _meant(name: str, options: Iterable[str]) -> str:
    """Returns a phrase that offers the option that an unknown one is most likely meant to be."""
    plain = {option.lstrip("-"): option for option in options if option.startswith("--")}
    word = name.lstrip("-").replace("_", "-")
    begun = [each for each in plain if each.startswith(word) or word.startswith(each)]
    close = [*get_close_matches(word, plain, 1, _CLOSE), *begun]
    return f"; did you mean {plain[close[0]]}?" if close else ""


class _ManualPage(argparse.RawDescriptionHelpFormatter):
    """Keeps the layout of description and examples, and appends the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        default = action.default
        if default is None or default is False or default in ((), argparse.SUPPRESS) or "default" in text:
            return text
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        return f"{text} (default: {shown})"
