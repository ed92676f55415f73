"""The result of `apply` as one folder: the networks, read back, what was measured on them, and their exports."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from profilesearch.applying.advice import Facts, Step, loading
from profilesearch.applying.against import compare
from profilesearch.applying.card import model_card
from profilesearch.applying.exports import export
from profilesearch.applying.making import Diverged, Made
from profilesearch.applying.measuring import Measured, measure
from profilesearch.applying.page import result_page
from profilesearch.applying.settings import Applying
from profilesearch.applying.subject import Subject, record_of, result_digest
from profilesearch.cli.console import Output
from profilesearch.cli.outcome import evidence_of, report_of, show
from profilesearch.errors import UsageError
from profilesearch.evidence import Evidence
from profilesearch.measure.reaching import reached_text
from profilesearch.networks.checkpoints import save_network
from profilesearch.reporting.plots import profile_figure, save_figure
from profilesearch.system.files import write_text
from profilesearch.system.folders import APPLIED, drafted
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.hardware import device_of

CHECKED = 1000
"""Test images on which exported files are compared with the network."""
SAME = "it is the very profile that is applied"
"""The verdict on such a rival."""
_FILES = ("pruned.safetensors", "against.safetensors")


def write(
    settings: Applying,
    subject: Subject,
    known: Tensor,
    made: Made,
    rival: Made | Diverged | None,
    advise: Callable[[Facts], list[Step]],
    output: Output,
) -> None:
    """Writes a result and shows it.

    Args:
        settings: What was asked.
        subject: The full network and its data.
        known: The class that the full network gives each test image, shape (N,).
        made: The pruned network.
        rival: Its rival, if there is one.
        advise: Says what to do next.
        output: Shows the tables.

    Raises:
        UsageError: The folder cannot be written, or an export failed; all else is then written.
    """
    failed: UsageError | None = None
    data, whole = subject.data, [made, *([rival] if isinstance(rival, Made) else [])]
    digest = result_digest(settings, data, subject.network, made.profile, rival.profile if rival else None)
    with drafted(settings.out, APPLIED, digest) as draft:
        files = [draft.folder / name for name, _ in zip(_FILES, whole, strict=False)]
        for file, each in zip(files, whole, strict=True):
            save_network(file, each.pruned.network, _metadata(settings, subject))
        measured = measure(subject, known, [each.pruned for each in whole], files, output)
        report = _report(settings, subject, made, measured)
        made.profile.with_evidence(report["evidence"]).save(draft.folder / "profile.json")
        _draw(draft.folder / "profile.png", settings, made)
        show(output, [each.side for each in measured[:2]], len(data.test), made.untuned)
        if report["not_faster"]:
            output.say(report["not_faster"])
        comparison = None
        if rival:
            comparison = compare(settings.against or "", made, rival, measured[1:], data.test)
            comparison.show(output)
            report["against"] = comparison.report
        elif settings.against:
            report["against"] = {"name": settings.against, "verdict": SAME}
        try:
            for exported in _exports(settings, draft.folder, measured[1].network.cpu(), data, output):
                report["exports"].append(exported)
        except UsageError as error:  # exporters fail in ways of their own: all else is a result without them
            failed = error
        steps = advise(Facts.of(settings, subject.here, made, measured, comparison))
        page = result_page(settings, subject, report, measured, comparison, steps)
        write_text(draft.folder / "result.html", page)
        if settings.card:
            write_text(draft.folder / "README.md", model_card(settings, subject, report, settings.command()))
        report = draft.seal(report)
    if draft.aside:
        output.say(f"what was in {settings.out}, of other settings, is in {draft.aside} now")
    _close(settings, len(whole) > 1, steps, output)
    if failed:
        raise failed
    output.result(report)


def _report(settings: Applying, subject: Subject, made: Made, measured: Sequence[Measured]) -> dict[str, Any]:
    """Returns what the report's file says of the pruned network, without its exports and its rival."""
    data, sides = subject.data, [each.side for each in measured[:2]]
    about: Evidence = {
        "model": subject.member.name,
        "weights": subject.here.weights,
        "criterion": settings.criterion,
        "refit": made.refitted,
        "seed": settings.seed,
    }
    recipe = record_of(settings, data, device_of(made.pruned.network))
    entry = evidence_of(sides, made.untuned, data, about, recipe)
    return report_of(settings.out / _FILES[0], made.pruned, made.profile, sides, len(data.test), entry)


def _draw(file: Path, settings: Applying, made: Made) -> None:
    profile, pruned = made.profile, made.pruned
    title = f"{settings.arch}: {reached_text(profile)}"
    save_figure(profile_figure(pruned.table.names, pruned.table.channels, pruned.widths, title), file)


def _close(settings: Applying, has_rival: bool, steps: Sequence[Step], output: Output) -> None:
    """Says what was written, how to load it, and what next."""
    names = [*_FILES[: 1 + has_rival], "profile.json", "report.json", "profile.png"]
    names += ["README.md"] if settings.card else []
    output.say(f"wrote {', '.join(names)} and result.html in {settings.out}")
    output.say(f"to load the network in Python:\n  {loading(settings)}")
    if steps:
        output.say("what next:\n" + "\n".join(f"  {step.why}\n    {step.command}" for step in steps))


def _metadata(settings: Applying, subject: Subject) -> dict[str, Any]:
    """Returns what the network's file says: how to rebuild it, and what images it takes."""
    data = subject.data
    luma = data.normalization(subject.shape[0])[2]
    return {
        "architecture": settings.arch,
        "num_classes": data.num_classes,
        "in_channels": subject.shape[0],
        "data": data.name,
        "model": subject.member.name,
        "mean": data.mean,
        "std": data.std,
        **({"grey_of_normalized_colours": luma} if luma else {}),
    }


def _exports(
    settings: Applying, folder: Path, network: nn.Module, data: DataSet, output: Output
) -> Iterator[dict[str, Any]]:
    """Writes the asked formats, each read back and compared on test images."""
    for kind in settings.export:
        with output.progress(f"exporting to {kind}"):
            made = export(network, kind, folder / f"pruned.{kind}", data, data.test[:CHECKED])
        output.say(
            f"{made.file}, read back: {made.accuracy:.2%} on {made.images} test images (torch: "
            f"{made.torch_accuracy:.2%}); same class for {made.same:.2%} of them"
        )
        yield made.to_json()
