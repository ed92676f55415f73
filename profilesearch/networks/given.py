"""Networks as people's programs hold them: what they must be, a plain copy of one to work on, and the way back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from profilesearch.errors import UsageError, no_memory
from profilesearch.networks.cost import evaluated
from profilesearch.networks.plan import copied
from profilesearch.networks.raising import raised_where


def plain_copy(network: nn.Module) -> nn.Module:
    """Returns a copy of a network on the processor, in single precision and evaluation mode.

    Args:
        network: Of any precision, mode and device; never changed.

    Raises:
        UsageError: It is none, is wrapped or compiled, or has no weights yet.
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"this takes a torch.nn.Module, got a {type(network).__name__}; load the weights into one")
    kind = type(network).__name__
    if isinstance(network, torch.jit.ScriptModule):
        raise UsageError(f"{kind} is compiled to TorchScript; give the torch.nn.Module that it was made of")
    parts = {name: each for name, each in network.named_modules() if isinstance(each, torch.jit.ScriptModule)}
    fixed = [name for name, part in parts.items() if any(each.requires_grad for each in part.parameters())]
    if fixed:
        raise UsageError(f"{kind} has a part that is compiled to TorchScript, '{fixed[0]}'; give it as it was before")
    inner = {name: getattr(each, "_orig_mod", None) for name, each in network.named_modules()}
    compiled = [name for name, each in inner.items() if isinstance(each, nn.Module)]
    if compiled:
        what = f"a part of {kind}, '{compiled[0]}'," if compiled[0] else "the network"
        raise UsageError(f"{what} was compiled with torch.compile; give the one that was compiled")
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise UsageError(f"the network is wrapped in {kind}; give its .module")
    if any(is_lazy(each) for each in network.parameters()):
        raise UsageError(f"{kind} has layers of unknown size (lazy modules); pass one image through it first")
    first = next((each for each in network.parameters() if each.is_floating_point()), None)
    if first is None or first.device.type == "meta":
        raise UsageError(f"{kind} has no weights of floating point; load them first, and quantize it afterwards")
    return evaluated(copied(network).cpu().float())


def answer(network: nn.Module, images: Tensor) -> Any:
    """Returns what a plain copy of a network gives for images.

    Args:
        network: As `plain_copy` returns it.
        images: Of any precision, on any device; never changed.

    Raises:
        UsageError: The network's own code does not take them.
    """
    try:
        with torch.no_grad():
            return network(images.to("cpu", torch.float32, copy=True))  # which some change in place
    except Exception as error:  # whatever the network's own code raises
        if no_memory(error):
            raise
        raise UsageError(f"{type(network).__name__} cannot take these images ({raised_where(error)})") from error


def layout_of(tensor: Tensor) -> torch.memory_format:
    """Returns whether a tensor lies channels last, or, where both are one, as torch lays it out."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.dim(), torch.contiguous_format)
    return last if tensor.is_contiguous(memory_format=last) and not tensor.is_contiguous() else torch.contiguous_format


def like(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors laid out as a network's, and in its precision if this changes no value of any of them.

    Args:
        network: Of any precision and layout.
        tensors: In single precision or more, by its names.
    """
    parameters, buffers = (m(remove_duplicate=False) for m in (network.named_parameters, network.named_buffers))
    own = {**dict(parameters), **dict(buffers)}
    cast = {name: each.to(own[name].dtype) for name, each in tensors.items()}
    kept = (torch.allclose(cast[name].to(each.dtype), each, 0, 0, equal_nan=True) for name, each in tensors.items())
    found = cast if all(kept) else tensors
    return {name: each.contiguous(memory_format=layout_of(own[name])) for name, each in found.items()}
