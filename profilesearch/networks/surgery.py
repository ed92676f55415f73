"""Surgery: networks with really smaller tensors, cut by plain indices."""

import copy
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from profilesearch.errors import UsageError
from profilesearch.networks.cost import CostModel, evaluated, evaluating
from profilesearch.networks.counting import counted_macs
from profilesearch.networks.groups import ChannelGroup, GroupTable, OutOfScope
from profilesearch.networks.numbers import all_numbers, fit, following
from profilesearch.networks.probing import difference, named_tensors, probe, run, stops_training, told
from profilesearch.networks.raising import raised_where

TOLERANCE = 1e-6
"""Largest relative difference between a pruned and a masked network, in double precision."""
_SINGLE = 1e-4
"""The same in single precision, where networks run in no other."""
_TRIALS = 2


class Pruner:
    """Cuts one network to many profiles.

    Args:
        model: The full network; never changed.
        table: Its channel groups.
    """

    def __init__(self, model: nn.Module, table: GroupTable) -> None:
        self.model = model
        self.table = table
        self._tensors = named_tensors(model)
        self._follows: dict[str, list[tuple[int, ChannelGroup, Tensor]]] = defaultdict(list)
        for group in table.groups:
            for part in group.slices:
                self._follows[part.tensor].append((part.dim, group, torch.from_numpy(part.rows)))
        cuts: dict[tuple[str, int], set[tuple[str, int]]] = defaultdict(set)
        for name, follows in self._follows.items():
            for dim, group, rows in follows:
                cuts[name, dim].add((group.name, rows.shape[1]))
        self._numbers = following(model, {place: frozenset(groups) for place, groups in cuts.items()})
        self._held = {name: number for name, number in all_numbers(model).items() if name in self._follows}

    def prune(self, keep: Mapping[str, Tensor], share: bool = False) -> nn.Module:
        """Returns a smaller network.

        Args:
            keep: Kept channels of every group, sorted ascending, by group name.
            share: Lets tensors that are not cut be the full network's own. Faster, for networks that are only
                evaluated; training one would change the full network.
        """
        cut = {name: tensor.detach() for name, tensor in self.cut(keep).items()}
        shared = {id(tensor): tensor for tensor in self._tensors.values()}
        pruned = copy.deepcopy(self.model, shared)
        if not share:  # what was cut is a copy already
            cut = {n: each.clone() if each.shape == self._tensors[n].shape else each for n, each in cut.items()}
        numbers = {name: cut[tensor].shape[dim] for name, (tensor, dim) in self._numbers.items()}
        for name, number in self._held.items():
            gone = ((group.channels - len(keep[group.name])) * rows.shape[1] for _, group, rows in self._follows[name])
            numbers[name] = number - sum(gone)
        assign(pruned, cut, numbers)
        return pruned

    def cut(self, keep: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns what is left of every parameter and buffer, by name; gradients reach the full network's."""
        return {name: self._cut(name, tensor, keep) for name, tensor in self._tensors.items()}

    def _cut(self, name: str, tensor: Tensor, keep: Mapping[str, Tensor]) -> Tensor:
        stays: dict[int, Tensor] = {}
        for dim, group, rows in self._follows.get(name, ()):
            if len(keep[group.name]) == group.channels:
                continue
            removed = torch.ones(group.channels, dtype=torch.bool)
            removed[keep[group.name]] = False
            mask = stays.setdefault(dim, torch.ones(tensor.shape[dim], dtype=torch.bool))
            mask[rows[removed].flatten()] = False
        if stays.keys() == {0, 1}:  # one copy instead of two
            return tensor[stays[0].nonzero(), stays[1].nonzero()[:, 0]]
        for dim, mask in stays.items():
            tensor = tensor.index_select(dim, mask.nonzero()[:, 0].to(tensor.device))
        return tensor


def assign(model: nn.Module, tensors: Mapping[str, Tensor], numbers: Mapping[str, int] | None = None) -> None:
    """Replaces parameters and buffers by tensors of other shapes, and fits the layers' attributes to them.

    Args:
        model: Changed in place. Buffers of another shape become part of its state dict, if they were not: a file of it
            must be able to rebuild it.
        tensors: New values by name; a parameter stays a parameter.
        numbers: New values of whole numbers that layers of unknown kinds keep, by name, as `stem.channels`; where None,
            they are told by the shapes.
    """
    shared: dict[int, tuple[Tensor, Tensor]] = {}  # buffers of several names, with what they were
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        sizes: dict[int, set[int]] = defaultdict(set)
        for leaf, old in (*module._parameters.items(), *module._buffers.items()):
            new = tensors.get(prefix + leaf, shared.get(id(old), (old, None))[1])
            if old is None or new is None:
                continue
            shared[id(old)] = old, new
            for was, now in zip(old.shape, new.shape, strict=False):
                sizes[was].add(now)
            if leaf in module._parameters:
                module._parameters[leaf] = nn.Parameter(new, requires_grad=old.requires_grad)
            else:
                kept = leaf not in module._non_persistent_buffers_set
                module.register_buffer(leaf, new, kept or new.shape != old.shape)
        fit(module, sizes, numbers, prefix)


def check_plan(model: nn.Module, table: GroupTable, example: Tensor) -> GroupTable:
    """Checks that pruning equals masking and costs what it should, and excludes the groups for which it does not.

    The pruned network must give the same output as the full network whose layers ignore the pruned channels. All
    groups are checked together, at random widths; only if that fails, one after the other, beside those that passed.

    Args:
        model: The full network; never changed.
        table: Its channel groups.
        example: One input, shape (1, C, H, W).

    Returns:
        The table with the groups that passed.

    Raises:
        UsageError: Torch's counter of multiply-adds and ours differ on the full network.
    """
    model, batch, cost = _probed(model, table, example)
    if not table.groups:
        return table
    # What a number says is told by what it is equal to, which may be chance: it follows where it must.
    plain = [_plain(group, all_numbers(model)) for group in table.groups]
    if not _fault(model, table, table.groups, batch, cost):
        for place, each in enumerate(plain):
            trial = _exchanged(table, place, each)
            if each is not table.groups[place] and not _fault(model, trial, trial.groups, batch, cost):
                table = trial
        return table
    passed: list[ChannelGroup] = []
    failed = []
    for place, group in enumerate(table.groups):
        for each in dict.fromkeys((plain[place], group)):
            trial = _exchanged(table, place, each)
            fault = _fault(model, trial, (*passed, each), batch, cost)
            if not fault:
                passed.append(each)
                table = trial
                break
        else:
            failed.append(OutOfScope(group.name, group.channels, fault, group.layers))
    return replace(table, groups=tuple(passed), excluded=(*table.excluded, *failed))


def _plain(group: ChannelGroup, numbers: Mapping[str, int]) -> ChannelGroup:
    """Returns a group that no number follows: itself where none does."""
    slices = tuple(part for part in group.slices if part.tensor not in numbers)
    return group if len(slices) == len(group.slices) else replace(group, slices=slices)


def _exchanged(table: GroupTable, place: int, group: ChannelGroup) -> GroupTable:
    return replace(table, groups=(*table.groups[:place], group, *table.groups[place + 1 :]))


def check_widths(model: nn.Module, table: GroupTable, keep: Mapping[str, Tensor], example: Tensor) -> None:
    """Checks at the very channels that a network keeps what `check_plan` checks at random ones.

    A forward pass that asks whether two widths are equal, say, may be right at all widths but some.

    Args:
        model: The full network; never changed.
        table: Its channel groups.
        keep: The kept channels of every group.
        example: One input, shape (1, C, H, W).

    Raises:
        UsageError: The pruned network is not the masked one, or costs something else.
    """
    copied, batch, cost = _probed(model, table, example)
    fault = _fault_at(copied, table, keep, batch, cost)
    if fault:
        raise UsageError(
            f"{type(model).__name__} cannot be pruned to these widths, though to others: {fault}; keep another part of "
            "it, or give another profile"
        )


def _probed(model: nn.Module, table: GroupTable, example: Tensor) -> tuple[nn.Module, Tensor, CostModel]:
    """Returns what `probe` does, in single precision where a network's own code runs in no other, and its cost.

    Raises:
        UsageError: Torch's counter of multiply-adds and ours differ, or the network does not run on two images.
    """
    for single in (False, True):
        try:
            copied, batch = probe(model, example, single)
            return copied, batch, CostModel(copied, table, batch)
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # whatever the network's own code raises
            why = error
    raise UsageError(
        f"{type(model).__name__} runs on one image, but not on two random ones ({raised_where(why)}); let its forward "
        "pass take any batch"
    ) from why


def _fault(
    model: nn.Module, table: GroupTable, groups: tuple[ChannelGroup, ...], batch: Tensor, cost: CostModel
) -> str:
    """Says why some groups of a table cannot be pruned together; empty where they can."""
    faults = (_fault_at(model, table, _random_channels(groups, seed), batch, cost) for seed in range(_TRIALS))
    return next(filter(None, faults), "")


def _fault_at(model: nn.Module, table: GroupTable, keep: Mapping[str, Tensor], batch: Tensor, cost: CostModel) -> str:
    """Says why a network cannot be pruned to these channels of some groups of a table; empty where it can."""
    groups = tuple(group for group in table.groups if group.name in keep)
    widths = np.array([len(keep.get(group.name, range(group.channels))) for group in table.groups])
    with evaluating(model), torch.no_grad():
        try:
            masked = mask(model, groups, keep)
            expected = run(masked, batch)
            telling = not all(each.is_floating_point() for each in expected)
            behind = told(masked, batch) if telling else []
            del masked  # it and the pruned one at once may take too much memory
        except Exception as error:  # whatever the network's own code raises
            return f"the forward pass does not run where these channels are ignored ({raised_where(error)})"
        try:
            pruned = evaluated(Pruner(model, GroupTable(groups)).prune(keep))
            given = run(pruned, batch)
            macs = counted_macs(pruned, batch)
        except Exception as error:  # whatever the network's own code raises
            return f"the forward pass holds this width itself ({raised_where(error)})"
        shapes = [[tuple(each.shape) for each in several] for several in (given, expected)]
        if shapes[0] != shapes[1]:
            return f"the forward pass holds this width itself: it gives {', '.join(map(str, shapes[0]))}, pruned"
        if telling:
            given, expected = [*given, *told(pruned, batch)], [*expected, *behind]
        tolerance = TOLERANCE if batch.dtype == torch.float64 else _SINGLE
        if not difference(given, expected) < tolerance:
            again = difference(run(model, batch, 1), run(model, batch, 2))
            chance = ", since its forward pass draws random numbers" if again > tolerance else ""
            return f"the pruned network differs from the masked one{chance}"
    if macs != int(cost.macs(widths)):
        return "its multiply-adds do not follow its width"
    reason = stops_training(pruned, batch)
    # Not where the full network wants targets, say.
    only = reason and not stops_training(mask(model, groups, keep), batch)
    return f"the forward pass of a training holds this width itself ({reason})" if only else ""


def pruning_error(model: nn.Module, groups: tuple[ChannelGroup, ...], batch: Tensor, seed: int = 0) -> float:
    """Largest difference between a network pruned to random widths and the masked one, over their largest output.

    Args:
        model: The full network, in double precision; never changed.
        groups: What to prune.
        batch: Images.
        seed: Of the widths and the kept channels.
    """
    keep = _random_channels(groups, seed)
    with evaluating(model), torch.no_grad():
        pruned = evaluated(Pruner(model, GroupTable(groups)).prune(keep))
        return difference(run(pruned, batch), run(mask(model, groups, keep), batch))


def _random_channels(groups: tuple[ChannelGroup, ...], seed: int) -> dict[str, Tensor]:
    random = np.random.default_rng(seed)
    keep = {}
    for group in groups:
        width = random.integers(1, group.channels)
        kept = random.choice(group.channels, size=width, replace=False)
        keep[group.name] = torch.from_numpy(np.sort(kept))
    return keep


def mask(model: nn.Module, groups: tuple[ChannelGroup, ...], keep: Mapping[str, Tensor]) -> nn.Module:
    """Returns a copy of the full network whose layers ignore the pruned channels.

    What they compute still runs through the network: activations, shifts and normalizations that make something of
    nothing reach no layer all the same.
    """
    masked = evaluated(copy.deepcopy(model))  # some copies, as of torch.fx, come back training
    tensors = named_tensors(masked)
    with torch.no_grad():
        for group in groups:
            removed = np.setdiff1d(np.arange(group.channels), keep[group.name].numpy())
            for part in group.slices:
                if part.takes:
                    tensors[part.tensor].index_fill_(part.dim, torch.from_numpy(part.rows[removed].ravel()), 0)
    return masked
