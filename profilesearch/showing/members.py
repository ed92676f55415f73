"""Members of a pool, those that are trained here and others, and what is known of each: what `pool` does."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profilesearch.cli.baseline import state, state_trained
from profilesearch.cli.console import Output
from profilesearch.cli.workspace import Workspace
from profilesearch.networks.checkpoints import load_metadata
from profilesearch.networks.names import entry_of
from profilesearch.showing.settings import Pooling
from profilesearch.system.files import regular_file
from profilesearch.tasks.pools import Member, default_recipe, example_shape, held_out_accuracy
from profilesearch.tasks.splits import split


def pool(settings: Pooling) -> None:
    """Does what `pool` is told."""
    output = Output.of(settings)
    workspace = Workspace(settings, output)
    members = workspace.foreign(settings.checkpoint)
    if not settings.checkpoint:
        members += own_members(workspace, settings.seeds, settings.recipe, settings.start, settings.list, output)
    rows = [row_of(member, workspace, output) for member in members]
    head = ["member", "data", "learned from", "held-out accuracy", "file"]
    output.table(f"pool of {settings.arch}", head, [[str(cell) for cell in row.values()] for row in rows])
    if not rows:
        rest = settings.words(vars(settings), without=("arch", "list", "json", "quiet"))
        output.say(f"no member yet; train them with `profilesearch pool --arch {shlex.quote(settings.arch)}{rest}`")
    output.result({"architecture": settings.arch, "members": rows})


def own_members(
    workspace: Workspace,
    seeds: Sequence[int],
    recipe: Mapping[str, Any],
    start: Path | None,
    present: bool,
    output: Output,
) -> list[Member]:
    """Returns the members of all data sets and seeds.

    Args:
        workspace: Names the data sets, and trains.
        seeds: Of the members.
        recipe: What of the training is not as it is by default; said where a member was trained otherwise.
        start: Weights of another task to start from.
        present: Only those that are there already; else the others are trained.
        output: For people.
    """
    members = []
    for name in workspace.names:
        for seed in seeds:
            there = workspace.present(name, seed)
            if there and not present:
                _say_otherwise(there, recipe if start is None else {**recipe, "start": start.stem}, output)
            if not there and not present:
                if start is not None:
                    regular_file(entry_of(start)[0], "checkpoint")  # before it is said that a training begins
                own = replace(default_recipe(workspace.data(name)), **recipe)
                there = workspace.trained(name, seed, recipe=own, start=start)
            if there:
                state_trained(output, there, workspace.data(name))
                members.append(there)
    return members


def _say_otherwise(member: Member, asked: Mapping[str, Any], output: Output) -> None:
    """Says where a member that is there already was trained otherwise than asked."""
    metadata = load_metadata(member.path)
    recipe = {**metadata.get("recipe", {}), "start": metadata.get("start", "")}
    other = {name: recipe[name] for name, value in asked.items() if name in recipe and recipe[name] != value}
    if other:
        was, wanted = (
            ", ".join(f"{name} {values[name] if values[name] != '' else 'from nothing'}" for name in other)
            for values in (recipe, asked)
        )
        output.say(
            f"{member.name} is there already and was trained with {was}, not {wanted}; it stays as it is: remove "
            f"{shlex.quote(str(member.path))} to train it anew, or give another --pool-dir"
        )


def row_of(member: Member, workspace: Workspace, output: Output) -> dict[str, str | float]:
    """Returns what is known of a member; the accuracy of one from elsewhere is measured."""
    accuracy = load_metadata(member.path).get("held_out_accuracy") if member.trained_on == "train" else None
    if accuracy is None:
        data = workspace.data(member.data)
        accuracy = held_out_accuracy(member, data)
        held_out = data.train[split(data, member.split_seed).unsearched]
        state(output, member, accuracy, held_out, "held-out", data, example_shape(member.load(), data)[0])
    learned = "its train part" if member.trained_on == "train" else "every training image"
    return {
        "name": member.name,
        "data": member.data,
        "trained_on": learned,
        "held_out_accuracy": round(float(accuracy), 4),
        "path": str(member.path),
    }
