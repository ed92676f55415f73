"""What is kept of a training until its result is safe."""

import glob
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from profilesearch.errors import UsageError
from profilesearch.networks.checkpoints import load_state, load_tensors, write_tensors
from profilesearch.networks.reading import tensor_digest
from profilesearch.system.files import write_atomically

_ENDING = ".resume.safetensors"


class Unfinished:
    """The states of the trainings behind one result, as files that are removed once that is written.

    A file is named after the training itself, so that those of other settings stand beside it, and the same command
    finds its own. In a `with` block around the training and the writing of its result, the states are removed at the
    end, unless there was an error.

    Args:
        result: What the files' names begin with, such as the result's own path.
        seconds: Least time between two states of a training, for those whose epochs take less than writing one.

    Attributes:
        seconds: As given.
    """

    def __init__(self, result: Path, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._result = result
        self._used: set[Path] = set()

    def file(self, identity: str) -> Path:
        """Returns the file of a training, which is removed with the others from now on."""
        path = self._result.with_name(f"{self._result.name}.{identity}{_ENDING}")
        self._used.add(path)
        return path

    def remove(self) -> None:
        """Removes the states of those trainings that ran here: their result is safe."""
        for path in self._used:
            path.unlink(missing_ok=True)

    def remove_all(self) -> None:
        """Removes every state, for a result that only one training can have, wherever that ran."""
        for path in self._result.parent.glob(f"{glob.escape(self._result.name)}.*{_ENDING}"):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.remove()


class State:
    """Weights and momentum after an epoch.

    Args:
        unfinished: Where the file is; nothing is kept where None.
        model: Whose weights.
        optimizer: Whose momentum.
        about: All that the training depends on, but the weights that it starts from.
    """

    def __init__(
        self, unfinished: Unfinished | None, model: nn.Module, optimizer: torch.optim.SGD, about: Mapping[str, Any]
    ) -> None:
        self._path: Path | None = None
        self._pause = 0.0 if unfinished is None else unfinished.seconds
        self._last = time.monotonic()
        self._model = model
        self._optimizer = optimizer
        if unfinished is not None:
            text = json.dumps([about, tensor_digest(model.state_dict())], sort_keys=True)
            self._identity = hashlib.sha256(text.encode()).hexdigest()[:16]
            self._path = unfinished.file(self._identity)

    def load(self) -> int:
        """Restores the saved state, if there is a good one; returns the number of finished epochs."""
        if self._path is None or not self._path.exists():
            return 0
        try:
            tensors, metadata = load_tensors(self._path)
        except UsageError:
            return 0  # damaged
        if metadata.get("identity") != self._identity:
            return 0  # renamed by hand
        load_state(self._model, {name: tensors[f"weights/{name}"] for name in self._model.state_dict()})
        for name, parameter in self._model.named_parameters():
            if f"momentum/{name}" in tensors:
                momentum = torch.empty_like(parameter.detach())  # in the order in memory that updates want
                self._optimizer.state[parameter]["momentum_buffer"] = momentum.copy_(tensors[f"momentum/{name}"])
        return int(metadata["epoch"])

    @property
    def due(self) -> bool:
        """Whether it is time to write the state."""
        return self._path is not None and time.monotonic() - self._last >= self._pause

    def save(self, epoch: int) -> None:
        """Writes the state after `epoch` epochs, if it is time to.

        Raises:
            UsageError: It cannot be written.
        """
        if self._path is None or not self.due:
            return
        tensors = {f"weights/{name}": tensor for name, tensor in self._model.state_dict().items()}
        for name, parameter in self._model.named_parameters():
            momentum = self._optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:  # frozen or unused parameters have none
                tensors[f"momentum/{name}"] = momentum
        metadata = {"identity": self._identity, "epoch": epoch}
        write_atomically(self._path, lambda temporary: write_tensors(temporary, tensors, metadata))
        self._last = time.monotonic()
