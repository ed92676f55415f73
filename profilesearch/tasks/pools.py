"""Model pools: several trained models of one architecture."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from profilesearch.errors import UsageError, one_line
from profilesearch.networks.architectures import build, stem_channels
from profilesearch.networks.checkpoints import load_fitting, load_metadata, load_network, save_network
from profilesearch.networks.cost import evaluated
from profilesearch.networks.identity import code_identity
from profilesearch.networks.names import entry_of, folder_name
from profilesearch.system.progress import Progress
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import best_precision
from profilesearch.tasks.inputs import input_channels
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.recipe import Recipe
from profilesearch.tasks.splits import split
from profilesearch.tasks.training import suited, train
from profilesearch.tasks.unfinished import Unfinished

TrainedOn = Literal["train", "all"]
_ROUNDING = 2**-7
"""Relative size of what rounding to bfloat16 changes, at most, and little enough to be no training."""


@dataclass(frozen=True)
class Member:
    """One trained model of a pool.

    Attributes:
        name: Short name for tables and the ledger.
        architecture: Name of its architecture.
        data: Name of the data set that it classifies.
        path: Its weights.
        trained_on: `train` if its weights never saw the held-out images, `all` if they did (or may have); searches
            then score on images that the weights learned from, and say so.
        split_seed: Of the split that it was trained with.
    """

    name: str
    architecture: str
    data: str
    path: Path
    trained_on: TrainedOn
    split_seed: int = 0

    def load(self) -> nn.Module:
        """Builds the network with its weights, in evaluation mode."""
        return load_network(self.architecture, self.path)


def foreign_member(architecture: str, path: Path, data: DataSet) -> Member:
    """Takes a checkpoint from elsewhere into a pool.

    What it says of the images that it learned from is believed if these are the same images in the same order; else it
    may have learned from every training image.

    Raises:
        UsageError: The checkpoint is broken, of another architecture, or has another number of classes than `data`.
    """
    metadata = load_metadata(path)
    model = load_network(architecture, path)
    _check_normalization(path, metadata, data)
    classes = _outputs(model, example_shape(model, data))
    if classes != data.num_classes:
        raise UsageError(
            f"{path} has {classes} classes, but {data.name} has {data.num_classes}; name its own data set with `data`"
        )
    seed = metadata.get("split_seed", 0)
    apart = metadata.get("trained_on") == "train" and metadata.get("images") == data.train.digest
    trained_on: TrainedOn = "train" if apart and _held_out(metadata, data, seed) else "all"
    return Member(foreign_name(path), architecture, data.name, path, trained_on, seed)


def foreign_name(path: Path) -> str:
    """Returns what a pool calls the network of a checkpoint from elsewhere."""
    file, entry = entry_of(path)
    return one_line(f"{file.stem}#{entry}" if entry else file.stem)


def trained_name(architecture: str, data: DataSet, seed: int) -> str:
    """Returns what a pool calls a network that was trained here."""
    return f"{architecture}-{data.name}-seed{seed}"


def _held_out(metadata: Mapping[str, Any], data: DataSet, seed: int) -> bool:
    """Says whether the images that a network of ours did not learn from are those that the split holds out today."""
    digest = split(data, seed).digest
    return bool(metadata.get("held_out", digest) == digest)


def check_unseen(targets: Sequence[Member], pool: Sequence[Member]) -> None:
    """Checks that no target is a model of the pool, under whatever name and in whatever precision.

    Raises:
        UsageError: One is.
    """
    known = [(member, member.load()) for member in pool]
    for target, (member, network) in itertools.product(targets, known):
        if _same_weights(target.load(), network):
            raise UsageError(
                f"{target.path} has the weights of {member.path}, which is in the pool; a target must be a model that "
                "the search does not see"
            )


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Says whether two networks are one but for rounding to half precision, of either kind."""
    ours, theirs = (dict(network.named_parameters()) for network in (one, other))
    if {name: each.shape for name, each in ours.items()} != {name: each.shape for name, each in theirs.items()}:
        return False
    with torch.no_grad():
        return all(
            torch.linalg.vector_norm(ours[name] - theirs[name]) <= _ROUNDING * torch.linalg.vector_norm(ours[name])
            for name in ours
        )


def _check_normalization(path: Path, metadata: Mapping[str, Any], data: DataSet) -> None:
    """Refuses a network of ours for images that are normalized otherwise than those that it learned from."""
    mean, std = (metadata.get(name) for name in ("mean", "std"))
    if mean and std and (mean, std) != (list(data.mean), list(data.std)):
        raise UsageError(f"{path} was trained with other normalization; give `mean={mean}` `std={std}`")


def _outputs(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Returns how many class scores a network gives for images of a shape."""
    name = type(model).__name__
    try:
        with torch.no_grad():
            made = model(torch.zeros(1, *shape))
    except Exception as error:  # whatever a network of one's own raises
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{name} cannot take a batch of images of shape {shape}: {reason}; check the architecture, and the "
            "size of its `images`"
        ) from error
    if not isinstance(made, torch.Tensor) or made.dim() != 2:
        raise UsageError(
            f"{name} returns a {type(made).__name__}; it must return its class scores, as one tensor (N, C)"
        )
    return made.shape[1]


def example_shape(model: nn.Module, data: DataSet) -> tuple[int, int, int]:
    """Shape of one input, (C, H, W): the network's channels, the data set's resolution."""
    return input_channels(model, data.image_shape), *data.image_shape[1:]


def pool_path(pool_dir: Path, architecture: str, data: str, seed: int) -> Path:
    """Where a member that we train lies."""
    return pool_dir / folder_name(architecture) / f"{data}-seed{seed}.safetensors"


def default_recipe(data: DataSet) -> Recipe:
    """The recipe that pools are trained with: 40 epochs, 30 gentler ones for the tiny images of digits."""
    if min(data.image_shape[1:]) < 16:
        return Recipe(epochs=30, lr=0.05, batch=64, shift=1)
    return Recipe(epochs=40, lr=0.2, weight_decay=3e-4, schedule="linear", small=0.6, shift=_shift(data))


def tuning_recipe(data: DataSet, epochs: int, **settings: Any) -> Recipe:
    """The recipe that pruned networks are fine-tuned with; `settings` replace its other values."""
    tiny = {"shift": 1, "batch": 64} if min(data.image_shape[1:]) < 16 else {"shift": _shift(data)}
    return Recipe(epochs, **{"lr": 0.02, **tiny, **settings})


def _shift(data: DataSet) -> int:
    """Largest random shift: the customary 4 pixels of 32 by 32 images, and in proportion above."""
    return max(4, min(data.image_shape[1:]) // 8)


def trained_member(architecture: str, data: DataSet, seed: int, pool_dir: Path) -> Member | None:
    """Returns a member that was trained before, or None.

    Raises:
        UsageError: Its file is broken.
    """
    path = pool_path(pool_dir, architecture, data.own_name, seed)
    if not path.exists():
        return None
    metadata = load_metadata(path)
    seed_of_split = metadata.get("split_seed", 0)
    same = metadata.get("images", data.train.digest) == data.train.digest
    if not same or not _held_out(metadata, data, seed_of_split):
        raise UsageError(
            f"{path} was trained on other images that are called {data.name} too, or other ones were held out; give "
            "another `pool_dir`, or remove the file"
        )
    _check_normalization(path, metadata, data)
    member = Member(trained_name(architecture, data, seed), architecture, data.name, path, "train", seed_of_split)
    network = member.load()
    code = code_identity(network, example_shape(network, data))
    if metadata.get("code", code) != code:
        raise UsageError(
            f"{path} was trained when {architecture} computed something else{_other_torch(metadata)}; give "
            "it to `load_network` to take its weights as they are, or remove the file, and it is trained again"
        )
    return member


def _other_torch(metadata: Mapping[str, Any]) -> str:
    """Returns the other reason for other operations, for the message: a version of torch may choose its own."""
    wrote, reads = metadata.get("torch"), str(torch.__version__)
    return "" if wrote == reads else f", or in other steps (torch {wrote or 'of then'} wrote it, {reads} reads it)"


def train_member(
    architecture: str,
    data: DataSet,
    seed: int,
    pool_dir: Path,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    start: Path | None = None,
    say: Callable[[str], None] | None = None,
    device: torch.device | None = None,
) -> Member:
    """Trains a member on the train part of the split, unless it is there already; resumes an interrupted training.

    Args:
        architecture: Its name.
        data: What it shall classify.
        seed: Of initialization, order and augmentation.
        pool_dir: Folder of all pools.
        recipe: How; the default recipe of the data set where None.
        progress: Called after every batch.
        start: Weights of another task to start from, in place of random ones; what does not fit stays random.
        say: Called with a line for people when memory runs out.
        device: Where to train; the processor where None.

    Raises:
        UsageError: The folder cannot be written, the training diverges, or `start` does not fit.
    """
    member = trained_member(architecture, data, seed, pool_dir)
    if member is not None:
        return member
    path = pool_path(pool_dir, architecture, data.own_name, seed)
    recipe = replace(recipe or default_recipe(data), seed=seed)
    recipe = replace(recipe, precision=recipe.precision or best_precision(device))
    channels = stem_channels(architecture, data.image_shape[0])
    model = untrained(architecture, data, channels, seed, start)
    recipe = suited(recipe, model, data)
    parts = split(data)
    model.to(device or "cpu")
    with Unfinished(path.with_suffix("")) as resume:
        train(model, data, parts.images(data, "train"), recipe, None, progress, resume, say)
        metadata = {
            "architecture": architecture,
            "num_classes": data.num_classes,
            "in_channels": channels,
            "data": data.name,
            "images": data.train.digest,
            "mean": data.mean,
            "std": data.std,
            "seed": seed,
            "split_seed": parts.seed,
            "code": code_identity(model, example_shape(model, data)),
            "torch": str(torch.__version__),
            "held_out": parts.digest,
            "trained_on": "train",
            "recipe": asdict(recipe),
            "start": start.stem if start else "",
            "held_out_accuracy": accuracy(model, data, data.train[parts.unsearched], "fp32"),
        }
        save_network(path, model, metadata, half=True)
    return Member(trained_name(architecture, data, seed), architecture, data.name, path, "train", parts.seed)


def untrained(architecture: str, data: DataSet, channels: int, seed: int, start: Path | None = None) -> nn.Module:
    """Returns the network that the training of a member with this seed starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(architecture, data.num_classes, channels)
    if start is not None:
        load_fitting(model, start)
    _outputs(evaluated(model), example_shape(model, data))
    return model


def learning_images(member: Member, data: DataSet) -> Images:
    """Returns what a member may be fine-tuned on: what it learned from, so that held-out images stay held out."""
    return data.train if member.trained_on == "all" else split(data, member.split_seed).images(data, "train")


def held_out_accuracy(member: Member, data: DataSet) -> float:
    """Accuracy of a member on the held-out images that searches do not score on."""
    return accuracy(member.load(), data, data.train[split(data, member.split_seed).unsearched])
