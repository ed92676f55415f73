"""Numeric precision, chosen by looking at the processor."""

from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def best_precision() -> Precision:
    """Returns `bf16` where the processor multiplies bfloat16 in hardware (AMX or AVX-512), and `fp32` elsewhere."""
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"
