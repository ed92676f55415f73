"""Profile and Budget: what a search finds, as one validated JSON file."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from pathlib import Path
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, Literal, cast

from profilesearch.errors import UsageError
from profilesearch.evidence import AtHand, Evidence, Provenance, check_known, without_unknown
from profilesearch.system.amounts import finite, is_number
from profilesearch.system.files import read_json, write_json

if TYPE_CHECKING:
    from torch import nn

SCHEMA = 1
CONVENTION = "1 MAC = 1 multiply-add of convolution and linear layers"
Metric = Literal["macs", "params", "latency"]
Scope = Literal["block", "all"]
METRICS: tuple[Metric, ...] = ("macs", "params", "latency")
SCOPES: tuple[Scope, ...] = ("block", "all")

_LEAST = 1e-6
"""What six digits can say; a single channel is more."""
_HALF = 0.5
"""Of a channel."""


@dataclass(frozen=True)
class Budget:
    """What a pruned network may cost, relative to the full one.

    Attributes:
        metric: `macs` (multiply-adds of one image), `params`, or `latency` (of one image, on this device).
        keep: Fraction of the full network's cost, in (0, 1].
        keep_params: Fraction of its parameters that must be met as well, in (0, 1]; None where that is left open.

    Raises:
        UsageError: An unknown metric, a fraction outside (0, 1], or parameters twice.
    """

    metric: Metric = "macs"
    keep: float = 0.5
    keep_params: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise UsageError(f"unknown metric '{self.metric}'; choose from {', '.join(METRICS)}")
        for name in ("keep", "keep_params"):
            value = getattr(self, name)
            if isinstance(value, Real):
                object.__setattr__(self, name, float(value))  # of NumPy's, which JSON does not know
            elif value is not None or name == "keep":
                raise UsageError(f"{name} must be a number in (0, 1], got {value!r}")
        if not 0 < self.keep <= 1:
            raise UsageError(f"keep must be in (0, 1], got {self.keep:g}; 0.5 keeps half of the cost")
        if self.keep_params is None:
            return
        if self.metric == "params":
            raise UsageError("parameters are the budget's metric already; give `keep` alone, or another `metric`")
        if not 0 < self.keep_params <= 1:
            raise UsageError(f"keep_params must be in (0, 1], got {self.keep_params:g}; 0.5 keeps half of them")

    def __str__(self) -> str:
        """Names the budget as digests and caches do: the second fraction stands there only where it is used."""
        second = "" if self.keep_params is None else f", keep_params={self.keep_params!r}"
        return f"Budget(metric={self.metric!r}, keep={self.keep!r}{second})"

    @property
    def text(self) -> str:
        """For people, such as `0.5 of the macs and 0.4 of the params`."""
        second = "" if self.keep_params is None else f" and {self.keep_params:g} of the params"
        return f"{self.keep:g} of the {self.metric}{second}"

    def to_json(self) -> dict[str, Any]:
        """Returns the plain object of files; the second fraction is there only where it is used."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Profile:
    """Keep ratio of every prunable channel group of an architecture, with its budget and evidence.

    Attributes:
        architecture: Name of the architecture, such as `resnet56`.
        scope: Which groups the profile may touch.
        fingerprint: Hash of the architecture's group names, widths and couplings.
        keep: Keep ratio in (0, 1] by group name, in network order.
        budget: The budget that was asked for.
        reached: Fraction of the full cost that the profile really has.
        reached_params: Likewise of the parameters, where the budget has them as its second metric.
        found: How the profile was found: searcher, evaluations, seed, pool, score settings, versions, date.
        evidence: Measured results, each with data set, model, accuracies, seeds and intervals.
    """

    architecture: str
    scope: Scope
    fingerprint: str
    keep: Mapping[str, float]
    budget: Budget
    reached: float
    found: Provenance = field(default_factory=Provenance)
    evidence: tuple[Evidence, ...] = ()
    reached_params: float | None = None

    def __post_init__(self) -> None:
        if not self.keep:
            raise UsageError("the profile has no channel group; give 'keep' at least one ratio by group name")
        for name, ratio in self.keep.items():
            if not is_number(ratio) or not _LEAST <= ratio <= 1:
                raise UsageError(f"the keep ratio of group '{name}' must be in (0, 1], got {short(ratio)}")
        object.__setattr__(self, "evidence", tuple(map(without_unknown, self.evidence)))

    def with_evidence(self, entry: Evidence) -> "Profile":
        """Returns a copy with one more evidence entry; an equal entry is not added twice."""
        if entry in self.evidence:
            return self
        return replace(self, evidence=(*self.evidence, entry))

    def seen(self, here: AtHand) -> "Profile":
        """Returns the profile as if every name in its file that what is at hand has meant nothing else."""
        found = dict(self.found)
        if "pool" in found:
            found["pool"] = [here.reads(member) for member in self.found["pool"]]
        evidence = tuple(cast(Evidence, here.reads(entry)) for entry in self.evidence)
        return replace(self, found=cast(Provenance, found), evidence=evidence)

    def to_torch_pruning(self, network: "nn.Module") -> "dict[nn.Module, float]":
        """Returns the profile as Torch-Pruning's `pruning_ratio_dict`; give its pruner `pruning_ratio=0` with it.

        Args:
            network: Of the profile's architecture.

        Returns:
            What part of its channels each layer loses, by the first layer of every group. Torch-Pruning cuts fractions
            of a channel off, so half a channel is added to what stays: it keeps as many as `prune_with_profile` does,
            where it ties layers as we do; those of GhostNet it does not, so count what is left.

        Raises:
            UsageError: A group is no layer of the network by itself, which Torch-Pruning has no ratio for; or a
                convolution is grouped, whose widths it rounds by itself.
        """
        modules, ratios = dict(network.named_modules()), {}
        for name, each in modules.items():
            if 1 < getattr(each, "groups", 1) < getattr(each, "in_channels", 0):
                raise UsageError(
                    f"'{name}' is a grouped convolution, whose widths Torch-Pruning rounds by itself; use "
                    "prune_with_profile"
                )
        for name, keep in self.keep.items():
            layer = modules.get(name)
            channels = getattr(layer, "out_channels", getattr(layer, "out_features", None))
            if layer is None or channels is None:
                raise UsageError(
                    f"group '{name}' is no layer of this network by itself, so Torch-Pruning has no ratio for it; use "
                    "prune_with_profile"
                )
            left = max(1, math.floor(keep * channels + _HALF))
            ratios[layer] = max(0.0, 1 - (left + _HALF) / channels)
        return ratios

    def to_json(self) -> dict[str, Any]:
        """Returns the plain object that the profile file holds, keys in a stable order."""
        budget = {**self.budget.to_json(), "reached": round(self.reached, 6)}
        if self.reached_params is not None:
            budget["reached_params"] = round(self.reached_params, 6)
        budget["convention"] = CONVENTION
        value = {
            "schema": SCHEMA,
            "architecture": self.architecture,
            "scope": self.scope,
            "fingerprint": self.fingerprint,
            "budget": budget,
            "keep": {name: round(ratio, 6) for name, ratio in self.keep.items()},
            "found": dict(self.found),
            "evidence": [dict(entry) for entry in self.evidence],
        }
        return cast(dict[str, Any], finite(value))

    def sealed(self) -> dict[str, Any]:
        """Returns the plain object with its digest, by which `load` finds damage."""
        value = self.to_json()
        return {**value, "digest": _digest(value)}

    def save(self, path: str | Path) -> None:
        """Writes the profile file atomically.

        Raises:
            UsageError: The file cannot be written.
        """
        write_json(Path(path), self.sealed())

    @classmethod
    def load(cls, path: str | Path) -> "Profile":
        """Reads a profile file.

        Raises:
            UsageError: The file is missing, is no profile, is broken or damaged, or has another schema version.
        """
        value = read_json(Path(path), "profile")
        try:
            made = cls.from_json(value)
            if "digest" in value and value["digest"] != _digest(value):
                raise UsageError(
                    "this is not what was written, its digest does not fit; remove the file and fetch or search it "
                    "again, or take out the field 'digest' if you changed it on purpose"
                )
            return made
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    @classmethod
    def from_json(cls, value: Any) -> "Profile":
        """Builds a profile from the plain object of a profile file.

        Raises:
            UsageError: A field is missing, unknown, or has a wrong type or range.
        """
        if not isinstance(value, dict) or "schema" not in value:
            raise UsageError("this is no profile file: it has no 'schema' field")
        if type(value["schema"]) is not int or value["schema"] != SCHEMA:
            raise UsageError(
                f"profile schema {short(value['schema'])} is unknown, this version reads {SCHEMA}; upgrade"
            )
        budget = _field(value, "budget", dict)
        scope = _field(value, "scope", str)
        if scope not in SCOPES:
            raise UsageError(f"unknown scope '{scope}'; choose from {', '.join(SCOPES)}")
        second = [_field(budget, name, float) if name in budget else None for name in ("keep_params", "reached_params")]
        reached = _field(budget, "reached", float)
        for cost in (reached, 1 if second[1] is None else second[1]):
            if not 0 < cost <= 1:
                raise UsageError(f"the reached cost must be in (0, 1], got {short(cost)}")
        made = cls(
            architecture=_field(value, "architecture", str),
            scope=cast(Scope, scope),
            fingerprint=_field(value, "fingerprint", str),
            keep=_field(value, "keep", dict),
            budget=Budget(cast(Metric, _field(budget, "metric", str)), _field(budget, "keep", float), second[0]),
            reached=reached,
            reached_params=second[1],
            found=_field(value, "found", dict),
            evidence=tuple(_entries(_field(value, "evidence", list))),
        )
        unknown = next((name for name in value if name not in _FIELDS), None)
        if unknown is not None:
            raise UsageError(f"the profile has an unknown field '{unknown}'; it is damaged, or of a later version")
        check_known("found", made.found)
        for entry in made.evidence:
            check_known("evidence", entry)
        return made


def _field(value: Mapping[str, Any], key: str, kind: type) -> Any:
    item = value.get(key)
    good = is_number(item) if kind is float else isinstance(item, kind)
    if not good:
        raise UsageError(f"the profile's field '{key}' is missing or is no {_KINDS[kind]}")
    return item


_FIELDS = ("schema", "architecture", "scope", "fingerprint", "budget", "keep", "found", "evidence", "digest")


def _digest(value: Mapping[str, Any]) -> str:
    """Hash of a profile file's content, but this hash."""
    rest = {name: item for name, item in value.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


_KINDS = {str: "text", dict: "object", list: "list", float: "number"}


def _entries(evidence: list[Any]) -> list[Evidence]:
    if not all(isinstance(entry, dict) for entry in evidence):
        raise UsageError("the profile's evidence must be a list of objects")
    return evidence
