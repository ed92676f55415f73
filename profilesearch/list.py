"""`profilesearch list`: the stored profiles, with their evidence."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from profilesearch.cli.console import Output, manual_parser, run
from profilesearch.errors import UsageError, choose
from profilesearch.measure.reaching import off_budget, reached_anew, reached_text
from profilesearch.profiles import Profile
from profilesearch.store import Store, Stored, gains

DESCRIPTION = """\
List the stored profiles, your own and those that come with the installation, with their evidence.

Gain is accuracy over the uniform profile of the same cost, in points, on models that the search did not
see: the mean of the evidence, and where its 95 % intervals reach. `apply` takes the profile with the
largest one on its data set.

A damaged file is named, and the others are listed."""
EPILOG = """\
examples:
  profilesearch list
  profilesearch list --arch resnet56 --evidence"""

HEAD = ["profile, and how it was found", "keeps", "gain over uniform"]


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    made = manual_parser("list", DESCRIPTION, EPILOG)
    made.add_argument("--arch", metavar="NAME", help="of this architecture alone")
    made.add_argument("--store", type=Path, default=Path("profiles"), metavar="DIR", help="where profiles are kept")
    made.add_argument("--evidence", action="store_true", help="one line for every measurement")
    made.add_argument("--check", action="store_true", help="end with exit code 2 if a file is damaged")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    options = parser().parse_args(arguments)
    output = Output.of(options)
    store = Store(options.store)
    names = store.architectures()
    if options.arch is not None and names:
        names = [choose("architecture with stored profiles", options.arch, names)]
    every, damaged = _readable([file for name in names for file in store.files(name)])
    if not every and not damaged:
        output.say(f"no profile in {options.store}; search one with `profilesearch train --arch NAME`")
    elif options.evidence:
        head = ["profile", "model", "data", "pruned", "fine-tuned", "epochs", "gain over uniform"]
        output.table("evidence", head, [line for stored in every for line in _evidence(stored)])
    elif every:
        output.table("stored profiles", HEAD, [_line(stored) for stored in every])
    for reason in damaged:
        output.say(f"damaged: {reason}")
    listed = [{"file": str(stored.path), **stored.profile.to_json()} for stored in every]
    output.result({"profiles": listed, "damaged": damaged})
    if damaged and options.check:
        raise UsageError(f"{len(damaged)} damaged profile(s); remove them, or fetch or search them again")


def _readable(files: Sequence[Path]) -> tuple[list[Stored], list[str]]:
    """Reads profiles; returns them, and why the others cannot be read."""
    good, damaged = [], []
    for file in files:
        try:
            good.append(Stored(Profile.load(file), file))
        except UsageError as error:
            damaged.append(str(error))
    return good, damaged


def _line(stored: Stored) -> list[str]:
    profile = stored.profile
    found = profile.found
    origin = found.get("mapped_from")
    how = f"{found.get('searcher')}, mapped from {origin['architecture']}" if origin else str(found.get("searcher"))
    on = sorted({member["data"] for member in found.get("pool", [])})
    gained = [f"{data}\n{_points(gain.value, gain.low, gain.high)}" for data, gain in gains(profile).items()]
    where = f"\non {', '.join(on)}" if on else ""
    return [f"{profile.architecture}/{stored.name}\n{how}{where}", _reached(profile), "\n".join(gained)]


def _reached(profile: Profile) -> str:
    try:
        profile = reached_anew(profile)
    except UsageError:
        return f"does not fit {profile.architecture}"
    return f"{reached_text(profile)}{off_budget(profile)}".replace(" of the ", "\nof the ", 1)


def _evidence(stored: Stored) -> list[list[str]]:
    return [
        [
            f"{stored.profile.architecture}/{stored.name}",
            str(entry.get("model", "")),
            str(entry.get("data", "")),
            _percent(entry.get("pruned_accuracy")),
            _percent(entry.get("finetuned_accuracy")),
            str(entry.get("recipe", {}).get("finetune", 0)),
            _gain(entry),
        ]
        for entry in stored.profile.evidence
    ]


def _percent(value: Any) -> str:
    return "" if value is None else f"{value * 100:.2f}"


def _gain(entry: Any) -> str:
    if "gain" not in entry or "gain_interval" not in entry:
        return ""
    return _points(entry["gain"], *entry["gain_interval"])


def _points(value: float, low: float, high: float) -> str:
    return f"{value * 100:+.2f} ({low * 100:+.2f} to {high * 100:+.2f})"


if __name__ == "__main__":
    run(main)
