"""Sentences of the library name its arguments; on the command line they name the options that give them."""

import re

MARK = re.compile(r"`(?P<name>[\w.]+)(?:=(?P<value>[^`]*))?`")
"""What a sentence marks: an argument or a function, where need be with the value that helps."""
OPTIONS = {
    "Ledger": "--runs",
    "folder": "--data-dir DIR or set PROFILESEARCH_DATA",
    "images": "images (--data NAME@SIZE)",
    "load_network": "--checkpoint",
    "profilesearch.networks.mapping.carry": "--map-by-position",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "address", "data", "device", "download", "image_size", "keep", "keep_params", "mean", "metric", "pool_dir",
            "ppo", "profile", "scope", "start", "std", "storage", "store", "workers",
        )
    },
}  # fmt: skip
"""How the command line says what the library marks; the library's names need not be the options'."""
_OF_PYTHON = re.compile(r"[\[\]',]|^True$")
"""What stands in a value of Python, and not on a command line."""


def in_options(sentence: str) -> str:
    """Returns a sentence of the library as the command line says it: `scope='all'`, if marked, as --scope all."""
    return MARK.sub(_option, sentence)


def _option(found: re.Match[str]) -> str:
    if found["name"] not in OPTIONS:
        return found[0]  # such as part of a file's name
    return f"{OPTIONS[found['name']]} {_OF_PYTHON.sub('', found['value'] or '')}".rstrip()
