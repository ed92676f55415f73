"""Training by several processes, started by torch's own launcher: `torchrun ... -m profilesearch.apply ...`."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from profilesearch.errors import UsageError

Value = TypeVar("Value")
MEETING = timedelta(minutes=3)
"""How long the processes wait until all of them are there; once they are, nothing has to be as fast."""


@dataclass(frozen=True)
class World:
    """The processes that train one network together.

    Every process prepares the same batches and takes its share, so that a step is that of one process on the whole
    batch; only BatchNorm sees the shares.

    Attributes:
        rank: Number of this process; 0 writes the files and talks.
        size: How many processes.
        device: Where this process trains.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def agree(self, epoch: int, optimizer: torch.optim.SGD) -> int:
        """Takes over where the first process is, since the others may lie on machines that do not have its files.

        Args:
            epoch: Finished epochs, as this process knows.
            optimizer: Gets the first process's momentum.

        Returns:
            The first process's finished epochs. Its weights follow when the network is wrapped.
        """
        if self.size == 1:
            return epoch
        number = torch.tensor(epoch)
        distributed.broadcast(number, 0)
        for parameter in (each for group in optimizer.param_groups for each in group["params"]):
            momentum = optimizer.state[parameter].get("momentum_buffer")
            known = torch.tensor(momentum is not None)
            distributed.broadcast(known, 0)
            if known:
                plain = (torch.zeros_like(parameter) if momentum is None else momentum).contiguous()
                distributed.broadcast(plain, 0)  # which sends memory as it lies
                optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter.detach()).copy_(plain)
        return int(number)

    def first(self, make: Callable[[], Value]) -> Value:
        """Returns what the first process makes, which may depend on its clock or its files, in all processes."""
        made = [make() if self.leads else None]
        if self.size > 1:
            distributed.broadcast_object_list(made, 0, device=torch.device("cpu"))
        return made[0]  # type: ignore[return-value]

    def wrap(self, model: nn.Module) -> nn.Module:
        """Returns the network with gradients averaged over the processes; the same network where there is one.

        The processes start from the first one's weights.
        """
        if self.size == 1:
            return model
        own = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=own)

    def share(self, batch: Tensor) -> Tensor:
        """Returns this process's part of a batch, of equal size for all."""
        if len(batch) < 2 * self.size:
            raise UsageError(f"a batch of {len(batch)} is too small for {self.size} processes; start fewer")
        return batch[: len(batch) // self.size * self.size][self.rank :: self.size]


@contextmanager
def joined(device: torch.device, meeting: timedelta = MEETING) -> Iterator[World]:
    """Joins the processes that `torchrun` started, if it did; leaves them at the end.

    Args:
        device: Where to train. For `cuda`, every process of a machine takes a device of its own.
        meeting: How long to wait for the other processes.

    Raises:
        UsageError: The processes cannot find each other, there are more of them than devices, or the environment that
            torchrun sets makes no sense.
    """
    size = _setting("WORLD_SIZE", 1, 1, 4096)
    if device.type == "cuda":
        device = device if size == 1 else _own_device(device)
        if device.index is not None:  # the one that NCCL uses, and that is waited for when times are taken
            torch.cuda.set_device(device)
    if size == 1:
        yield World(device=device)
        return
    _setting("RANK", 0, 0, size - 1)
    _setting("MASTER_PORT", 1, 1, 65535)
    import_module("torch.distributed.nn")  # after the next lines, its functions would keep the group as a default
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", timeout=meeting))
        store.set_timeout(distributed.default_pg_timeout)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"WORLD_SIZE is {size}, but {str(error).splitlines()[0]}; start processes with torchrun, or unset it"
        ) from error
    yield World(distributed.get_rank(), size, device)
    gc.collect()  # nothing may hold the group longer: its threads end with it, and one that outlives Python aborts
    distributed.destroy_process_group()  # not after an error: the others may be waiting for this process


def _setting(name: str, default: int, least: int, most: int) -> int:
    """Reads a number that torchrun puts into the environment of each process."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(
            f"the environment's {name} must be from {least} to {most}, got '{text}'; start processes with torchrun, or "
            "unset WORLD_SIZE"
        )
    return int(text)


def _own_device(asked: torch.device) -> torch.device:
    """Returns the CUDA device of this process."""
    place, there = _setting("LOCAL_RANK", 0, 0, 4095), torch.cuda.device_count()
    if asked.index is not None:
        raise UsageError(f"processes of torchrun share out the devices themselves; write `device='cuda'`, not {asked}")
    if place >= there:
        raise UsageError(f"process {place + 1} of this machine finds {there} CUDA device(s); start {there} processes")
    return torch.device("cuda", place)
