"""Which network it is: what it computes, operation by operation, and with which weights; its name says neither."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from profilesearch.networks.cost import evaluating
from profilesearch.networks.reading import tensor_digest


def network_identity(network: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """Hash of a network's weights, and of the operations that its forward pass consists of.

    The code is known by what it does, not by its text: of two versions that run the same operations on the same
    tensors, one is as good as the other, and a library's new version is another network only where it computes
    something else.

    Args:
        network: On any device; run once in evaluation mode on a fixed image, and left unchanged.
        image_shape: Shape of one image, (C, H, W).
    """
    return hashlib.sha256(f"{weights_digest(network)} {code_identity(network, image_shape)}".encode()).hexdigest()[:16]


def weights_digest(network: nn.Module) -> str:
    """Hash of a network's weights."""
    return tensor_digest(dict((*network.named_parameters(), *network.named_buffers())))


def code_identity(network: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """Hash of the operations, in their order, with all arguments; tensors by where they come from.

    Args:
        network: As for `network_identity`.
        image_shape: Likewise.
    """
    network = _plain(network)
    first = next(network.parameters(), torch.empty(0))
    image = torch.rand(1, *image_shape, generator=torch.Generator().manual_seed(0)).to(first.device, first.dtype)
    notes = _Notes(network, image)
    # Whatever a network raises, it raises again where it is used.
    with suppress(Exception), evaluating(network), torch.random.fork_rng(devices=[]), torch.no_grad(), notes:
        network(image)
    return notes.digest.hexdigest()[:16]


def _plain(network: nn.Module) -> nn.Module:
    """Returns the network on the processor with its tensors in plain order: others would be run by other operations."""
    parameters = list(network.parameters())
    if all(each.device.type == "cpu" and each.stride() == _stride(each) for each in parameters):
        return network
    with suppress(RuntimeError):  # old-style weight normalization cannot be copied
        network = copy.deepcopy(network).cpu()
        for each in network.parameters():
            each.data = each.data.clone(memory_format=torch.contiguous_format)
    return network


def _stride(tensor: Tensor) -> tuple[int, ...]:
    return torch.empty(tensor.shape, device="meta").stride()


class _Notes(TorchDispatchMode):
    """Hashes every operation."""

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.digest = hashlib.sha256()
        self._names: dict[int, str] = {id(image): "image"}
        self._names |= {id(tensor): name for name, tensor in network.named_buffers()}
        self._names |= {id(tensor): name for name, tensor in network.named_parameters()}
        self._made: list[Tensor] = [image]  # kept, since another tensor might get the place of one that is gone

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.digest.update(f"{func} {' '.join(self._words([*args, *sorted((kwargs or {}).items())]))}\n".encode())
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, Tensor) and id(each) not in self._names:
                self._names[id(each)] = str(len(self._made))
                self._made.append(each)
        return out

    def _words(self, given: Any) -> Iterator[str]:
        if isinstance(given, Tensor):
            if id(given) not in self._names:  # a constant
                self._names[id(given)] = tensor_digest({"": given})
                self._made.append(given)
            yield self._names[id(given)]
        elif isinstance(given, tuple | list):
            yield "("
            for each in given:
                yield from self._words(each)
            yield ")"
        else:
            yield str(given)
