"""What images a network takes: how many channels, and in what order they lie in memory."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from profilesearch.errors import UsageError, no_memory
from profilesearch.networks.cost import evaluating
from profilesearch.networks.outputs import real_outputs
from profilesearch.system.streams import streams_kept
from profilesearch.tasks.hardware import device_of

_ROUNDING = 1e-3
"""Part of a network's outputs by which another order of the same sums may move them."""


def input_channels(model: nn.Module, image_shape: tuple[int, ...]) -> int:
    """Returns how many channels a network takes, found by running it.

    Args:
        model: In any mode, on any device; not changed.
        image_shape: Of one image, (C, H, W); its own channels are tried first.

    Raises:
        UsageError: The network takes no such images, whatever their channels.
    """
    first = [module.in_channels for module in model.modules() if isinstance(module, nn.modules.conv._ConvNd)]
    reasons: dict[int, Exception] = {}
    for channels in dict.fromkeys([image_shape[0], 3, 1, *first]):
        try:
            _run(model, _images(model, (channels, *image_shape[1:])))
            return channels
        except Exception as error:  # whatever a network of one's own raises
            if no_memory(error):
                raise
            reasons[channels] = error
    likely = first[0] if first else image_shape[0]
    said = (str(reasons[likely]).splitlines() or [type(reasons[likely]).__name__])[0]
    raise UsageError(
        f"{type(model).__name__} cannot take a batch of images of shape {(likely, *image_shape[1:])}: {said}; check "
        "the architecture, and the size of its `images`"
    ) from reasons[likely]


def layout(model: nn.Module, image_shape: tuple[int, ...]) -> torch.memory_format:
    """Returns the order of values in memory that a network runs fastest in: channels last, where it runs so.

    A network that flattens its images with `view` needs them contiguous, and so do weights of other dimensions.

    Args:
        model: In any mode, on any device; not changed.
        image_shape: Of one image as the network takes it, (C, H, W).
    """
    images = _images(model, image_shape)
    return torch.contiguous_format if _run_last(model, images) is None else torch.channels_last


def arranged(model: nn.Module, images: Tensor) -> Tensor:
    """Returns images in the order in memory that a network runs fastest in, see `layout`, if it gives the same so.

    Args:
        model: In any mode, on any device; not changed.
        images: As the network takes them, (N, C, H, W), on any device.
    """
    some = images[:2].to(device_of(model), next(model.parameters()).dtype)
    given = _run_last(model, some)
    if given is None:
        return images
    wanted = _run_quietly(model, some)
    same = len(given) == len(wanted) and all(map(_near, given, wanted))
    return images.contiguous(memory_format=torch.channels_last) if same else images


def _run_last(model: nn.Module, images: Tensor) -> list[Tensor] | None:
    """Returns what a network gives for images whose channels, and those of its weights, are last; None if nothing."""
    if any(tensor.dim() > 4 for tensor in model.parameters()):  # of 3-d convolutions, which have an order of their own
        return None
    weights = {
        name: tensor.detach().contiguous(memory_format=torch.channels_last)
        for name, tensor in model.named_parameters()
        if tensor.dim() == 4
    }
    try:
        return _run_quietly(model, images.contiguous(memory_format=torch.channels_last), weights)
    except Exception:  # whatever a network of one's own raises, such as of a `view`
        return None


def _run_quietly(model: nn.Module, images: Tensor, weights: Mapping[str, Tensor] | None = None) -> list[Tensor]:
    """Returns what a network gives, and leaves its buffers and the random streams as they are."""
    kept = {name: tensor.clone() for name, tensor in model.named_buffers()}
    with streams_kept(), evaluating(model), torch.no_grad():
        return real_outputs(functional_call(model, {**kept, **(weights or {})}, (images.clone(),)))


def _near(one: Tensor, other: Tensor) -> bool:
    """Says whether two outputs are one but for rounding."""
    if one.shape != other.shape:
        return False
    one, other = one.double(), other.double()  # some are masks
    return bool(torch.linalg.vector_norm(one - other) <= _ROUNDING * torch.linalg.vector_norm(other))


def arrange(images: Tensor, order: torch.memory_format) -> Tensor:
    """Returns images in an order in memory; those of one channel may look like both, and are copied for one."""
    if order == torch.contiguous_format:
        return images.clone(memory_format=order)
    return images.contiguous(memory_format=order)


def _images(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(2, *shape, device=device_of(model), dtype=next(model.parameters()).dtype)


def _run(model: nn.Module, images: Tensor) -> None:
    with evaluating(model), torch.no_grad():
        try:
            model(images)
        except RuntimeError as error:
            if not no_memory(error):
                raise
            model(images[:1])  # memory may suffice for one
