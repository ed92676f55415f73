"""Running statistics, of BatchNorm and InstanceNorm, in trainings of few steps."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_SPANS = 10
_USUAL = 0.1
"""PyTorch's own momentum, with which statistics are those of the last ten steps or so."""


@contextmanager
def keeping_up(model: nn.Module, steps: int) -> Iterator[None]:
    """Lets running statistics keep up with the weights, however short the training is.

    Some published networks average over thousands of steps (3,333 in torchvision's MNASNet, 100 in its MobileNetV3), or
    over all that they ever saw (momentum None). After a training of hundreds, most of their statistics would still be
    those that it started with, and accuracy next to none. Each such layer averages over a tenth of the training
    meanwhile, and has its own momentum afterwards.

    Args:
        model: Changed meanwhile.
        steps: Of the whole training.
    """
    least = min(_USUAL, _SPANS / max(1, steps))
    own = {
        module: module.momentum
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and _slower(module.momentum, least)
    }
    try:
        for module in own:
            module.momentum = least
        yield
    finally:
        for module, momentum in own.items():
            module.momentum = momentum


def _slower(momentum: float | None, least: float) -> bool:
    """Says whether a layer averages over too many steps; one of momentum 0 is not to average at all."""
    return momentum is None or 0 < momentum < least
