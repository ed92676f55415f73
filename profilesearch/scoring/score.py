"""The score: accuracy of a pruned network without fine-tuning, a pure function of profile, model, images, settings."""

import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from profilesearch.errors import UsageError, choose, no_memory
from profilesearch.networks.cost import evaluated
from profilesearch.networks.criteria import keep_channels, rank_channels
from profilesearch.networks.folding import fold, foldable
from profilesearch.networks.groups import GroupTable, IntArray
from profilesearch.networks.identity import network_identity
from profilesearch.networks.moments import MomentRefit
from profilesearch.networks.names import CRITERIA, DRAWN, SEEING
from profilesearch.networks.raising import raised_where
from profilesearch.networks.surgery import Pruner
from profilesearch.networks.tracking import tensors
from profilesearch.scoring.measures import measured
from profilesearch.scoring.names import MEASURES, STATISTICS, Measure, Statistics
from profilesearch.scoring.prepared import Prepared
from profilesearch.tasks.data import DataSet, Images
from profilesearch.tasks.hardware import DTYPES, best_precision, device_of
from profilesearch.tasks.inputs import input_channels, layout
from profilesearch.tasks.names import Precision

SAMPLE = 64
"""Images behind the statistics `sample`."""
_PIXELS = 128_000
"""Of a forward pass with fixed statistics: more leave the processor's cache, and take 1.4 times as long an image."""
_FEWEST = 8
_MANY = 500
_MOMENT_IMAGES = 250
_LATER = {"measure": "accuracy", "refit": False}


@dataclass(frozen=True)
class ScoreSettings:
    """How profiles are scored; part of every score's key.

    Attributes:
        statistics: Where BatchNorm takes mean and variance from, after pruning. `sample`: from the first 64 of the
            scored images; it is then folded into the convolutions for the pass over all of them. `batch`: from the
            scored images, a batch at a time, in one pass; faster for few images. `reestimate`: from a pass over
            training images (Li et al. 2020, arXiv 2007.02491). `none`: those of the full network.
        images: How many images are scored, at most.
        statistics_images: How many training images `reestimate` passes over, and how many criteria in `SEEING` see.
        batch: Images a forward pass, at most.
        criterion: Which channels stay.
        seed: Of the `random` criterion.
        precision: Of the forward pass; the processor's best where not given.
        measure: What is measured of the outputs, see `measured`.
        refit: Whether layers whose inputs are cut are refitted in closed form first, see `MomentRefit`; on the first
            250 training images.
    """

    statistics: Statistics = "batch"
    images: int = 1000
    statistics_images: int = 1000
    batch: int = 250
    criterion: str = "l1"
    seed: int = 0
    precision: Precision = "fp32"
    measure: Measure = "accuracy"
    refit: bool = False

    def __post_init__(self) -> None:
        choose("criterion", self.criterion, CRITERIA)
        choose("statistics", self.statistics, STATISTICS)
        choose("measure", self.measure, MEASURES)
        least = min(self.images, self.batch, self.statistics_images)
        if least < 2:
            raise UsageError(f"scoring needs two images or more, since BatchNorm averages over them, got {least}")

    def identity(self) -> dict[str, Any]:
        """Returns what scores are known by; what came later is left out where it is as it was before."""
        given = asdict(self)
        return {name: value for name, value in given.items() if name not in _LATER or value != _LATER[name]}


def default_settings(
    images: int = 1000, criterion: str = "l1", seed: int = 0, device: torch.device | None = None
) -> ScoreSettings:
    """Returns the settings that searches use: the fastest for so many images, in the device's best precision."""
    statistics: Statistics = "sample" if images >= _MANY else "batch"
    return ScoreSettings(statistics, images, criterion=criterion, seed=seed, precision=best_precision(device))


class Scorer:
    """Scores the profiles of one network on one set of images.

    Args:
        model: The full, trained network, on the device that scores; never changed.
        table: Its channel groups.
        data: Gives the normalization.
        images: What to classify; the first `settings.images` of them are used.
        train: Training images, for `reestimate` and criteria that look at images.
        settings: How.
        like: One of the same network, training images and settings, but for `images`: what takes long is taken from it.

    Attributes:
        settings: As they were used: with the number of images that were there, and no seed where nothing is drawn.
        digest: Hash of everything that a score depends on, except the widths.
    """

    def __init__(
        self,
        model: nn.Module,
        table: GroupTable,
        data: DataSet,
        images: Images,
        train: Images,
        settings: ScoreSettings,
        like: "Scorer | None" = None,
    ) -> None:
        seed = settings.seed if settings.criterion in DRAWN else 0
        uses_train = settings.statistics == "reestimate" or settings.criterion in SEEING or settings.refit
        learned = min(settings.statistics_images, len(train)) if uses_train else settings.statistics_images
        settings = replace(settings, images=min(settings.images, len(images)), statistics_images=learned, seed=seed)
        self.settings = settings
        self._table = table
        device = device_of(model)
        model = evaluated(copy.deepcopy(model).cpu().float())
        images, train = images[: settings.images], train[: settings.statistics_images]
        channels = input_channels(model, data.image_shape)
        identity = network_identity(model, (channels, *data.image_shape[1:]))
        about = [identity, table.fingerprint, images.digest, data.preparation, settings.identity()]
        about += [train.digest] if uses_train else []
        about += [device.type] if device.type != "cpu" else []
        self.digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

        self._order_in_memory = layout(model, (channels, *data.image_shape[1:]))
        if like is None:
            sample = (data.normalize(train.pixels, channels), train.labels) if settings.criterion in SEEING else None
            self._order = rank_channels(model, table, settings.criterion, settings.seed, sample)
        else:
            self._order = like._order
        dtype, shape = DTYPES[settings.precision], (2, channels, *data.image_shape[1:])
        cast = _cast(copy.deepcopy(model), dtype, self._order_in_memory)
        whole = dtype == torch.float32 or _runs(cast, torch.zeros(shape, dtype=dtype))
        if not whole:  # some of its layers, or its own code, mix precisions
            cast = model.to(memory_format=self._order_in_memory)
        self._mixed = partial(torch.autocast, device.type, dtype, enabled=not whole)
        most, area = settings.batch, data.image_shape[1] * data.image_shape[2]
        if settings.statistics == "sample":
            most = min(most, max(_FEWEST, _PIXELS // area))
        how = (data, channels, most, self._order_in_memory, dtype if whole else torch.float32, device)
        self._batches = Prepared(images, *how)
        self._labels = images.labels.to(device)
        self._refit: MomentRefit | None = like._refit if like else None
        if settings.refit and self._refit is None:
            self._refit = MomentRefit(model, table, data.normalize(train[:_MOMENT_IMAGES].pixels, channels))
        if settings.statistics == "sample":
            self._sample = Prepared(images[:SAMPLE], *how)
            self._foldable = foldable(model)
        if settings.statistics == "reestimate":
            self._train_batches = Prepared(train, *how)
        self._pruner = Pruner(cast.to(device), table)
        self._full: Tensor | None = None
        if settings.measure == "divergence":
            with torch.inference_mode(), self._mixed():
                self._full = self._outputs(self._pruner.model)

    def key(self, widths: IntArray) -> str:
        """Returns the ledger's key for widths of shape (G,)."""
        return f"{self.digest}-{hashlib.sha256(widths.tobytes()).hexdigest()[:16]}"

    def score(self, widths: IntArray) -> float:
        """Prunes to the given widths, shape (G,), and returns what is measured, in [0, 1].

        Raises:
            UsageError: The network's own code does not run at these widths.
        """
        try:
            return self._score(widths)
        except (UsageError, MemoryError):
            raise
        except Exception as error:  # whatever the network's own code raises
            if no_memory(error):
                raise
            raise UsageError(
                f"the network does not run where its groups keep {', '.join(map(str, widths))} channels "
                f"({raised_where(error)}); make its code run at every width, or keep more of it"
            ) from error

    def _score(self, widths: IntArray) -> float:
        with torch.inference_mode(), self._mixed():
            keep = keep_channels(self._order, self._table, widths)
            pruned = evaluated(self._pruner.prune(keep, share=True))
            if self._refit:
                self._refit(pruned, keep)
            norms = [m for m in pruned.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
            if self.settings.statistics == "batch":
                use_batch_statistics(norms)
            elif self.settings.statistics == "sample":
                reestimate(pruned, norms, self._sample)
                fold(pruned, self._foldable, self._order_in_memory)
            elif self.settings.statistics == "reestimate":
                reestimate(pruned, norms, self._train_batches)
            return measured(self.settings.measure, self._outputs(pruned), self._labels, self._full)

    def _outputs(self, network: nn.Module) -> Tensor:
        return torch.cat([network(batch.clone()) for batch in self._batches])


def use_batch_statistics(norms: list[nn.modules.batchnorm._BatchNorm]) -> None:
    """Makes BatchNorm layers normalize every batch by itself, and keep no record of it."""
    for norm in norms:
        norm.train()
        norm.track_running_stats = False


def reestimate(model: nn.Module, norms: list[nn.modules.batchnorm._BatchNorm], parts: Iterable[Tensor]) -> None:
    """Replaces the running statistics of BatchNorm layers by the average over images.

    Args:
        model: In evaluation mode.
        norms: Its layers to re-estimate; those that keep no statistics, or do not run, are left as they are.
        parts: Batches of two images or more each; a batch weighs as much as it has images.
    """
    kept = [norm for norm in norms if norm.running_mean is not None and norm.running_var is not None]
    averages = [_Average(norm) for norm in kept]
    try:
        for part in parts:
            model(part.clone())  # which some change in place
    finally:
        for average in averages:
            average.end()


class _Average:
    """Makes the running statistics of a layer the mean of its batches, weighted by their images.

    Args:
        norm: The layer, which keeps statistics.
    """

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101  just looked for
        self._norm, self._momentum, self._seen = norm, norm.momentum, 0
        self._before = norm.running_mean, norm.running_var, norm.num_batches_tracked
        # New tensors: the old ones may be shared with the full network.
        norm.running_mean = torch.zeros_like(norm.running_mean)
        norm.running_var = torch.ones_like(norm.running_var)
        norm.num_batches_tracked = torch.tensor(0, device=norm.running_mean.device)
        self._handle = norm.register_forward_pre_hook(self._weigh, with_kwargs=True)
        norm.train()

    def end(self) -> None:
        """Leaves the layer in evaluation mode, with the statistics that it had where it did not run."""
        self._handle.remove()
        self._norm.momentum = self._momentum
        if not self._seen:
            self._norm.running_mean, self._norm.running_var, self._norm.num_batches_tracked = self._before
        self._norm.eval()

    def _weigh(self, norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Sets the momentum before a forward pass."""
        given = len(tensors((args, kwargs))[0])
        self._seen += given
        self._norm.momentum = given / self._seen


def _runs(model: nn.Module, images: Tensor) -> bool:
    try:
        with torch.inference_mode():
            model(images)
    except RuntimeError:
        return False
    return True


def _cast(model: nn.Module, dtype: torch.dtype, order: torch.memory_format) -> nn.Module:
    """Casts all layers but BatchNorm, whose statistics stay in full precision, and those that compute their weights."""
    model = evaluated(model.to(memory_format=order))  # some copies, as of torch.fx, come back training
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and not is_parametrized(module):
            module.to(dtype)
    return model
