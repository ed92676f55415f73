"""What a comparison started from, in words, and what it says of the profiles that it carried."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from profilesearch.errors import UsageError
from profilesearch.evidence import Evidence, evidence
from profilesearch.profiles import Profile
from profilesearch.research.study.records import Row
from profilesearch.research.transfers.downstream import recipe_of
from profilesearch.research.transfers.methods import from_random
from profilesearch.research.transfers.setting import Setting
from profilesearch.research.transfers.structured import carried_profile, stored_profile
from profilesearch.research.transfers.upstream import pool_command, source_epochs
from profilesearch.research.transfers.ways import LEVELS_OF, Ways
from profilesearch.system.files import read_json, write_json

_LEVELS = {
    "params": "Levels are of the weights, BatchNorm's and the classifier's not counted: masks remove them exactly, "
    "smaller tensors keep what they should within half a percent.",
    "macs": "Levels are of the multiply-adds of one image, the classifier's included, within half a percent.",
}


def describe(setting: Setting, rows: Sequence[Row]) -> Iterable[str]:
    """Says what the comparison started from, how long methods trained, and which profiles its rows carried."""
    source, trained = setting.source, source_epochs(setting.source)
    yield f"Source: {source.name} ({source.data}{f', {trained} epochs' if trained else ''})."
    if command := pool_command(source, dict(setting.folders).get(source.data, source.data)):
        yield f"`{command}` trains it, in the same `--pool-dir`."
    yield (
        f"Methods that start from it train {setting.epochs} epoch(s) upstream (a ticket that many a round), methods "
        f"that start from random weights {setting.scratch}."
    )
    yield from _ways(setting.ways)
    yield _LEVELS[setting.metric]
    precisions, devices = (" and ".join(dict.fromkeys(row[name] for row in rows)) for name in ("precision", "device"))
    yield f"Networks were trained and tested in {precisions} on {devices}; another processor rounds otherwise."
    for level in sorted({float(row["level"]) for row in rows if row["method"].startswith("profile")}):
        stored = stored_profile(setting.upstream(), level)
        searched = " and ".join(sorted({each["data"] for each in stored.profile.found.get("pool", [])}))
        left = f"{1 - level:.0%} of the {LEVELS_OF[setting.metric]}"
        relative = f" of {setting.map_from}, mapped by relative place and" if setting.map_from else ","
        yield (
            f"At {level:g} the profile is {stored.name}{relative} projected onto {left}; its search saw networks for "
            f"{searched or 'unknown data'}."
        )


def unequal_methods(setting: Setting) -> tuple[tuple[str, ...], str]:
    """Returns the methods that are not held against the others, and a sentence that says why; both empty where all are.

    They start from random weights, and were not trained as long as the others with their source, or may not have been.
    """
    names, trained = from_random(setting.ways), source_epochs(setting.source)
    if trained is not None and setting.scratch >= setting.epochs + trained:
        return (), ""
    those, shown = f"from random weights ({', '.join(names)})", "are shown but not held against the others."
    if trained is None:
        return names, f"How long the source was trained is not known, so methods {those} {shown}"
    return names, f"Methods {those} had fewer epochs than the source, so they {shown}"


def _ways(ways: Ways) -> Iterable[str]:
    """Says what is not as it is by default."""
    if ways.distill:
        labels = "no label" if ways.distill == 1 else f"labels by {1 - ways.distill:g}"
        yield f"Trainings upstream from the source learn from its answers by {ways.distill:g}, from {labels}."
    if ways.start == "source":
        yield "RigL, STR and AC/DC start from the source as well."
    if (ways.criterion, ways.refit) != (Ways.criterion, Ways.refit):
        fitted = "as they are" if ways.refit == "none" else f"fitted anew in closed form ({ways.refit})"
        yield f"Structured methods keep channels by {ways.criterion}, with the source's weights {fitted}."


def read_commands(path: Path) -> dict[str, list[str]]:
    """Returns the commands that filled a folder, by setting; nothing where there is no file of them.

    Raises:
        UsageError: The file is broken.
    """
    known = read_json(path, "list of commands") if os.path.lexists(path) else {}
    lists = list(known.values()) if isinstance(known, dict) else [None]
    if not all(isinstance(each, list) and all(isinstance(word, str) for word in each) for each in lists):
        raise UsageError(f"{path} is no list of commands; move it away, and the next commands begin another")
    return dict(known)


def remember(path: Path, setting: str, command: str) -> tuple[list[str], str]:
    """Adds a command to those that filled a folder.

    Args:
        path: File of the commands, by setting.
        setting: The setting's identity.
        command: As pages show it.

    Returns:
        All commands of this setting, in the order in which they were first given; and what the names of its files end
        with, so that settings that share a folder leave each other's alone: nothing for the first one.

    Raises:
        UsageError: The file is broken, or cannot be written.
    """
    known = read_commands(path)
    commands = known.setdefault(setting, [])
    if command not in commands:
        commands.append(command)
        write_json(path, known)
    return commands, "" if next(iter(known)) == setting else f"-{setting}"


def profiles_with_evidence(setting: Setting, rows: Sequence[Row]) -> Iterable[tuple[str, Profile]]:
    """Yields the carried profiles by name, with an evidence entry for each of their rows."""
    upstream = setting.upstream()
    dense = {_task(row): float(row["accuracy"]) for row in rows if row["method"] == "dense"}
    for level in dict.fromkeys(float(row["level"]) for row in rows if row["method"] == "profile"):
        profile = carried_profile(upstream, level)
        for row in rows:
            if row["method"] != "profile" or float(row["level"]) != level or row["finetune"] == "none":
                continue
            data, known = row["downstream"], Evidence()
            recipe: dict[str, Any] = {"finetune": row["finetune"], "epochs": int(row["epochs"])}
            if setting.knows(data):  # not one of an earlier command
                recipe = recipe_of(setting.data(data), row["finetune"], int(row["epochs"]), row["precision"])
                known["test_images"] = len(setting.data(data).test)
                if digest := setting.data(data).folder_digest:
                    known["data_digest"] = digest
            if _task(row) in dense:
                known["dense_accuracy"] = dense[_task(row)]
            profile = profile.with_evidence(
                evidence(
                    {"data": data, "model": setting.source.name, "upstream": upstream.data.name},
                    known,
                    {"finetuned_accuracy": float(row["accuracy"]), "recipe": recipe, "seeds": [int(row["seed"])]},
                )
            )
        yield f"profile-{level:g}", profile


def _task(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in ("downstream", "finetune", "epochs", "seed"))
