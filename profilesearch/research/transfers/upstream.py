"""Upstream: the network that methods compress, the data it knows, and how long they may train there."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from profilesearch.errors import UsageError
from profilesearch.networks.checkpoints import load_metadata, load_pruned, save_network
from profilesearch.profiles import Metric
from profilesearch.pruning import reestimate_statistics
from profilesearch.research.transfers.ways import Ways
from profilesearch.store import Store
from profilesearch.system.parts import tell
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.inputs import input_channels
from profilesearch.tasks.names import Precision
from profilesearch.tasks.pools import Member, default_recipe, learning_images, tuning_recipe, untrained
from profilesearch.tasks.training import Hook, suited, train
from profilesearch.tasks.unfinished import Unfinished

_STATISTICS = 2000


@dataclass(frozen=True)
class Upstream:
    """What methods start from. Those that start from the source may train as long as one another, and so may those that
    start from random weights.

    Attributes:
        source: The trained network.
        data: What it was trained on.
        store: Where profiles lie.
        epochs: Of methods that start from the source.
        scratch: Of methods that start from random weights.
        seed: Of order, augmentation and random weights.
        work: Folder of unfinished trainings.
        metric: What levels remove a part of, where tensors get smaller.
        precision: Of forward passes; the processor's best where None.
        ways: How methods work.
        map_from: Relative whose stored profiles are carried over; or nothing, to take the architecture's own.
    """

    source: Member
    data: DataSet
    store: Store
    epochs: int
    scratch: int
    seed: int = 0
    work: Path | None = None
    metric: Metric = "params"
    precision: Precision | None = None
    ways: Ways = field(default_factory=Ways)
    map_from: str | None = None
    _unfinished: dict[str, Unfinished] = field(default_factory=dict, compare=False, repr=False)

    def trained(self) -> nn.Module:
        """Returns the source."""
        return self.source.load()

    def fresh(self, seed: int) -> nn.Module:
        """Returns the architecture with random weights, those that a member of this seed starts from."""
        channels = input_channels(self.trained(), self.data.image_shape)
        return untrained(self.source.architecture, self.data, channels, seed)

    def original(self) -> nn.Module:
        """Returns the weights that the source's training started from.

        Raises:
            UsageError: They are not known: it was trained elsewhere, or started from other weights.
        """
        metadata = load_metadata(self.source.path)
        if "recipe" not in metadata or metadata.get("start"):
            raise UsageError(
                f"the original initialization of {self.source.name} is not known; give a source that `pool` trained "
                "from random weights, such as --upstream cifar10 without --checkpoint"
            )
        return self.fresh(int(metadata["seed"]))

    def first(self) -> nn.Module:
        """Returns what methods start from that need not start from the source."""
        return self.trained() if self.ways.start == "source" else self.fresh(self.seed)

    @property
    def steps(self) -> int:
        """How many steps a network that starts from the source trains."""
        return self.epochs * max(1, len(learning_images(self.source, self.data)) // tuning_recipe(self.data, 1).batch)

    def go_on(self, model: nn.Module, name: str, hook: Hook) -> None:
        """Trains what `first` returned."""
        (self.tune if self.ways.start == "source" else self.learn)(model, name, hook)

    def tune(self, model: nn.Module, name: str, hook: Hook | None = None, epochs: int | None = None) -> None:
        """Trains a network that starts from the source; `name` is that of what is kept of it."""
        epochs = self.epochs if epochs is None else epochs
        if not epochs:
            self.settle(model)
            return
        distill = self.ways.distill
        recipe = tuning_recipe(self.data, epochs, lr=0.05, seed=self.seed, precision=self.precision, distill=distill)
        images, resume = learning_images(self.source, self.data), self._resume(name)
        teacher = self.trained() if distill else None
        train(model, self.data, images, recipe, teacher, tell, resume, hook=hook)

    def learn(self, model: nn.Module, name: str, hook: Hook | None = None) -> None:
        """Trains a network that starts from random weights, as pools are trained."""
        recipe = replace(default_recipe(self.data), epochs=self.scratch, seed=self.seed, precision=self.precision)
        recipe = suited(recipe, model, self.data)
        images, resume = learning_images(self.source, self.data), self._resume(name)
        train(model, self.data, images, recipe, None, tell, resume, hook=hook)

    def cached(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        """Returns a network that several methods need, made once."""
        path = self.work / f"{name}.safetensors" if self.work else None
        if path is not None and path.exists():
            return load_pruned(path, self.source.architecture)
        model = make()
        if path is not None:
            channels = input_channels(model, self.data.image_shape)
            sizes = {"num_classes": self.data.num_classes, "in_channels": channels}
            save_network(path, model, {"architecture": self.source.architecture, **sizes})
            if name in self._unfinished:
                self._unfinished.pop(name).remove()
        return model

    def saved(self) -> None:
        """Says that what was trained is on disk, so that the states of its trainings may go."""
        for unfinished in self._unfinished.values():
            unfinished.remove()

    def settle(self, model: nn.Module) -> None:
        """Re-estimates the BatchNorm statistics of a network that is not trained."""
        reestimate_statistics(model, self.data, self.sample(_STATISTICS))

    def sample(self, count: int) -> Images:
        """Returns some of the images that the source learned from, drawn at random."""
        images = learning_images(self.source, self.data)
        return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))[:count]]

    def _resume(self, name: str) -> Unfinished | None:
        return self._unfinished.setdefault(name, Unfinished(self.work / name)) if self.work else None


def pool_command(member: Member, data: str) -> str:
    """Returns the command that trains a source on `data`, as people write it; nothing where its file does not say."""
    metadata = load_metadata(member.path)
    recipe = metadata.get("recipe")
    if not recipe or metadata.get("start"):
        return ""
    numbers = ["--seeds", str(metadata["seed"]), "--epochs", str(recipe["epochs"]), "--lr", f"{recipe['lr']:g}"]
    return shlex.join(["python", "-m", "profilesearch.pool", "--arch", member.architecture, "--data", data, *numbers])


def source_epochs(member: Member) -> int | None:
    """Returns how long a source was trained, its start included; None where its file does not say."""
    metadata = load_metadata(member.path)
    epochs = (metadata.get("recipe") or {}).get("epochs")
    return None if epochs is None or metadata.get("start") else int(epochs)
