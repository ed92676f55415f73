"""The one exception that users see: a clear sentence with the fix."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

_NO_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")


def no_memory(error: BaseException) -> bool:
    """Says whether an error of torch is one of too little memory, by what it says."""
    return any(text in str(error) for text in _NO_MEMORY)


class UsageError(ValueError):
    """A request that cannot be met, or an input that is missing or broken.

    The message is one sentence that names what is wrong and how to put it right. Commands print it, with options in
    place of the arguments that stand in backticks, and exit with 2.
    Passwords in it are left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


_SECRETS = re.compile(
    r"""(?<=://)(?P<user>[^\s:/@]*):[^\s"]*@ | (?P<name>\b(?:password|passwd|pwd|token|secret)=)[^\s&;,'")]+""",
    re.IGNORECASE | re.VERBOSE,
)


def redacted(text: str) -> str:
    """Returns a text without the passwords of addresses in it, such as those of databases."""
    return _SECRETS.sub(lambda found: f"{found['name']}***" if found["name"] else f"{found['user']}:***@", text)


def printable(text: str) -> str:
    """Returns a text in which all that would steer a terminal, but for new lines, is spelled out."""
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


def one_line(text: str) -> str:
    """Returns a text as `printable` does, with new lines spelled out as well: a name in tables and records."""
    return printable(text).replace("\n", "\\n")


def choose(kind: str, name: str, valid: Iterable[str]) -> str:
    """Returns `name` if it is among `valid`, and otherwise says which ones come near.

    Raises:
        UsageError: `name` is unknown.
    """
    names = list(valid)
    if name in names:
        return name
    raise UsageError(f"unknown {kind} '{name}'; {nearest(name, names)}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns a phrase that offers the valid names closest to `name`."""
    names = list(valid)
    close = get_close_matches(str(name), names, n=3, cutoff=0.5)  # whatever a program gives as a name
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"choose from {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
