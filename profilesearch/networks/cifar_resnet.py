"""ResNets for small images (He et al. 2016, arXiv 1512.03385, section 4.2).

Three stages of 16, 32 and 64 channels, two 3x3 convolutions a block, parameter-free shortcuts that subsample and
pad with zero channels. Parameter names are those of the public checkpoints of this family, so these load as they are.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGE_WIDTHS = (16, 32, 64)


class ZeroPadShortcut(nn.Module):
    """Subsamples by two and pads the new channels with zeros, half on either side; has no parameters."""

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C + added, H / 2, W / 2)."""
        front = self.added // 2
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, front, self.added - front))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a residual sum."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Identity() if stride == 1 else ZeroPadShortcut(channels_out - channels_in)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, channels_in, H, W) to (N, channels_out, H / stride, W / stride)."""
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """A ResNet of depth 6 n + 2 for small images.

    Args:
        depth: 8, 20, 32, 44, 56, 110, or any other 6 n + 2.
        num_classes: Outputs of the last layer.
        in_channels: 3 for colour images, 1 for grey ones.

    Raises:
        ValueError: The depth is not of the form 6 n + 2.
    """

    def __init__(self, depth: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 (8, 14, 20, ...), got {depth}")
        blocks = (depth - 2) // 6
        first, second, third = STAGE_WIDTHS
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(blocks, first, first, stride=1)
        self.layer2 = _stage(blocks, first, second, stride=2)
        self.layer3 = _stage(blocks, second, third, stride=2)
        self.linear = nn.Linear(third, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))
        return logits


def _stage(blocks: int, channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels_out, stride)
    return nn.Sequential(first, *(BasicBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)))


DEPTHS = (8, 20, 32, 44, 56, 110)
CIFAR_RESNETS: dict[str, Callable[..., CifarResNet]] = {f"resnet{d}": partial(CifarResNet, d) for d in DEPTHS}


def resnet18_small(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """ResNet-18 for small images: torchvision's with a 3x3 stem of stride 1 and no pooling after it, as usual."""
    from torchvision.models import resnet18  # noqa: PLC0415  takes a second or two, for this network alone

    network: nn.Module = resnet18(num_classes=num_classes)
    network.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network
