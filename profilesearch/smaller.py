"""Any network with image inputs in, a smaller one out: what the library does in one call."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from profilesearch.errors import choose
from profilesearch.looking import Shown, looked_at
from profilesearch.measure.reaching import reached_in
from profilesearch.networks.checkpoints import save_network
from profilesearch.networks.cost import evaluated
from profilesearch.networks.criteria import MOST_SEEN, Batch, rank_channels
from profilesearch.networks.familiar import unfamiliar
from profilesearch.networks.given import answer, layout_of, plain_copy
from profilesearch.networks.idle import stranded
from profilesearch.networks.names import AUTO, REFITS
from profilesearch.networks.numbers import settle_like
from profilesearch.networks.plan import Plan
from profilesearch.networks.probing import named_tensors
from profilesearch.networks.surgery import Pruner
from profilesearch.profiles import METRICS, SCOPES, Budget, Metric, Profile, Scope
from profilesearch.pruning import Pruned, prune_ordered
from profilesearch.refitting import Refitted, mended, refit_on
from profilesearch.samples import batch_of, mixed, shape_of
from profilesearch.system.amounts import whole_number
from profilesearch.system.modes import own_modes
from profilesearch.system.progress import Progress
from profilesearch.system.streams import streams_kept
from profilesearch.taking import asked_for, taken
from profilesearch.tasks.inputs import arranged

_LEFT = "layers that the forward pass does not run were left as they are, and take channels that may be cut now"
_MISSING = ("no refit came closer to the full network; ", "give images, or ")
"""Why weights are as cut, with a refit and without."""


@dataclass(frozen=True, eq=False)
class Smaller:
    """A pruned network, and what was done to it.

    Attributes:
        network: With smaller tensors, in evaluation mode, independent of the full one.
        profile: By which it was cut, with what it reaches in this network (latency: as its file says).
        source: Where the profile is from: the name of one that needs no search, `given`, or the file of a stored one.
        why: Why it was taken, in one line.
        macs: Multiply-adds of one image, before and after.
        params: Parameters, before and after.
        refitted: Names of the weights that were fitted anew on images.
        refit: How: `sequential`, `full` or, where neither comes closer, `as cut`, perhaps with `statistics
            re-estimated`; `none` without images.
        image_shape: Of the inputs that multiply-adds are counted for, (C, H, W).
    """

    network: nn.Module
    profile: Profile
    source: str
    why: str
    macs: tuple[int, int]
    params: tuple[int, int]
    refitted: tuple[str, ...]
    refit: str
    image_shape: tuple[int, int, int]

    def save(self, path: str | Path) -> None:
        """Writes the network; `load_pruned(path, network=FULL)` gives it back, where FULL may be untrained.

        Of what the network keeps, the file has the tensors; other things in its state dict are those of FULL again.

        Args:
            path: A file that ends in `.safetensors`.

        Raises:
            UsageError: The file cannot be written.
        """
        save_network(path, self.network, {"architecture": self.profile.architecture})

    def __str__(self) -> str:
        """One line on the change."""
        (full, left), (params, fewer) = self.macs, self.params
        count, (_, height, width) = len(self.refitted), self.image_shape
        missing = "nothing was cut" if fewer == params else f"{_MISSING[self.refit == 'none']}fine-tune before use"
        refitted = f"{count} weights refitted" if count else f"no weights refitted: {missing}"
        return (
            f"{left / 1e6:.1f} M of {full / 1e6:.1f} M multiply-adds ({left / full:.1%}) at {height} by {width} pixels"
            f", {fewer / 1e6:.3f} M of {params / 1e6:.3f} M parameters ({fewer / params:.1%}); profile: {self.source}, "
            f"since {self.why}; {refitted}"
        )


@own_modes()
@streams_kept()
def prune(
    network: nn.Module,
    keep: float = 0.5,
    image_shape: tuple[int, int, int] | None = None,
    images: Tensor | None = None,
    *,
    profile: Profile | str | Path | None = None,
    metric: Metric = "macs",
    keep_params: float | None = None,
    scope: Scope | None = None,
    criterion: str | None = None,
    refit: str = AUTO,
    seed: int = 0,
    store: str | Path = "profiles",
    progress: Progress | None = None,
) -> Smaller:
    """Prunes any network that takes a batch of images, whatever it is called and whatever it returns.

    Where a stored profile fits the network's channel groups and the budget, that one is used, your own before those of
    the installation, moved onto the budget where it would miss that; else the policy for any network, if it has the
    evidence; else what each layer can lose is measured on the images, of which that needs ten; else every layer keeps
    the same part of its channels. The result says which, and why. Measure the accuracy, and fine-tune, before use.

    Args:
        network: Trained; never changed. Outputs, one or several in tuples, lists, dictionaries, keep their shapes.
        keep: Part of the cost to keep, in (0, 1]; like `metric`, a given `profile` has its own, as it has its `scope`.
        image_shape: Of one input, (C, H, W); that of `images` where None, and (3, 224, 224) without images.
        images: Normalized as for training (a warning says where they look otherwise), floating point, (N, C, H, W), two
            or more, in any order; weights are refitted on up to 500 from all over them. Without any they stay as they
            were: fine-tune before use.
        profile: A profile, its file or its name in `list` in place of one that is chosen, or one that needs no search:
            `uniform`, `widest`, `taper`, `random`, `policy`, or, with ten images or more, `sensitivity` and `blend`.
        metric: What is counted: `macs`, `params`, or `latency` (of this machine).
        keep_params: Part of the parameters to keep as well, in (0, 1]; only stored profiles that were searched for both
            are taken.
        scope: `block`, or `all` to prune residual streams too; where None, a stored profile's own, else `all` if
            `block` cannot be cut so far.
        criterion: Which channels stay: `random`, `l1`, `l2`, `fpgm`, `bn`, or `reconstruction`, where None with images.
        refit: `sequential`, `full`, `none`, or `auto`: what is closest to the network on a fifth of the images.
        seed: Of the criterion `random`, and of the profile `random`.
        store: Folder of stored profiles of your own, looked through before those of the installation.
        progress: Called with steps done, steps in all, and what is done, over and over: with images of 224 pixels it
            takes minutes. `print` will do.

    Raises:
        UsageError: The network cannot be pruned like this; the message says why.

    Example:
        >>> from torch import nn
        >>> from profilesearch import prune
        >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1))
        >>> small = prune(net, keep=0.5, image_shape=(3, 32, 32))
        >>> small.source, [layer.out_channels for layer in small.network if isinstance(layer, nn.Conv2d)]
        ('uniform', [10, 12, 4])
    """
    full, criterion = plain_copy(network), criterion or ("l1" if images is None else "reconstruction")
    _check(metric, scope, refit, seed)
    asked = asked_for(profile, Path(store), scope)
    plan = Plan(f"{type(network).__module__}:{type(network).__qualname__}", full, shape_of(images, image_shape))
    used = None if images is None else _usable(network, mixed(images, refit))
    seen = batch_of(used, criterion)
    shown = partial(_told, progress)
    order = cache(partial(_order, plan, criterion, seed, seen, shown))
    said: list[str] = []
    measures = looked_at(plan, order, lambda: seen, refit, shown, said.append, _workplace(network))
    budget, count = Budget(metric, keep, keep_params), 0 if seen is None else len(seen[0])
    chosen, source, why = taken(plan, budget, scope, Path(store), asked, seed, count, measures)
    for line in said:
        warnings.warn(line, stacklevel=4)
    pruned = prune_ordered(plan, chosen, order(chosen.scope))
    if left := stranded(full, pruned.table, pruned.keep, plan.example):
        warnings.warn(f"{_LEFT}: {', '.join(left)}", stacklevel=4)
    with shown("refitting weights") as move:
        refitted = _refitted(pruned, full, network, used, refit, move)
    reached, how = reached_in(chosen, pruned.cost, pruned.widths), (refitted.weights, str(refitted))
    return Smaller(_like(pruned, network), reached, source, why, *_counts(pruned), *how, plan.image_shape)


@contextmanager
def _told(progress: Progress | None, part: str) -> Iterator[Progress | None]:
    """Yields what tells how far a part of the work is."""
    yield progress and (lambda done, total, what: progress(done, total, f"{part}: {what}" if what else part))


def _usable(network: nn.Module, images: Tensor) -> Tensor:
    """Returns images that a network takes, in the order in memory that it runs fastest in."""
    other = plain_copy(network)  # which they may change
    answer(other, images[:1])
    return arranged(other, images)


def _order(plan: Plan, criterion: str, seed: int, seen: Batch | None, shown: Shown, scope: Scope) -> dict[str, Tensor]:
    """Returns the channels of each group of a scope, the most important first."""
    with shown("choosing channels") as move:
        return rank_channels(plan.network, plan.table.within(scope), criterion, seed, seen, move)


def _check(metric: str, scope: str | None, refit: str, seed: int) -> None:
    choose("metric", metric, METRICS)
    choose("scope", scope or SCOPES[0], SCOPES)
    choose("refit", refit, REFITS)
    whole_number("seed", seed)


def _counts(pruned: Pruned) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns multiply-adds and parameters, each before and after."""
    cost, full, left = pruned.cost, pruned.table.channels, pruned.widths
    return (int(cost.macs(full)), int(cost.macs(left))), (int(cost.params(full)), int(cost.params(left)))


def _refitted(
    pruned: Pruned, full: nn.Module, network: nn.Module, images: Tensor | None, refit: str, progress: Progress | None
) -> Refitted:
    """Refits a pruned network on images, where that can be done best, and leaves it there; says what was refitted.

    Args:
        pruned: What is left of the full network.
        full: A copy of the given network.
        network: As it was given.
        images: To refit on, mixed; a warning says where they look unlike those of the training.
        refit: How.
        progress: Called before every layer.
    """
    device = _workplace(network)
    full.to(device)
    pruned.network.to(device)
    if images is None:
        return Refitted("none", False, ())
    if strange := unfamiliar(full, images[:MOST_SEEN].to(device).float()):
        warnings.warn(strange, stacklevel=5)
    if refit == "none":
        return Refitted("none", False, ())
    return refit_on(pruned, full, images.float(), refit, progress=progress)


def _workplace(network: nn.Module) -> torch.device:
    """Returns the device of a network; the processor for those without the double precision that fits take."""
    device = next(each.device for each in network.parameters() if each.is_floating_point())
    return torch.device("cpu") if device.type == "mps" else device


def _like(pruned: Pruned, network: nn.Module) -> nn.Module:
    """Returns what was pruned as a network that never ran, each tensor in the precision and layout that it had.

    What was cut alone is what it was, to the last bit.
    """
    fresh = evaluated(Pruner(network, pruned.table).prune(pruned.keep))
    given, fitted = named_tensors(network), mended(pruned.network)
    for name, each in mended(fresh).items():
        if not torch.equal(each.to(fitted[name]), fitted[name]):
            each.data = fitted[name].data.to(each)
    for name, each in named_tensors(fresh).items():
        each.data = each.data.contiguous(memory_format=layout_of(given[name]))
    settle_like(fresh, pruned.network)
    return fresh
