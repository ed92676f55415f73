"""The refit of a pruned network in closed form, and which way of it leaves the network closest to the full one."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from profilesearch.errors import choose
from profilesearch.measure.speed import peak_memory
from profilesearch.networks.cost import evaluated, evaluating
from profilesearch.networks.names import AS_CUT, AUTO, INPUTS
from profilesearch.networks.outputs import real_outputs
from profilesearch.networks.probing import named_tensors
from profilesearch.networks.refit import Aims, aims, refit
from profilesearch.pruning import Pruned
from profilesearch.scoring.score import reestimate
from profilesearch.system.progress import Progress
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import device_of
from profilesearch.tasks.inputs import arranged, input_channels
from profilesearch.tasks.memory import batches, fitting

_REFIT_IMAGES = 500
JUDGES = 125
"""Other images that ways to refit are judged by, at most."""
_AT_ONCE = 64
_REFIT_BYTES = 4_000_000_000
_FEWEST = 16


@dataclass(frozen=True)
class Refitted:
    """How a pruned network was refitted.

    Attributes:
        inputs: On what layers were fitted: `sequential` or `full`; `as cut` where none was, since that is closest.
        reestimated: Whether BatchNorm took new statistics behind it.
        weights: Names of the weights that were fitted.
    """

    inputs: str
    reestimated: bool
    weights: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.inputs}{', statistics re-estimated' if self.reestimated else ''}"


def refit_weights(
    pruned: Pruned,
    model: nn.Module,
    data: DataSet,
    images: Images,
    inputs: str = AUTO,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Refitted:
    """Refits a pruned network in closed form, in place, so that its layers give again what the full network's gave.

    Args:
        pruned: What `prune_with_profile` made, on the device of `model`.
        model: The full network; never changed.
        data: Gives the normalization.
        images: Training images; the first of them are used, as many as memory is set aside for, 500 at most, and for
            `auto` a quarter as many others to judge by.
        inputs: On what layers are fitted: `sequential`, what the refitted layers before give; `full`, what is left of
            the full network's; `auto`, see `refit_on`.
        say: Called with a line for people when memory runs out and images are halved.
        progress: Called before every layer with layers done, layers in all, and its weight's name.

    Raises:
        UsageError: There are fewer than two images, or `inputs` is unknown.
    """
    channels = input_channels(model, data.image_shape)
    some = images[: most_used(inputs)]
    return refit_on(pruned, model, arranged(model, data.normalize(some.pixels, channels)), inputs, say, progress)


def most_used(inputs: str) -> int:
    """Returns how many images a refit looks at, at most."""
    return _REFIT_IMAGES + (JUDGES if inputs == AUTO else 0)


def refit_on(
    pruned: Pruned,
    model: nn.Module,
    images: Tensor,
    inputs: str | Refitted = AUTO,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Refitted:
    """Does what `refit_weights` does, on normalized images of float32, (N, C, H, W), mixed, whatever they are from.

    Which inputs are better depends on the network: small residual ones are better off with `sequential`, those with
    depthwise layers and many classes with `full`, and some with new statistics behind it. `auto` tries these four ways,
    and the weights as cut, with new statistics or without, and keeps the network whose outputs are closest to the full
    one's on a fifth of the images, which no fit looks at. Given how another network was refitted, it tries that
    way and both fits alone, since others hardly ever become the closest by another profile.
    """
    known = inputs if isinstance(inputs, Refitted) else None
    if not known:
        choose("refit", str(inputs), (AUTO, *INPUTS))
    runs = replace(pruned, network=copy.deepcopy(pruned.network))  # what it keeps of these passes is not given out
    if len(images) >= _FEWEST and (known or inputs == AUTO):
        refitted = _closest(runs, model, images, known, say, progress)
    else:
        one = INPUTS[0] if known or inputs == AUTO else str(inputs)
        refitted = _Fitter(runs, model, images, (one,), say, progress)(one)
    _put(mended(pruned.network), mended(runs.network))
    return refitted


class _Fitter:
    """Fits a pruned network on images, in one way after another; what its layers are fitted to is found out once.

    Args:
        pruned: On the device of `model`; every way starts from what it is now.
        model: The full network.
        images: Normalized.
        ways: Of `INPUTS`, those that will be asked for, once each, the last one last.
        say: See `refit_weights`.
        progress: Likewise.
    """

    def __init__(
        self,
        pruned: Pruned,
        model: nn.Module,
        images: Tensor,
        ways: Sequence[str],
        say: Callable[[str], None] | None,
        progress: Progress | None,
    ) -> None:
        self._pruned, self._model, self._images, self._ways = pruned, model, images, ways
        self._say, self._progress = say, progress
        self.start = _copied(pruned.network)
        self._most = min(len(images), _refit_images(model, tuple(images.shape[1:])))  # type: ignore[arg-type]
        self._aims: dict[int, Aims] = {}  # by the number of images

    def __call__(self, inputs: str) -> Refitted:
        """Fits the network, from where it was."""
        return Refitted(inputs, False, fitting(partial(self._fit, inputs), self._say, self._most))

    def _fit(self, inputs: str, size: int) -> tuple[str, ...]:
        pruned, images = self._pruned, self._images[:size].to(device_of(self._model))
        _put(named_tensors(pruned.network), self.start)
        if size not in self._aims:
            self._aims.clear()
            self._aims[size] = aims(self._model, pruned.table, pruned.keep, images, self._ways)
        fitted = refit(pruned.network, self._aims[size], images, inputs, progress=self._progress)
        if inputs == self._ways[-1]:
            self._aims.clear()  # large ones
        return fitted


def _closest(
    pruned: Pruned,
    model: nn.Module,
    images: Tensor,
    known: Refitted | None,
    say: Callable[[str], None] | None,
    progress: Progress | None,
) -> Refitted:
    few = min(JUDGES, len(images) // 5)
    learn, judge = images[: min(_REFIT_IMAGES, len(images) - few)], images[-few:]
    network, device = pruned.network, device_of(model)
    norms = [each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    tried = (AS_CUT, *INPUTS) if known is None else tuple(dict.fromkeys((known.inputs, *INPUTS)))
    fit, wanted = _Fitter(pruned, model, learn, tried, say, progress), outputs_of(model, judge)
    far, chosen, state = math.inf, Refitted(AS_CUT, False, ()), fit.start

    def consider(fitted: Refitted) -> None:
        nonlocal far, chosen, state
        if (given := distance(outputs_of(network, judge), wanted)) < far:
            far, chosen, state = given, fitted, _copied(network)

    for inputs in tried:
        fitted = Refitted(AS_CUT, False, ()) if inputs == AS_CUT else fit(inputs)
        consider(fitted)
        if norms and (known is None or (inputs == known.inputs and known.reestimated)):
            with torch.no_grad():
                parts = (learn[part].to(device) for part in batches(len(learn), _AT_ONCE))
                reestimate(evaluated(network), norms, parts)
            consider(replace(fitted, reestimated=True))
    _put(named_tensors(network), state)
    return chosen


def mended(network: nn.Module) -> dict[str, Tensor]:
    """Returns what a refit may change, by name: parameters, and what BatchNorm keeps.

    Other buffers, such as a counter of images, are changed by forward passes alone.
    """
    norms = [
        (path, each) for path, each in network.named_modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
    ]
    statistics = (buffer for path, norm in norms for buffer in norm.named_buffers(path, recurse=False))
    return {**dict(network.named_parameters()), **dict(statistics)}


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in named_tensors(network).items()}


def _put(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Gives tensors their values, but for those that forward passes made another shape of."""
    with torch.no_grad():
        for name, each in tensors.items():
            if name in values and each.shape == values[name].shape:
                each.copy_(values[name])


def outputs_of(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Returns what a network gives for images: every tensor, with all images.

    One value for a whole batch becomes one for each batch; what has another shape there, or as often as there are
    objects, comes batch by batch.
    """
    device, seen = device_of(network), []
    with torch.no_grad(), evaluating(network):
        for part in batches(len(images), _AT_ONCE):
            seen.append([each.float() for each in real_outputs(network(images[part].to(device, copy=True)))])
    if len({len(part) for part in seen}) > 1:
        return [each for part in seen for each in part]
    return [each for several in zip(*seen, strict=True) for each in _joined(several)]


def _joined(several: tuple[Tensor, ...]) -> list[Tensor]:
    several = tuple(map(torch.atleast_1d, several))
    return [torch.cat(several)] if len({each.shape[1:] for each in several}) == 1 else list(several)


def distance(given: list[Tensor], wanted: list[Tensor]) -> float:
    """Says how far outputs are from those of the full network: the smaller, the closer.

    It is the squared error, relative to the square of what is wanted, averaged over the outputs; of one score a class
    without their mean, which no class depends on. The divergence of the classes' probabilities tells the ways apart
    less well: on few images it hangs on the most confident mistakes. Entries that are infinite in both, as those of
    masked classes are, do not count. An output of another shape than is wanted, such as
    a list of other objects, cannot be compared: it counts as lost whole, an error of 1; infinity where their number
    differs.
    """
    if len(given) != len(wanted):
        return math.inf
    given, wanted = map(list, zip(*map(_finite, given, wanted), strict=True)) if given else (given, wanted)
    if len(wanted) == 1 and wanted[0].dim() == 2 and wanted[0].shape[1] > 1:
        given, wanted = ([each[0] - each[0].mean(dim=1, keepdim=True)] for each in (given, wanted))
    errors = [
        (one - other).square().sum() / other.square().sum().clamp_min(1e-30)
        if one.shape == other.shape
        else other.new_ones(())
        for one, other in zip(given, wanted, strict=True)
    ]
    return float(torch.stack(errors).mean())


def _finite(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two outputs with zeros for what is infinite in both."""
    if one.shape != other.shape or not bool(other.isinf().any()):
        return one, other
    same = other.isinf() & (one == other)
    return one.masked_fill(same, 0), other.masked_fill(same, 0)


def _refit_images(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Returns how many images may be refitted on at once, by what a forward pass needs for each."""
    one, two = (peak_memory(model, image_shape, batch) for batch in (1, 2))
    return max(_FEWEST, min(_REFIT_IMAGES, _REFIT_BYTES // (2 * max(1, two - one))))
