"""Tiny networks of ten families, for small images: what the policy for any network learns on.

All have a 3x3 stem of stride 1 and at most four steps down, so that images of 32 by 32 pixels, or of 8 by 8, are
enough. The blocks are torchvision's.
"""

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn


def _of(family: str) -> Any:
    """Returns a module of torchvision, which takes a second or two to import and has no types."""
    return importlib.import_module(f"torchvision.models.{family}")


def _stem(channels_in: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)


def _unit(channels_in: int, channels: int) -> list[nn.Module]:
    return [_stem(channels_in, channels), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _module(network: Any) -> nn.Module:
    """Says what torchvision, which has no types, returns."""
    made: nn.Module = network
    return made


def _chain(layers: Iterable[nn.Module], channels: int, num_classes: int, hidden: int = 0) -> nn.Sequential:
    """Returns layers behind one another, then the mean over the image and a classifier of one or two layers."""
    head = [nn.Linear(channels, hidden), nn.ReLU(inplace=True)] if hidden else []
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *pool, *head, nn.Linear(hidden or channels, num_classes))


def vgg_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """VGG with BatchNorm: plain 3x3 convolutions, and a hidden linear layer."""
    layers: list[nn.Module] = []
    before = in_channels
    for channels, blocks in ((16, 2), (32, 2), (64, 2), (64, 1)):
        for _ in range(blocks):
            layers += _unit(before, channels)
            before = channels
        layers += [nn.MaxPool2d(2, ceil_mode=True)]
    return _chain(layers, before, num_classes, hidden=64)


def resnext_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """ResNeXt: bottlenecks with grouped convolutions."""
    layers, before, block = _unit(in_channels, 32), 32, _of("resnet").Bottleneck
    for planes, stride in ((8, 1), (8, 1), (16, 2), (16, 1), (16, 1), (32, 2), (32, 1), (32, 1)):
        after = planes * block.expansion
        down = None
        if stride > 1 or after != before:
            down = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
        layers += [block(before, planes, stride, down, groups=8, base_width=16)]
        before = after
    return _chain(layers, before, num_classes)


def squeezenet_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """SqueezeNet with BatchNorm behind every fire module."""
    layers, before, fire = _unit(in_channels, 32), 32, _of("squeezenet").Fire
    for squeeze, expand, pool in ((8, 32, 1), (8, 32, 0), (16, 48, 1), (16, 48, 0), (24, 64, 1), (24, 64, 0)):
        layers += [nn.MaxPool2d(2, ceil_mode=True)] * pool
        layers += [fire(before, squeeze, expand, expand), nn.BatchNorm2d(2 * expand)]
        before = 2 * expand
    return _chain(layers, before, num_classes)


def googlenet_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """GoogLeNet: inception modules of four branches."""
    layers, before, block = _unit(in_channels, 32), 32, _of("googlenet").Inception
    for width, pool in ((16, 1), (16, 0), (24, 1), (24, 0), (32, 1)):
        layers += [nn.MaxPool2d(2, ceil_mode=True)] * pool
        layers += [block(before, width, width, 2 * width, width // 4, width // 2, width // 2)]
        before = 4 * width
    return _chain(layers, before, num_classes)


def densenet_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """DenseNet: three blocks whose layers see all layers before."""
    sizes = {"growth_rate": 8, "block_config": (3, 3, 3), "num_init_features": 16}
    network = _of("densenet").DenseNet(**sizes, num_classes=num_classes)
    network.features.conv0 = _stem(in_channels, 16)
    network.features.pool0 = nn.Identity()
    return _module(network)


def shufflenet_v2_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """ShuffleNetV2: half of the channels pass by, then both halves are shuffled."""
    network = _of("shufflenetv2").ShuffleNetV2([2, 4, 2], [24, 48, 96, 144, 192], num_classes=num_classes)
    network.conv1[0] = _stem(in_channels, 24)
    network.maxpool = nn.Identity()
    return _module(network)


def mnasnet_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """MNASNet at 0.35 of its width: depthwise blocks with kernels of 3 and 5."""
    network = _of("mnasnet").MNASNet(0.35, num_classes=num_classes, dropout=0.0)
    first = network.layers[0]
    network.layers[0] = _stem(in_channels, first.out_channels)
    return _module(network)


def mobilenet_v2_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """MobileNetV2: depthwise blocks, wide inside, with residual sums where they are narrow."""
    blocks = [[1, 16, 1, 1], [4, 16, 2, 2], [4, 24, 3, 2], [4, 40, 2, 2]]
    network = _of("mobilenetv2").MobileNetV2(num_classes, 1.0, blocks, dropout=0.0)
    network.features[0][0] = _stem(in_channels, 32)
    return _module(network)


def mobilenet_v3_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """MobileNetV3: depthwise blocks with gates."""
    rows = [(16, 3, 16, 16, False, 1), (16, 3, 64, 24, False, 2), (24, 3, 72, 24, True, 1), (24, 5, 96, 40, True, 2),
            (40, 5, 120, 40, True, 1), (40, 5, 160, 56, True, 2)]  # fmt: skip
    family = _of("mobilenetv3")
    blocks = [family.InvertedResidualConfig(i, k, e, o, gate, "HS", s, 1, 1.0) for i, k, e, o, gate, s in rows]
    network = family.MobileNetV3(blocks, 256, num_classes, dropout=0.0)
    network.features[0][0] = _stem(in_channels, 16)
    return _module(network)


def efficientnet_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """EfficientNet: depthwise blocks with gates, wider and deeper with every stage."""
    rows = [(1, 3, 1, 16, 16, 1), (4, 3, 2, 16, 24, 2), (4, 5, 2, 24, 32, 2), (4, 3, 2, 32, 48, 2)]
    family = _of("efficientnet")
    blocks = [family.MBConvConfig(e, k, s, i, o, n, 1.0, 1.0) for e, k, s, i, o, n in rows]
    network = family.EfficientNet(blocks, 0.0, num_classes=num_classes, last_channel=192)
    network.features[0][0] = _stem(in_channels, 16)
    return _module(network)


def regnet_y_tiny(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """RegNetY: blocks of grouped convolutions with gates, whose widths grow linearly."""
    family = _of("regnet")
    sizes = family.BlockParams.from_init_params(depth=7, w_0=24, w_a=20.0, w_m=2.0, group_width=8, se_ratio=0.25)
    norm = partial(nn.BatchNorm2d)
    network = family.RegNet(sizes, num_classes, stem_width=24, activation=nn.ReLU, norm_layer=norm)
    network.stem[0] = _stem(in_channels, 24)
    return _module(network)


TINY_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    made.__name__: made
    for made in (
        densenet_tiny,
        efficientnet_tiny,
        googlenet_tiny,
        mnasnet_tiny,
        mobilenet_v2_tiny,
        mobilenet_v3_tiny,
        regnet_y_tiny,
        resnext_tiny,
        shufflenet_v2_tiny,
        squeezenet_tiny,
        vgg_tiny,
    )
}
"""By name."""
