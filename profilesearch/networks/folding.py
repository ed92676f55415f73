"""Folding: BatchNorm with fixed statistics becomes part of the convolution before it."""

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

Pair = tuple[str, str]
"""Names of a convolution and of the BatchNorm that alone reads it."""


def foldable(model: nn.Module) -> list[Pair]:
    """Finds convolutions whose only reader is a BatchNorm; none in networks that torch.fx cannot trace.

    Left out are layers that do more than their kind says, and BatchNorm without running statistics.

    Args:
        model: Any network; never changed.
    """
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # of any kind: it runs the network's own code on stand-ins
        return []
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    once = {node.target for node in calls if sum(other.target == node.target for other in calls) == 1}
    pairs = []
    for node in calls:
        before = node.args[0] if node.args else None
        if (
            isinstance(modules[node.target], nn.BatchNorm2d)
            and isinstance(before, fx.Node)
            and before.op == "call_module"
            and isinstance(modules[before.target], nn.Conv2d)
            and len(before.users) == 1
            and {node.target, before.target} <= once
            and _is_plain(modules[before.target])
            and _is_plain(modules[node.target])
            and modules[node.target].running_mean is not None
        ):
            pairs.append((str(before.target), str(node.target)))
    return pairs


def _is_plain(module: nn.Module) -> bool:
    """Says whether a layer computes what its kind does: hooks may change what goes in, comes out, or weighs."""
    return not (module._forward_hooks or module._forward_pre_hooks or is_parametrized(module))


def fold(model: nn.Module, pairs: list[Pair], order: torch.memory_format = torch.channels_last) -> None:
    """Folds BatchNorm layers, in evaluation mode, into their convolutions, in place.

    Args:
        model: Changed.
        pairs: From `foldable`.
        order: Of the new weights' values in memory.
    """
    with torch.no_grad():
        for convolution, norm in pairs:
            fused = fuse_conv_bn_eval(model.get_submodule(convolution), model.get_submodule(norm))  # type: ignore[arg-type, type-var]
            model.set_submodule(convolution, fused.to(memory_format=order))
            model.set_submodule(norm, nn.Identity())
