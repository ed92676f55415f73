"""Whether images look as those did that a network was trained on: its first BatchNorm layer remembers these."""

from typing import Any

import torch
from torch import Tensor, nn

from profilesearch.networks.cost import evaluating
from profilesearch.networks.tracking import tensors

_FEW, ENOUGH = 8, 64
"""Images to look at: of fewer, nothing is said, since two may differ by chance."""
_FAR = 3.0
"""Times more or less variance, in half of the channels, than in training."""
_AWAY = 2.0
"""Standard deviations of training, in half of the channels, between the means."""


def unfamiliar(network: nn.Module, images: Tensor) -> str:
    """Says how images differ from those of the training, behind the first layers; nothing where they hardly do.

    Nor where it cannot be told: in networks without BatchNorm, or whose layers never saw a batch. Images in [0, 1] have
    a fifth to a twentieth of the variance of normalized ones. Other data sets, normalized, had 0.6 to 0.9 times that of
    training in a ResNet-20 of CIFAR-10.

    Args:
        network: Not changed.
        images: As it takes them, (N, C, H, W), two or more, on its device; some of the first are looked at.
    """
    if len(images) < _FEW:
        return ""
    seen: list[tuple[nn.modules.batchnorm._BatchNorm, Tensor]] = []

    def stop(norm: nn.modules.batchnorm._BatchNorm, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((norm, tensors((args, kwargs))[0]))
        raise _EnoughSeenError

    norms = [each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(stop, with_kwargs=True) for norm in norms if norm.running_var is not None]
    try:
        with torch.no_grad(), evaluating(network):
            network(images[:ENOUGH].clone())  # which some change in place
    except _EnoughSeenError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return _difference(*seen[0]) if seen else ""


class _EnoughSeenError(Exception):
    pass


def _difference(norm: nn.modules.batchnorm._BatchNorm, given: Tensor) -> str:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or (not mean.any() and bool((variance == 1).all())):
        return ""
    others = [dim for dim in range(given.dim()) if dim != 1]
    room = variance + norm.eps
    times = float((given.var(others) / room).median())
    away = float(((given.mean(others) - mean).abs() / room.sqrt()).median())
    if 1 / _FAR < times < _FAR and away < _AWAY:
        return ""
    return (
        f"images look unlike those that the network was trained on: at its first BatchNorm layer they have {times:.2g} "
        f"times the variance, and lie {away:.1f} standard deviations away; are they normalized as for training?"
    )
