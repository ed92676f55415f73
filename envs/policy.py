"""A trained policy as plain numbers: it decides a profile for any network, without the code that trained it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envs.episode import ANY, EpisodeBatch, Finished
from profilesearch.errors import UsageError
from profilesearch.evidence import provenance
from profilesearch.networks.checkpoints import load_tensors, write_tensors
from profilesearch.networks.reading import tensor_digest
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Profile
from profilesearch.system.files import write_atomically

SCHEMA = 1
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Policy:
    """A small network from what is seen of a group (see `envs.episode.ANY`) to its action.

    Attributes:
        layers: Weight (outputs, inputs) and bias (outputs,) of each layer; tanh between them.
        about: How it was trained, and its evidence, as plain data.
    """

    layers: tuple[tuple[Array, Array], ...]
    about: Mapping[str, Any]

    def act(self, observations: Array) -> Array:
        """Returns the actions that the policy holds for best, shape (N,), in [-1, 1]; observations (N, F)."""
        values = observations
        for place, (weight, bias) in enumerate(self.layers):
            values = (np.tanh(values) if place else values) @ weight.T + bias
        actions: Array = np.clip(values[:, 0], -1, 1)
        return actions

    def finished(self, space: ProfileSpace) -> Finished:
        """Decides all groups of a network under the budget of `space`: widths (1, G), on that budget."""
        episode = EpisodeBatch(space, 1, ANY)
        while not episode.done:
            episode.act(self.act(episode.observe()))
        return episode.finish()

    def profile(self, space: ProfileSpace) -> Profile:
        """Returns the profile that the policy decides for a network under the budget of `space`."""
        finished = self.finished(space)
        own_cost = round(float(finished.own_cost[0]), 4)
        found = provenance({"searcher": "policy", "general": self.digest, "policy": {"own_cost": own_cost}})
        return space.profile(finished.widths[0], found)

    @property
    def digest(self) -> str:
        """Hash of its weights."""
        return tensor_digest(self._tensors())[:16]

    def with_about(self, **more: Any) -> "Policy":
        """Returns the same policy with more said about it."""
        return replace(self, about={**self.about, **more})

    def save(self, path: Path) -> None:
        """Writes the policy as one safetensors file, what is said about it as JSON in its metadata.

        Raises:
            UsageError: The file cannot be written.
        """
        about = {**self.about, "schema": SCHEMA, "features": list(ANY.names), "policy": self.digest}
        write_atomically(path, lambda temporary: write_tensors(temporary, self._tensors(), about))

    @classmethod
    def load(cls, path: Path) -> "Policy":
        """Reads a policy.

        Raises:
            UsageError: The file is missing, damaged, or no policy that this version can use.
        """
        tensors, about = load_tensors(path)
        if about.get("schema") != SCHEMA or about.get("features") != list(ANY.names):
            raise UsageError(
                f"{path} is no policy that this version of profilesearch can use; train one with `profilesearch policy "
                "train`, or take `profile='uniform'`"
            )
        count = len(tensors) // 2
        layers = [
            (tensors[f"{place}.weight"].numpy(), tensors[f"{place}.bias"].numpy())
            for place in range(count)
            if f"{place}.weight" in tensors and f"{place}.bias" in tensors
        ]
        sizes = [len(ANY.names), *(bias.size for _, bias in layers)]
        fits = all(
            (weight.shape, bias.shape) == ((after, before), (after,))
            for (weight, bias), before, after in zip(layers, sizes, sizes[1:], strict=False)
        )
        if not layers or len(tensors) != 2 * len(layers) or sizes[-1] != 1 or not fits:
            raise UsageError(f"{path} is no policy: its layers do not fit one another; train it again")
        return cls(tuple(layers), about)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {
            f"{place}.{name}": torch.from_numpy(np.ascontiguousarray(each))
            for place, layer in enumerate(self.layers)
            for name, each in zip(("weight", "bias"), layer, strict=True)
        }
