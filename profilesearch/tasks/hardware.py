"""Devices, and the numeric precision that suits them, chosen by looking at the hardware."""

import torch
from torch import nn

from profilesearch.errors import UsageError
from profilesearch.tasks.names import PRECISIONS, Precision, check_device

DTYPES: dict[Precision, torch.dtype] = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16), strict=True))


def open_device(name: str) -> torch.device:
    """Returns a device by name: `cpu`, `cuda`, `cuda:1`.

    Raises:
        UsageError: The name is unknown, or there is no such device here.
    """
    check_device(name)
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no device '{name}' here; torch sees {torch.cuda.device_count()} CUDA device(s)")
    return device


def device_of(model: nn.Module) -> torch.device:
    """Returns where a network's parameters are."""
    return next(model.parameters()).device


def best_precision(device: torch.device | None = None) -> Precision:
    """Returns `bf16` where bfloat16 is multiplied in hardware, and `fp32` elsewhere.

    Args:
        device: The processor where None: it needs AMX or AVX-512.
    """
    if device is not None and device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"
