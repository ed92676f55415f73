"""`profilesearch VERB`: one console script for all commands."""

import importlib
import sys

from profilesearch import __version__
from profilesearch.cli.console import run
from profilesearch.errors import UsageError, nearest

VERBS = {
    "train": "search a profile over a pool of trained models and store it",
    "apply": "prune a trained model with a stored profile",
    "policy": "show what one policy for any network decides; train it, and measure it on families that it never saw",
    "compare": "compare searchers at equal cost and equal evaluations, on models that they did not see",
    "groups": "show what can be pruned in an architecture, and what cannot, and why",
    "list": "list the stored profiles with their evidence",
    "report": "write what runs have found into one HTML page",
    "study": "test the claims behind the project, and write the page of results",
    "transfer": "compress a network in several ways, carry the results to other data sets, and compare",
    "pool": "train the missing members of a pool, and list them",
}


def main() -> None:
    """Runs the verb that the command line names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = "\n".join(f"  {verb:10}{what}" for verb, what in VERBS.items())
        sys.stdout.write(f"usage: profilesearch VERB ...\n\n{lines}\n\n`profilesearch VERB --help` explains each.\n")
        return
    if arguments == ["--version"]:
        sys.stdout.write(f"profilesearch {__version__}\n")
        return
    run(lambda _: _dispatch(arguments[0], arguments[1:]))


def _dispatch(verb: str, arguments: list[str]) -> None:
    if verb not in VERBS:
        raise UsageError(f"unknown verb '{verb}'; {nearest(verb, [*VERBS, '--help', '--version'])}")
    importlib.import_module(f"profilesearch.{verb}").main(arguments)


if __name__ == "__main__":
    main()
