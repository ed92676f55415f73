"""Started as a command, this package finds its own parts in any working folder, and Ctrl-C ends it at once."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from multiprocessing.process import parent_process
from pathlib import Path
from types import FrameType, ModuleType

INTERRUPTED = "interrupted; nothing is lost, the same command goes on from here\n"
_PACKAGE = Path(__file__).parents[1]
_OWN = ("agents", "envs")


class _Own:
    """Finds the packages that come with this one, although the working folder, which is looked at first, has others."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        return PathFinder.find_spec(name, [str(_PACKAGE.parent)]) if name in _OWN else None


def prepare() -> None:
    """Makes imports safe if this process is a command; in somebody's program nothing changes."""
    if not _is_command():
        return
    sys.meta_path.insert(0, _Own)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN if parent_process() else _stop
        )  # a worker's end is its parent's task


def done() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again, now that somebody catches it."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    started = Path(sys.argv[0])
    if sys.argv[0] == "-m":  # python has not found the module yet, but its package
        return any(re.match(rf"(-\w*m)?{_PACKAGE.name}(\.|$)", word) for word in sys.orig_argv[1:])
    return started.name == _PACKAGE.name or started.absolute().parent == _PACKAGE


def _stop(number: int, frame: FrameType | None) -> None:
    """Ends this process without an exception, which imports may swallow or wrap."""
    os.write(2, INTERRUPTED.encode())
    os._exit(130)
