"""Precisions and devices by name: read without torch, which takes seconds."""

import re
from typing import Literal

from profilesearch.errors import UsageError

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, Precision] = ("fp32", "bf16")
_DEVICE = re.compile(r"(cpu|cuda)(:(0|[1-9][0-9]?))?")


def check_device(name: str) -> None:
    """Checks that a name can be that of a device; whether there is one here, `open_device` says.

    Raises:
        UsageError: It cannot.
    """
    if not _DEVICE.fullmatch(name):
        raise UsageError(f"unknown device '{name}'; choose from cpu, cuda, cuda:1 and so on")
