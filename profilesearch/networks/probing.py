"""What pruning is checked on: a network and images that let every channel make a difference to what comes out."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from profilesearch.networks.cost import evaluating, in_training
from profilesearch.networks.outputs import real_outputs
from profilesearch.networks.raising import raised_where
from profilesearch.networks.tracking import tensors
from profilesearch.system.streams import streams_kept


def probe(model: nn.Module, example: Tensor, single: bool = False) -> tuple[nn.Module, Tensor]:
    """Returns what pruning is checked on: a copy of a network, in double precision or `single`, and two random images.

    Scales and shifts of the copy are random, and so are weights of nothing but zeros, because zeros, as some networks
    start with, hide mistakes. Statistics are those of the images, disturbed: behind many layers of any others, no
    channel would make a difference to the outputs.
    """
    generator = torch.Generator().manual_seed(0)
    copied = copy.deepcopy(model).requires_grad_(False)
    copied = copied.float() if single else copied.double()
    for tensor in named_tensors(copied).values():
        if tensor.is_floating_point() and tensor.numel() == max(tensor.shape, default=1):
            tensor.uniform_(0.5, 1.5, generator=generator)
    for weight in copied.parameters():
        if weight.is_floating_point() and weight.numel() and not weight.any():
            weight.normal_(0, (len(weight) / weight.numel()) ** 0.5, generator=generator)
    batch = torch.rand(2, *example.shape[1:], dtype=torch.float64, generator=generator)
    batch = batch.float() if single else batch
    runs = copy.deepcopy(copied, {id(tensor): tensor for tensor in named_tensors(copied).values()})
    for module in runs.modules():
        if all(isinstance(getattr(module, name, None), Tensor) for name in ("running_mean", "running_var")):
            module.register_forward_pre_hook(partial(_settle, generator), with_kwargs=True)
    with evaluating(runs), torch.no_grad():
        run(runs, batch)
    return copied, batch


def _settle(generator: torch.Generator, norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Gives a layer, before it runs, the statistics of what it is given: half to one and a half times the variance."""
    mean, variance, given = norm.running_mean, norm.running_var, tensors((args, kwargs))
    assert isinstance(mean, Tensor) and isinstance(variance, Tensor)  # noqa: S101  just looked for
    if not given or given[0].shape[1:2] != mean.shape:
        return  # one of an unknown kind
    channels = given[0].transpose(0, 1).flatten(1)
    spread, shift = (torch.empty_like(mean).uniform_(-0.5, 0.5, generator=generator) for _ in range(2))
    mean.copy_(channels.mean(1) + shift * channels.std(1, unbiased=False))
    variance.copy_(channels.var(1, unbiased=False) * (1 + spread) + 1e-6)


def run(model: nn.Module, batch: Tensor, seed: int = 0) -> list[Tensor]:
    """Runs a network, which may draw random numbers even in evaluation mode; returns all of its outputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return real_outputs(model(batch.clone()))  # which some change in place


def stops_training(network: nn.Module, batch: Tensor) -> str:
    """Says why a network does not run in training mode, in which it is left; empty where it does."""
    try:
        with torch.no_grad(), streams_kept():
            in_training(network)(batch.clone())
    except Exception as error:  # whatever the network's own code raises
        return raised_where(error)
    return ""


def difference(ones: list[Tensor], others: list[Tensor]) -> float:
    """Largest difference of an output, relative to the largest value of that output."""
    pairs = [(one, other) for one, other in zip(ones, others, strict=False) if one.shape == other.shape and one.numel()]
    return max((_distance(one.double(), other.double()) for one, other in pairs), default=0.0)


def _distance(one: Tensor, other: Tensor) -> float:
    off = torch.where(one == other, 0.0, (one - other).abs())  # also where both are infinite
    return float(off.max() / other.abs().where(other.isfinite(), 0.0).max().clamp_min(1e-12))


def told(model: nn.Module, batch: Tensor) -> list[Tensor]:
    """Returns what a network last tells whole numbers or truths by, such as the scores behind the class it returns.

    Scores may be wrong and the class right all the same.
    """
    telling = _Telling()
    with telling:
        run(model, batch)
    return telling.by


class _Telling(TorchDispatchMode):
    """Keeps the last fractions that something else was made of.

    Attributes:
        by: These fractions; empty where there are none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [tensor for tensor in tensors(args) if tensor.is_floating_point()]
        if given and not all(tensor.is_floating_point() for tensor in tensors(out)):
            self.by = given[:1]
        return out


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns all parameters and buffers of a network by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
