"""The modes of torch that whole threads share: what a caller has set must not decide what is computed here."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_AUTOCAST = ("cpu", "cuda")


@contextmanager
def own_modes() -> Iterator[None]:
    """Computes as a fresh process does, and leaves the caller's modes as they were.

    Programs search in the middle of their own work: under `no_grad`, where no policy learns, under `inference_mode` or
    `autocast`, where layers run that no trace sees, or with another default device or type, which new tensors get.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for kind in filter(torch.is_autocast_enabled, _AUTOCAST):
            modes.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        kept = torch.get_default_dtype()
        if kept != torch.float32:
            modes.callback(torch.set_default_dtype, kept)
            torch.set_default_dtype(torch.float32)
        yield
