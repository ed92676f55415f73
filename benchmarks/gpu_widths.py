"""What a convolution and BatchNorm cost on a CUDA device, by the number of channels.

    python benchmarks/gpu_widths.py

Forward and backward, 128 images, in microseconds: the mean over a CUDA graph of twenty, replayed five times.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

CUDA = torch.device("cuda")
SIZES = ((16, 32), (11, 32), (32, 16), (22, 16), (64, 8), (45, 8))
"""Channels, and pixels of a side."""
INSIDE, REPLAYS = 20, 5


def microseconds(work: Callable[[], object]) -> float:
    """Returns the time of one call, without what it takes to hand its kernels over."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin()
        for _ in range(INSIDE):
            work()
        graph.capture_end()
        stream.synchronize()
        start = time.perf_counter()
        for _ in range(REPLAYS):
            graph.replay()
        stream.synchronize()
    return (time.perf_counter() - start) / (INSIDE * REPLAYS) * 1e6


def row(channels: int, side: int, order: torch.memory_format, dtype: torch.dtype) -> tuple[float, float]:
    """Returns the microseconds of a 3 by 3 convolution and of BatchNorm."""
    images = torch.randn(128, channels, side, side, device=CUDA, dtype=dtype).contiguous(memory_format=order)
    images.requires_grad_()
    above = torch.randn_like(images)
    weight = torch.randn(channels, channels, 3, 3, device=CUDA, dtype=dtype).contiguous(memory_format=order)
    weight.requires_grad_()
    scale, shift = (torch.ones(channels, device=CUDA, requires_grad=True) for _ in range(2))
    mean, variance = torch.zeros(channels, device=CUDA), torch.ones(channels, device=CUDA)

    def convolution() -> tuple[Tensor, ...]:
        return torch.autograd.grad(functional.conv2d(images, weight, padding=1), (images, weight), above)

    def normalization() -> tuple[Tensor, ...]:
        made = functional.batch_norm(images, mean, variance, scale, shift, training=True)
        return torch.autograd.grad(made, (images, scale, shift), above)

    return microseconds(convolution), microseconds(normalization)


def main() -> None:
    """Prints the table."""
    print(torch.cuda.get_device_name())
    for dtype in (torch.bfloat16, torch.float32):
        for order in (torch.channels_last, torch.contiguous_format):
            for channels, side in SIZES:
                convolution, normalization = row(channels, side, order, dtype)
                words = f"{str(dtype)[6:]}, {str(order)[6:]}, {channels} channels of {side} by {side}"
                print(f"{words}: convolution {convolution:.0f}, BatchNorm {normalization:.0f}", flush=True)


if __name__ == "__main__":
    main()
