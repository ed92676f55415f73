"""What all commands share: options, output, progress, and one clear sentence for every mistake."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, NoReturn, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from profilesearch.cli import starting
from profilesearch.cli.progress import shown
from profilesearch.cli.settings import Settings
from profilesearch.cli.wording import in_options
from profilesearch.errors import UsageError, no_memory, printable, redacted
from profilesearch.system.allocator import keep_freed_memory
from profilesearch.system.amounts import finite
from profilesearch.system.progress import Progress

DATA_VARIABLE = "PROFILESEARCH_DATA"
_FILE_WIDTH = 180
_results: ContextVar[TextIO | None] = ContextVar("results", default=None)
"""Where results go while standard output is kept for them."""


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
    def of(cls, settings: Settings, quiet: bool = False) -> "Output":
        """Makes the output that the settings ask for; `quiet` prints nothing at all, no result either."""
        console = Console(stderr=settings.json, highlight=False, quiet=quiet or settings.quiet)
        if not console.is_terminal:
            console.width = _FILE_WIDTH  # nobody's window: no cell of a table has to be cut
        return cls(settings.json and not quiet, console)

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
            stream = _results.get() or sys.stdout
            with _to_stdout(stream):
                stream.write(json.dumps(finite(_redacted(value)), allow_nan=False) + "\n")

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Progress]:
        """Shows on standard error how far a part is, once it takes two seconds; yields what moves it.

        Args:
            what: The part's name.
            total: Of what is counted; None where nothing is.
        """
        with shown(_shown(what).plain, Console(stderr=True, quiet=self.console.quiet), total) as move:
            yield lambda done, total, note: move(done, total, _shown(note).plain)

    @contextmanager
    def search_progress(self, what: str, total: int) -> Iterator[Callable[[int, int, float], None]]:
        """Like `progress`, with the best fitness so far as the note, and what follows once all profiles were tried."""

        def note(done: int, total: int, best: float) -> str:
            return f"{done}/{total}, best {best:.3f}{', now on other images' if done == total else ''}"

        with self.progress(what, total) as move:
            yield lambda done, total, best: move(done, total, note(done, total, best))


def command_line(verb: str, arguments: Sequence[str], left_out: Sequence[str]) -> str:
    """Returns a command as pages show it, without some options and their values."""
    words, skip = [], False
    for word in arguments:
        if word.startswith("--"):
            skip = word.partition("=")[0] in left_out
        if not skip:
            words.append(word)
    return shlex.join(["python", "-m", f"profilesearch.{verb}", *words])


def said_precision(words: Sequence[str], precision: str) -> list[str]:
    """Returns a command's words with its precision, since its default depends on the processor."""
    given = any(word.partition("=")[0] == "--precision" for word in words)
    return [*words, *([] if given else ["--precision", precision])]


def work(settings: Settings, place: str, *more: Any) -> None:
    """Does what a command was told: finds the mistakes in that, and only then imports what does it.

    Args:
        settings: What was told.
        place: Of the function that does it, `module:function`; importing it takes seconds, torch above all.
        more: What the function is given beside the settings.
    """
    settings.validate()
    does = resolve_name(place)
    starting.done()
    with _for_results() if settings.json else nullcontext():
        does(settings, *more)


@contextmanager
def _for_results() -> Iterator[None]:
    """Keeps standard output for results: what else prints, such as a user's own module, goes to standard error."""
    token = _results.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.reset(token)


def run(command: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake ends in one sentence and exit code 2, an interruption in a hint and 130."""
    _open_streams()
    keep_freed_memory()
    try:
        try:
            command(arguments)
        finally:
            with _to_stdout():
                sys.stdout.flush()
    except UsageError as error:
        _fail(in_options(str(error)))
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not no_memory(error):
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
def _to_stdout(stream: TextIO | None = None) -> Iterator[None]:
    """Turns a failed write to standard output into the sentence for the user, once: nothing more is written there."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())
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
