"""Discovers the channel groups of any torch network, by running it on labels instead of images.

Every tensor that the network makes carries a second tensor of the same shape, whose entries say which channel of which
layer made them. Operations that move entries around (reshape, concatenation, shuffle, padding) move the labels in the
same way; those that combine entries (sums, products) tie their labels; whatever mixes channels in ways that pruning
cannot follow fixes them, with the reason. The idea of following couplings through the graph is that of DepGraph (Fang
et al. 2023, arXiv 2301.12900); following single entries needs no rule for each kind of layer that only moves them.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from profilesearch.errors import UsageError
from profilesearch.networks.cost import evaluating, in_training
from profilesearch.networks.counting import counted_name, is_counted
from profilesearch.networks.groups import GroupTable
from profilesearch.networks.labels import Labels
from profilesearch.networks.operations import Operations
from profilesearch.networks.outputs import outputs
from profilesearch.networks.rules import KINDS, Rules
from profilesearch.networks.tracking import tensors
from profilesearch.system.streams import streams_kept

_APART = 1_000_000
"""Number of the first operation of a training: kernels that are no parameters are others there."""


def trace(model: nn.Module, example: Tensor) -> GroupTable:
    """Finds all channel groups of `model`, in network order.

    Args:
        model: Any torch network; it is left unchanged.
        example: One input, shape (1, C, H, W).

    Returns:
        Groups of every scope, and the layers that are out of scope with their reasons.

    Raises:
        UsageError: The network cannot be run.
    """
    labels = Labels()
    with evaluating(model):
        used, reads = _run(model, example, labels)
        if reads:
            _check_control_flow(model, example, labels.table(), used)
    shared = {id(parameter): parameter for parameter in model.parameters()}
    # What training alone runs or returns; images may be too small for it, or targets missing.
    with suppress(UsageError), streams_kept():
        used |= _run(in_training(copy.deepcopy(model, shared)), example.repeat(2, 1, 1, 1), labels)[0]
    return labels.table({n: len(p) for n, p in model.named_parameters() if p.dim() > 1}, used)


def _check_control_flow(model: nn.Module, example: Tensor, table: GroupTable, used: set[str]) -> None:
    """Refuses a network that runs other layers, or in another order, for other images."""
    for other in (example + 9, example - 9, 9 * (example - 0.5)):
        labels = Labels()
        try:
            own, _ = _run(model, other, labels)
        except UsageError:
            continue  # one that only checks its images
        if own != used or labels.table().fingerprint != table.fingerprint:
            layers = sorted({name.rpartition(".")[0] for name in own ^ used})
            raise UsageError(
                f"{type(model).__name__} decides by what the images show which layers it runs"
                f"{f' ({layers[0]} for some of them alone)' if layers else ''}; profiles need a forward pass that is "
                "the same for all images"
            )


def _run(model: nn.Module, example: Tensor, labels: Labels) -> tuple[set[str], bool]:
    """Runs a network and collects its labels; returns what parameters it used, and whether it read a value."""
    rules = Rules(model, labels)
    example = example.clone()  # which some change in place
    rules.start(example)
    watched = _Operations(rules, _APART if model.training else 0)
    try:
        with torch.no_grad(), _running(model, rules), watched, _Layers(rules, watched):
            made = model(example)
    except Exception as error:
        raise UsageError(
            f"cannot trace {type(model).__name__} with an input of shape {tuple(example.shape)}: {error}; "
            "check the input size, and that the forward pass takes one batch of images"
        ) from error
    # Whatever a network returns while it trains is nobody's result.
    rules.fix(tensors(made) if model.training else outputs(made), "makes the outputs of the network")
    return rules.used, watched.operations.reads


@contextmanager
def _running(model: nn.Module, rules: Rules) -> Iterator[None]:
    """Tells the rules which module runs."""
    names = {module: name for name, module in model.named_modules()}

    def enter(module: nn.Module, _: Any) -> None:
        rules.running.append(names.get(module, ""))

    def leave(*_: Any) -> None:
        rules.running.pop()

    hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Operations(TorchDispatchMode):
    """Catches every operation, unless it is part of a layer that has its own rule; they are counted from `first` on."""

    def __init__(self, rules: Rules, first: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = Operations(rules)
        self.inside_layer = False
        self._rules = rules
        self._counted = first

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if is_counted(func):
            self._rules.operation_name = counted_name(self._counted)
            self._counted += 1
        if not self.inside_layer:
            self.operations.follow(func, args, kwargs or {}, out)
        return out


class _Layers(TorchFunctionMode):
    """Catches the layers that have rules of their own, before they are taken apart."""

    def __init__(self, rules: Rules, watched: _Operations) -> None:
        super().__init__()
        self._rules = rules
        self._watched = watched

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = KINDS.get(func)
        if rule is None:
            return func(*args, **(kwargs or {}))
        self._watched.inside_layer = True
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self._watched.inside_layer = False
        self._rules.batched = False
        rule(self._rules, out, *args, **(kwargs or {}))
        return out
