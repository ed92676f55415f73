"""A comparison's setting, and its two kinds of measurements: a network compressed, a network carried and fine-tuned."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from profilesearch.networks.checkpoints import load_matched, load_pruned, save_network
from profilesearch.networks.cost import evaluating
from profilesearch.networks.counting import uses
from profilesearch.networks.latency import hardware_name
from profilesearch.networks.reading import tensor_digest
from profilesearch.profiles import Metric, Profile
from profilesearch.research.study.cells import Table, amount, hexadecimal, one_of, part, real, text, whole
from profilesearch.research.study.records import Row
from profilesearch.research.transfers.downstream import Result, extract, finetune_full, finetune_linear
from profilesearch.research.transfers.masks import sparsity
from profilesearch.research.transfers.methods import METHODS
from profilesearch.research.transfers.upstream import Upstream
from profilesearch.research.transfers.ways import FINETUNES, Ways
from profilesearch.store import Store
from profilesearch.system.parts import within
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.hardware import DTYPES, device_of
from profilesearch.tasks.inputs import input_channels
from profilesearch.tasks.names import Precision
from profilesearch.tasks.pools import Member, example_shape
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.sources import open_labelled, open_once
from profilesearch.tasks.unfinished import Unfinished

_VERSION = 4
"""Of all methods: raise it when they change, so that older networks and rows are not taken for its own."""
ROWS: Table = {
    "id": hexadecimal(10), "method": one_of(METHODS), "level": part, "removed": real(-1e6, 1), "zeros": part,
    "weights": amount, "macs": amount, "downstream": text, "finetune": one_of(FINETUNES), "epochs": whole(),
    "seed": whole(), "compression": whole(), "accuracy": part, "seconds": amount, "precision": one_of(DTYPES),
    "device": text,
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What all measurements of a comparison share; can be sent to worker processes.

    Attributes:
        source: The trained network.
        identity: Names the setting: other weights, other lengths of training give another one.
        folders: The data sets' names, and what was asked for to get them; the upstream's first.
        data_dir: Folder of the data sets.
        store: Folder of profiles.
        epochs: Upstream, of methods that start from the source.
        scratch: Upstream, of methods that start from random weights.
        seed: Of the first compression by each method; others have the numbers that follow.
        work: Folder of the setting's compressed networks and unfinished trainings.
        metric: What levels are of: `params`, or `macs` where all tensors get smaller.
        precision: Of forward passes: rows in another one are other measurements.
        carried: By level, the name of the profile that is carried: another one in the store gives other measurements.
        ways: How methods work upstream.
        map_from: Relative whose stored profiles are carried over; or nothing.
    """

    source: Member
    identity: str
    folders: tuple[tuple[str, str], ...]
    data_dir: Path | None
    store: Path
    epochs: int
    scratch: int
    seed: int
    work: Path
    metric: Metric
    precision: Precision
    carried: tuple[tuple[float, str], ...] = ()
    ways: Ways = field(default_factory=Ways)
    map_from: str | None = None

    def data(self, name: str) -> DataSet:
        """Loads a data set, once a process; the upstream's with the labels that the source knows."""
        where = self.source.architecture, dict(self.folders)[name], self.data_dir
        known = name == self.folders[0][0]
        return replace(open_labelled(*where, self.source.path) if known else open_once(*where), name=name)

    def knows(self, name: str) -> bool:
        """Says whether a data set belongs to the comparison, as the command describes it."""
        return name in dict(self.folders)

    def upstream(self, compression: int | None = None) -> Upstream:
        """Returns what methods start from, with the seed of a compression; the first one's where None."""
        data, seed = self.data(self.folders[0][0]), self.seed if compression is None else compression
        lengths = self.epochs, self.scratch
        return Upstream(
            self.source,
            data,
            Store(self.store),
            *lengths,
            seed,
            self._folder(seed),
            self.metric,
            self.precision,
            self.ways,
            self.map_from,
        )

    def network(self, method: str, level: float, compression: int | None = None) -> Path:
        """Returns the file of a compressed network; the first compression's where None."""
        version = METHODS[method].version
        parts = method, f"{level:g}", self.profile(method, level), f"v{version}" * (version > 1)
        name = "-".join(filter(None, parts))
        return self._folder(self.seed if compression is None else compression) / f"{name}.safetensors"

    def unfinished(self, run: str) -> Unfinished:
        """Returns what is kept of a fine-tuning until its row is written, by the run's identity."""
        return Unfinished(self.work / run)

    def _folder(self, compression: int) -> Path:
        return self.work if compression == self.seed else self.work / f"compression-{compression}"

    def profile(self, method: str, level: float) -> str:
        """Returns the name of the profile that a method carries; empty for one that carries none."""
        return dict(self.carried)[level] if method.startswith("profile") else ""

    def owns(self, row: Row) -> bool:
        """Says whether a row was measured in this setting."""
        method, level = row["method"], float(row["level"])
        if method.startswith("profile") and level not in dict(self.carried):
            return False
        numbers = int(row["epochs"]), int(row["seed"]), int(row["compression"])
        run = Run(
            self.identity, method, level, self.profile(method, level), row["downstream"], row["finetune"], *numbers,
            self.precision,
        )  # fmt: skip
        return run.identity == row["id"]


@dataclass(frozen=True)
class Run:
    """One fine-tuning of a carried network."""

    setting: str
    method: str
    level: float
    profile: str
    downstream: str
    finetune: str
    epochs: int
    seed: int
    compression: int
    precision: Precision

    @property
    def identity(self) -> str:
        """Hash of all that its result depends on."""
        version = METHODS[self.method].version
        known = asdict(self) | ({"version": version} if version > 1 else {})
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:10]


def compress(setting: Setting, wanted: Sequence[tuple[str, float, int]]) -> None:
    """Makes compressed networks, (method, level, seed), one after the other, those that are not there yet."""
    for place, (method, level, seed) in enumerate(wanted):
        path = setting.network(method, level, seed)
        if path.exists():
            continue
        upstream = setting.upstream(seed)
        start = time.perf_counter()
        with within(place / len(wanted), (place + 1) / len(wanted)):
            model = METHODS[method].compress(upstream, level)
        about = {
            "architecture": setting.source.architecture,
            "num_classes": upstream.data.num_classes,
            "in_channels": input_channels(model, upstream.data.image_shape),
            "method": method,
            "level": level,
            "seconds": round(time.perf_counter() - start, 1),
        }
        save_network(path, model, about)
        upstream.saved()


def carry(setting: Setting, runs: Sequence[Run]) -> list[Row]:
    """Fine-tunes a compressed network downstream, once for each run.

    Args:
        setting: Of the comparison.
        runs: Of one network, data set and kind; linear ones share the features, which do not depend on the seed.

    Returns:
        Their rows. Each has the seconds that it would take alone.
    """
    path = setting.network(runs[0].method, runs[0].level, runs[0].compression)
    data = setting.data(runs[0].downstream)
    start = time.perf_counter()
    carried = load_pruned(path, setting.source.architecture)
    linear = runs[0].finetune == "linear"
    features = (
        (extract(carried, data, data.train, setting.precision), extract(carried, data, data.test, setting.precision))
        if linear
        else None
    )
    shared = time.perf_counter() - start
    zeros, left = sparsity(carried), left_of(carried, setting.upstream().trained(), example_shape(carried, data))
    rows = []
    for run in runs:
        start = time.perf_counter()
        model = load_pruned(path, setting.source.architecture)
        if features:
            result = finetune_linear(model, data, run.seed, features)
        elif run.finetune == "none":
            result = Result(accuracy(model, data, data.test, setting.precision), zeros)
        else:
            resume = setting.unfinished(run.identity)
            result = finetune_full(model, data, run.epochs, run.seed, resume, setting.precision)
        if result.zeros < zeros:
            raise RuntimeError(f"{zeros:.4%} of the weights were zero before the fine-tuning, {result.zeros:.4%} after")
        seconds = shared + time.perf_counter() - start
        rows.append({
            "id": run.identity, "method": run.method, "level": f"{run.level:g}", "removed": f"{1 - left[0]:.6f}",
            "zeros": f"{zeros:.6f}", "weights": f"{left[0]:.6f}", "macs": f"{left[1]:.6f}",
            "downstream": run.downstream, "finetune": run.finetune, "epochs": str(run.epochs), "seed": str(run.seed),
            "compression": str(run.compression), "accuracy": f"{result.accuracy:.4f}", "seconds": f"{seconds:.1f}",
            "precision": setting.precision, "device": hardware_name(device_of(carried)),
        })  # fmt: skip
    return rows


def left_of(model: nn.Module, source: nn.Module, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Returns what is left of a source's weights, and of its multiply-adds."""
    weights, macs = (new / old for new, old in zip(size(model, shape), size(source, shape), strict=True))
    return weights, macs


def size(model: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Returns how many weights are not zero, and how many multiply-adds they make for one image; without classifier."""
    tensors = dict(model.named_parameters())
    with evaluating(model):
        used = [use for use in uses(model, torch.zeros(1, *shape)) if use.kernel in tensors]
    counts = [0, 0]
    for use in used[:-1]:
        there = int((tensors[use.kernel] != 0).sum())
        counts[0] += there
        counts[1] += there * use.macs // tensors[use.kernel].numel()
    return counts[0], counts[1]


def profile_identity(profile: Profile) -> str:
    """Names a profile by its keep ratios."""
    return hashlib.sha256(json.dumps(dict(profile.keep)).encode()).hexdigest()[:8]


def source_identity(member: Member, epochs: int, scratch: int, seed: int, metric: Metric, ways: Ways) -> str:
    """Names a setting by the source's weights, lengths of training, seed, metric, ways, and the methods' version."""
    tensors = load_matched(member.architecture, member.path).tensors
    text = (
        f"{_VERSION} {tensor_digest(tensors)} {epochs} {scratch} {seed}" + " macs" * (metric == "macs") + ways.identity
    )
    return hashlib.sha256(text.encode()).hexdigest()[:8]
