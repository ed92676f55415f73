"""The result of `apply` as a page: before and after, widths over layers, and the test images whose class changed."""

import io
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from profilesearch.applying.advice import Step, loading
from profilesearch.applying.against import Comparison
from profilesearch.applying.measuring import Measured
from profilesearch.applying.settings import Applying
from profilesearch.applying.subject import Subject
from profilesearch.cli.baseline import perhaps_seen
from profilesearch.reporting.plots import tradeoff_figure
from profilesearch.reporting.runs import Source, applied_part
from profilesearch.reporting.series import Palette, titles
from profilesearch.reporting.webpage import Block, address, drawn, render
from profilesearch.tasks.data import DataSet

_SHOWN = 24
"""Images whose class changed."""
_LARGEST = 192
"""Pixels along an image's longer side."""


def result_page(
    settings: Applying,
    subject: Subject,
    report: dict[str, Any],
    measured: Sequence[Measured],
    rival: Comparison | None,
    steps: Sequence[Step],
) -> str:
    """Returns the page of a result.

    Args:
        settings: What was asked.
        subject: The full network and its data.
        report: What the report's file says.
        measured: The full network, the pruned one, and its rival if there is one.
        rival: The comparison with the rival, if there is one.
        steps: What to do next.
    """
    palette = Palette()
    part = applied_part(Source(settings.out, titles([settings.out])[0], palette), report)
    points = {part.title: part.points}
    if rival and "after" in rival.report:
        side, full = rival.report["after"], report["before"]
        points[rival.name] = {rival.name: (side["macs"] / full["macs"], side["accuracy"], *side["interval"])}
    labels = ("part of the multiply-adds that is left", "test accuracy")
    picture = drawn(tradeoff_figure(points, labels, palette))
    first, *rest = part.blocks
    doubts = filter(None, [perhaps_seen(subject.member, subject.data)])
    blocks = [replace(first, text=(*first.text, *doubts)), *rest]
    blocks += [Block("Accuracy against cost", ("With 95 % intervals for the test images.",), (picture,))]
    if rival:
        text = ("The same recipe and seed, the same test images.",)
        head, rows = rival.table
        blocks.append(Block(f"Against {rival.name}", text, (), tuple(head), tuple(map(tuple, rows))))
    blocks.append(_changed(subject.data, *(each.predicted for each in measured[:2])))
    blocks.append(Block("Load it", ("In Python:",), code=(loading(settings),)))
    if steps:
        blocks.append(Block("What next", code=tuple(f"# {step.why}\n{step.command}" for step in steps)))
    title = f"{settings.arch} on {subject.data.name}, pruned"
    return render(title, blocks, f"Written by profilesearch {version('profilesearch')}.")


def _changed(data: DataSet, before: Tensor, after: Tensor) -> Block:
    """Shows test images whose class changed: those that got wrong, then those that got right, then others."""
    labels = data.test.labels
    changed = before != after
    kinds = [
        changed & (before == labels),
        changed & (after == labels),
        changed & (before != labels) & (after != labels),
    ]
    counts = [int(kind.sum()) for kind in kinds]
    text = (
        f"The class changed for {sum(counts)} of {len(labels)} test images; right before: {counts[0]}, right now: "
        f"{counts[1]}, wrong both times: {counts[2]}.",
    )
    order = torch.cat([kind.nonzero()[: _SHOWN // 2 if any(counts[1:]) else _SHOWN, 0] for kind in kinds])[:_SHOWN]
    gallery = tuple(
        (_picture(data.test[order[place : place + 1]].pixels[0]), _caption(data, before, after, int(index)))
        for place, index in enumerate(order)
    )
    return Block("Test images whose class changed", text, gallery=gallery)


def _caption(data: DataSet, before: Tensor, after: Tensor, index: int) -> str:
    names = data.class_names or range(data.num_classes)
    was, now, right = (names[int(each[index])] for each in (before, after, data.test.labels))
    return f"{was} → {now} (it is {right})"


def _picture(pixels: Tensor) -> str:
    """Returns an image of bytes, (C, H, W), as a data address."""
    channels = pixels[:3] if len(pixels) >= 3 else pixels[0]
    image = Image.fromarray((channels.permute(1, 2, 0) if channels.dim() == 3 else channels).contiguous().numpy())
    image.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    image.save(file, format="png")
    return address("image/png", file.getvalue())
