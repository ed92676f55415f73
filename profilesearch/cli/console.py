"""What all commands share: options, output, progress, and one clear sentence for every mistake."""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from profilesearch.cli import ranges, starting
from profilesearch.cli.progress import Move, shown
from profilesearch.errors import NO_MEMORY, UsageError, printable, redacted
from profilesearch.system.allocator import keep_freed_memory

DATA_VARIABLE = "PROFILESEARCH_DATA"
_FILE_WIDTH = 180


@dataclass(frozen=True)
class Output:
    """Where a command talks to: people, or with `--json` a program.

    Attributes:
        as_json: The result is one JSON object on standard output; everything else goes to standard error.
        console: For people.
    """

    as_json: bool
    console: Console

    @classmethod
    def of(cls, options: argparse.Namespace, quiet: bool = False) -> "Output":
        """Makes the output that the options ask for; `quiet` prints nothing at all, no result either."""
        console = Console(stderr=options.json, highlight=False, quiet=quiet or options.quiet)
        if not console.is_terminal:
            console.width = _FILE_WIDTH  # nobody's window: no cell of a table has to be cut
        return cls(options.json and not quiet, console)

    def say(self, text: str) -> None:
        """Prints a line for people; whatever a file or its name put into it only shows."""
        with _to_stdout():
            self.console.print(_shown(text), soft_wrap=True)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints a table; all columns but the first are aligned right."""
        self.say(title)
        table = Table()
        for index, column in enumerate(head):
            table.add_column(_shown(column), justify="right" if index else "left")
        for row in rows:
            table.add_row(*map(_shown, row))
        with _to_stdout():
            self.console.print(table)

    def result(self, value: dict[str, Any]) -> None:
        """Prints the result object, with `--json` alone."""
        if self.as_json:
            with _to_stdout():
                sys.stdout.write(json.dumps(_redacted(value)) + "\n")

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Move]:
        """Shows on standard error how far a part is, once it takes two seconds; yields what moves it.

        Args:
            what: The part's name.
            total: Of what is counted; None where nothing is.
        """
        with shown(_shown(what).plain, Console(stderr=True, quiet=self.console.quiet), total) as move:
            yield lambda done, total, note: move(done, total, _shown(note).plain)

    @contextmanager
    def search_progress(self, what: str, total: int) -> Iterator[Callable[[int, int, float], None]]:
        """Like `progress`, with the best fitness so far as the note."""
        with self.progress(what, total) as move:
            yield lambda done, total, best: move(done, total, f"{done}/{total}, best {best:.3f}")


def manual_parser(verb: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Returns a parser whose help reads like a manual page, with the option `--json`."""
    parser = _Parser(
        prog=f"profilesearch {verb}",
        description=description,
        epilog=epilog,
        formatter_class=_ManualPage,
        allow_abbrev=False,
    )
    parser.set_defaults(verb=verb, parser=parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, progress on stderr")
    parser.add_argument("--quiet", action="store_true", help="say nothing but mistakes, and with --json the result")
    return parser


def parser_for(verb: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Returns such a parser with the options of all commands that work on an architecture's models."""
    parser = manual_parser(verb, description, epilog)
    parser.add_argument("--arch", required=True, metavar="NAME", help="architecture, such as resnet56 or mobilenet_v2")
    where = os.environ.get(DATA_VARIABLE)
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        default=Path(where) if where else None,
        help=f"folder of the data sets (default: ${DATA_VARIABLE}, or ./data if there is one)",
    )
    parser.add_argument("--download", action="store_true", help="fetch a missing data set into --data-dir")
    parser.add_argument("--seed", type=ranges.seed, default=0, metavar="N", help="of all random choices")
    return parser


def command_line(verb: str, arguments: Sequence[str], left_out: Sequence[str]) -> str:
    """Returns a command as pages show it, without some options and their values."""
    words, skip = [], False
    for word in arguments:
        if word.startswith("--"):
            skip = word.partition("=")[0] in left_out
        if not skip:
            words.append(word)
    return shlex.join(["python", "-m", f"profilesearch.{verb}", *words])


def given_options(parser: argparse.ArgumentParser, options: argparse.Namespace, without: Sequence[str] = ()) -> str:
    """Returns those options of a command that are not its defaults, as a shell takes them.

    Args:
        parser: Of the command; options that it does not have are left out.
        options: Their values, which may have been given to another command.
        without: Names of options that are left out.

    Returns:
        Nothing, or text that starts with a space.
    """
    words: list[str] = []
    for action in parser._actions:  # argparse has no other list of them
        value = getattr(options, action.dest, None)
        unsaid = value is None or value is False or value in ([], action.default)
        if unsaid or not action.option_strings or action.dest in without:
            continue
        words.append(action.option_strings[-1])
        if value is not True:
            words += map(str, value if isinstance(value, list) else [value])
    return f" {shlex.join(words)}" if words else ""


def run(command: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake ends in one sentence and exit code 2, an interruption in a hint and 130."""
    _open_streams()
    keep_freed_memory()
    try:
        try:
            starting.done()
            command(arguments)
        finally:
            with _to_stdout():
                sys.stdout.flush()
    except UsageError as error:
        _fail(str(error))
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(text in str(error) for text in NO_MEMORY):
            raise
        _fail("not enough memory; use smaller images (--data NAME@SIZE) or a smaller network")
    except KeyboardInterrupt:
        sys.stderr.write(starting.INTERRUPTED)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        named = [os.fsdecode(each) for each in (error.filename, error.filename2) if isinstance(each, str | bytes)]
        place = f"use {' or '.join(named)}" if named else "go on"
        _fail(
            f"cannot {place}: {error.strerror or error}; see to that, or name another path, and run the command again"
        )


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {_shown(message)}\n")
    sys.exit(2)


def _open_streams() -> None:
    """Has characters that a stream's encoding lacks spelled out; a closed stream swallows all."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _to_stdout() -> Iterator[None]:
    """Turns a failed write to standard output into the sentence for the user, once: nothing more is written there."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(f"cannot write to standard output: {error.strerror}; send it somewhere else") from error


def _redacted(value: Any) -> Any:
    """Returns a JSON value without the passwords of addresses in its texts."""
    if isinstance(value, dict):
        return {_redacted(key): _redacted(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(each) for each in value]
    return redacted(value) if isinstance(value, str) else value


def _shown(text: str) -> Text:
    """Returns a text as it may reach a terminal: no escape codes, no markup, no password."""
    return Text(printable(redacted(text)))


class _Parser(argparse.ArgumentParser):
    """Its complaints are sentences as all others are."""

    def error(self, message: str) -> NoReturn:
        """Raises a `UsageError`."""
        raise UsageError(re.sub(r"^argument (?:-./)?(--[^:]+): must", r"\1 must", message) + "; see --help")


class _ManualPage(argparse.RawDescriptionHelpFormatter):
    """Keeps the layout of description and examples, and appends the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        default = action.default
        if default is None or default is False or default in ([], argparse.SUPPRESS) or "default" in text:
            return text
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        return f"{text} (default: {shown})"
