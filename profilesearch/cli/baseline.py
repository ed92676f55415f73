"""What the full networks reach, said before anything rests on it: at a wrong image size, every table is believable."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from profilesearch.cli.console import Output
from profilesearch.measure.intervals import accuracy_interval
from profilesearch.networks.checkpoints import load_metadata
from profilesearch.scoring.problem import Problem
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.pools import Member
from profilesearch.tasks.splits import split

_FAR = 0.05
"""Difference of accuracies that is worth a question."""


def state(
    output: Output,
    member: Member,
    reached: float,
    images: Images,
    what: str,
    data: DataSet,
    channels: int,
    known: Sequence[float] = (),
) -> None:
    """Says what a full network reaches and at which image size; asks where that is hardly what it was trained to.

    Args:
        output: Where to.
        member: The network.
        reached: Its accuracy.
        images: That it was measured on.
        what: Kind of these images, in words.
        data: Their data set.
        channels: That the network takes.
        known: Its accuracies by earlier reports.
    """
    height, width = data.image_shape[1:]
    size = f"{height} by {width} pixels"
    normalized = f"mean {_numbers(data.mean)}, std {_numbers(data.std)}{_turned(data.image_shape[0], channels)}"
    output.say(
        f"{member.name}, unpruned: {reached:.2%} of {len(images)} {what} images right, at {size} ({data.name}; "
        f"{normalized})"
    )
    if images is data.test and (seen := perhaps_seen(member, data)):
        output.say(seen)
    chance = _chance(reached, images)
    theirs = bool(chance) and _trained_so(member, reached, images)
    why = (not theirs and chance) or _doubt(member, reached, images, data, known)
    if theirs and reached <= _most_frequent(images):
        output.say(_untaught(chance))
    elif why:
        output.say(
            f"is this your accuracy? {why}; if the network was trained on images of another size than {size}, give it "
            "with --image-size N, and if with another normalization, with --mean and --std"
        )


def state_trained(output: Output, member: Member, data: DataSet) -> None:
    """Says where a member that was trained here has learned nothing; its accuracy is in its file."""
    said = float(load_metadata(member.path).get("held_out_accuracy", 1))
    images = data.train[split(data, member.split_seed).unsearched]
    if said <= _most_frequent(images):
        output.say(f"{member.name}: {said:.2%} of held-out images right; {_untaught(_chance(said, images))}")


def _untaught(chance: str) -> str:
    return (
        f"{chance}: its training reached no more, and nothing that is made of it can be judged; train it longer, "
        "with `pool --epochs N` in another --pool-dir"
    )


def _turned(own: int, channels: int) -> str:
    if own == channels:
        return ""
    return f"; grey, repeated for its {channels} channels" if own == 1 else "; colours turned to grey"


def _numbers(values: Sequence[float]) -> str:
    """Returns one number where all channels have the same."""
    return " ".join(f"{value:.3g}" for value in (values[:1] if len(set(values)) == 1 else values))


def perhaps_seen(member: Member, data: DataSet) -> str:
    """Returns a sentence on test images that a network may have learned from; nothing where it cannot have."""
    if not data.split_here or member.trained_on != "all":
        return ""
    return (
        f"{data.name} came without test images, so every fifth of its images is one; if {member.name} learned from "
        "these too, its accuracy here is too high: put what it never saw into a folder test, others into train"
    )


def state_pool(output: Output, problem: Problem, data_of: Callable[[str], DataSet]) -> None:
    """Says it of a pool, on the images that searches score on: its members' own accuracy, whatever else is measured."""
    problem = problem.with_settings(replace(problem.settings, measure="accuracy", statistics="none"))
    for member, channels, reached in zip(problem.members, problem.channels, problem.base(), strict=True):
        data = data_of(member.data)
        images = split(data, member.split_seed).images(data, "search")[: problem.settings.images]
        state(output, member, float(reached), images, "held-out", data, channels)
        if len(images) < problem.settings.images:
            output.say(
                f"scores look at these {len(images)}, not {problem.settings.images}: all that are held out to search on"
            )


def _trained_so(member: Member, reached: float, images: Images) -> bool:
    """Says whether the network had no more than an accuracy on held-out images at the end of its training here."""
    said = load_metadata(member.path).get("held_out_accuracy")
    return isinstance(said, int | float) and said <= accuracy_interval(reached, len(images))[1]


def _chance(reached: float, images: Images) -> str:
    """Says what needs no network, where that is as good; nothing elsewhere."""
    chance = _most_frequent(images)
    near = accuracy_interval(reached, len(images))[0] <= chance
    return f"saying the most frequent class each time gives {chance:.2%}" if near else ""


def _most_frequent(images: Images) -> float:
    return int(torch.bincount(images.labels).max()) / len(images)


def _doubt(member: Member, reached: float, images: Images, data: DataSet, known: Sequence[float]) -> str:
    """Returns why an accuracy can hardly be the network's own, though it is above chance; nothing where it can."""
    low, high = accuracy_interval(reached, len(images))
    metadata = load_metadata(member.path)
    trained = metadata.get("data")
    if trained is not None and trained != data.name:
        return f"{member.path} says that it was trained on {trained}"
    said = metadata.get("held_out_accuracy")
    claims = [(f"{member.path} says", float(said))] if isinstance(said, int | float) else []
    claims += [("earlier results say", value) for value in known]
    far = next((claim for claim in claims if abs(claim[1] - reached) > _FAR and not low <= claim[1] <= high), None)
    return f"{far[0]} {far[1]:.2%}" if far else ""
