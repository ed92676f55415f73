"""The result of `apply` as one folder: the network, read back, what was measured on it, and its exports."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from profilesearch.applying.making import Made
from profilesearch.applying.settings import Applying, Subject
from profilesearch.console import Output
from profilesearch.errors import UsageError
from profilesearch.exports import export
from profilesearch.folders import APPLIED, drafted
from profilesearch.networks.checkpoints import load_pruned, save_network
from profilesearch.outcome import both_sides, evidence_of, report_of, show
from profilesearch.plots import profile_figure, save_figure
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.hardware import device_of

CHECKED = 1000
"""Test images on which exported files are compared with the network."""


def write(settings: Applying, subject: Subject, base: float, made: Made, output: Output) -> None:
    """Writes a result and shows it.

    Args:
        settings: What was asked.
        subject: The full network and its data.
        base: Accuracy of the full network on test images.
        made: The pruned network.
        output: Shows the tables.

    Raises:
        UsageError: The folder cannot be written, or an export failed; all else is then written.
    """
    failed: UsageError | None = None
    full, data, pruned, profile = subject.network, subject.data, made.pruned, made.profile
    with drafted(settings.out, APPLIED, settings.digest(data, full, profile)) as draft:
        path = draft.folder / "pruned.safetensors"
        save_network(path, pruned.network, _metadata(settings, subject))
        reloaded = load_pruned(path, settings.arch).to(device_of(full))
        sides = both_sides(full, base, pruned, path, reloaded, data)
        measured = {
            "model": subject.member.name,
            "criterion": settings.criterion,
            "refit": settings.refit,
            "seed": settings.seed,
        }
        recipe = settings.record(data, device_of(pruned.network))
        entry = evidence_of(sides, made.untuned, data, measured, recipe)
        report = report_of(settings.out / path.name, pruned, profile, sides, len(data.test), entry)
        profile.with_evidence(entry).save(draft.folder / "profile.json")
        title = f"{settings.arch}: {profile.reached:.1%} of the {profile.budget.metric}"
        figure = profile_figure(pruned.table.names, pruned.table.channels, pruned.widths, title)
        save_figure(figure, draft.folder / "profile.png")
        show(output, sides, len(data.test), made.untuned)
        if report["not_faster"]:
            output.say(report["not_faster"])
        try:
            for file in _exports(settings, draft.folder, reloaded.cpu(), data, output):
                report["exports"].append(file)
        except UsageError as error:  # exporters fail in ways of their own: all else is a result without them
            failed = error
        report = draft.seal(report)
    if draft.aside:
        output.say(f"what was in {settings.out}, of other settings, is in {draft.aside} now")
    output.say(f"wrote pruned.safetensors, profile.json, report.json and profile.png in {settings.out}")
    if failed:
        raise failed
    output.result(report)


def _metadata(settings: Applying, subject: Subject) -> dict[str, Any]:
    """Returns what the network's file says: how to rebuild it, and what images it takes."""
    data = subject.data
    return {
        "architecture": settings.arch,
        "num_classes": data.num_classes,
        "in_channels": subject.shape[0],
        "data": data.name,
        "model": subject.member.name,
        "mean": data.mean,
        "std": data.std,
    }


def _exports(
    settings: Applying, folder: Path, network: nn.Module, data: DataSet, output: Output
) -> Iterator[dict[str, Any]]:
    """Writes the asked formats, each read back and compared on test images."""
    for kind in settings.export:
        made = export(network, kind, folder / f"pruned.{kind}", data, data.test[:CHECKED])
        output.say(
            f"{made.file}, read back: {made.accuracy:.2%} on {made.images} test images (torch: "
            f"{made.torch_accuracy:.2%}); same class for {made.same:.2%} of them"
        )
        yield made.to_json()
