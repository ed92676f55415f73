"""What a profile's file says of the search behind it, and of its evidence: one type, one builder, one check of each."""

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from reprlib import repr as short
from typing import Any, Literal, TypedDict, cast

from profilesearch.errors import UsageError
from profilesearch.system.amounts import is_number, is_part

_DIGITS = 4
_INTERVALS: tuple[Literal["interval", "gain_interval"], ...] = ("interval", "gain_interval")


class Evidence(TypedDict, total=False):
    """What was measured with a profile on one model and data set. Accuracies and parts are in [0, 1].

    Attributes:
        data: Name of the data set.
        data_digest: Of the data set's training images, where its name may be that of others.
        model: Name of the network; in what it was trained, `model_training`.
        weights: Digest of its weights.
        upstream: Data set that it was compressed on, if another one.
        test_images: How many were read.
        criterion: Which channels stayed.
        refit: How weights were fitted.
        seed: Of all random choices; `seeds` where several results are averaged.
        base_accuracy: Of the full network; `dense_accuracy` where it was fine-tuned likewise.
        pruned_accuracy: Before fine-tuning.
        finetuned_accuracy: After it, by `recipe`.
        interval: Ends of the last accuracy's 95 % interval.
        params: Part of the parameters that is left.
        gain: Accuracy minus that of the uniform profile, in [-1, 1], with its 95 % interval in `gain_interval`.
    """

    data: str
    data_digest: str
    model: str
    weights: str
    model_training: Mapping[str, float]
    upstream: str
    test_images: int
    criterion: str
    refit: str
    seed: int
    seeds: list[int]
    base_accuracy: float
    dense_accuracy: float
    pruned_accuracy: float | None
    finetuned_accuracy: float | None
    recipe: Mapping[str, Any]
    interval: list[float]
    params: float
    uniform_params: float
    uniform_pruned_accuracy: float
    uniform_finetuned_accuracy: float
    widest_params: float
    widest_pruned_accuracy: float
    widest_finetuned_accuracy: float
    gain: float
    gain_interval: list[float]


class PoolMember(TypedDict, total=False):
    """A network that a search scored profiles on: what it classifies, how it was trained, and how good it is.

    Its weights, and images whose data set's name may be that of others, have digests.
    """

    name: str
    data: str
    data_digest: str
    weights: str
    trained_on: str
    images: int
    base_score: float
    epochs: int
    held_out_accuracy: float


@dataclass(frozen=True)
class AtHand:
    """The network and the data set at hand, by which a profile's file is read.

    Attributes:
        data: Name of the data set.
        network: Name of the network, as pools call it.
        data_digest: As `Evidence` has it; empty where it is not known, and then the name counts.
        weights: Likewise.
    """

    data: str
    network: str = ""
    data_digest: str = ""
    weights: str = ""

    def reads(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a pool's member or an entry of evidence; what is called like this, but is another one, is renamed."""
        names = (
            ("data", self.data, "data_digest"),
            ("name", self.network, "weights"),
            ("model", self.network, "weights"),
        )
        own = {"data_digest": self.data_digest, "weights": self.weights}
        others = {kind for kind in own if own[kind] and entry.get(kind, own[kind]) != own[kind]}
        return dict(entry) | {
            key: f"another {name}" for key, name, kind in names if entry.get(key) == name and kind in others
        }


class Provenance(TypedDict, total=False):
    """How a profile was found.

    Attributes:
        searcher: Its name; none where nobody knows.
        evaluations: Profiles that it tried.
        seed: Of the search.
        hyperparameters: Of the searcher, that are not as they are by default.
        chosen: Which finalist it is: of the history, the policy, or one that needs no search.
        score: Accuracies relative to the unpruned models, by part of the images, of the profile and of its rivals.
        policy: What the policy's own profile costs and scores.
        general: Digest of the policy for any network that it is from.
        pool: The networks.
        score_settings: How profiles were scored; on `images` at most.
        multiple_of: What widths are multiples of; `rounded_to_multiples_of` where they were rounded afterwards.
        family: Budgets of the one policy that it is from.
        mapped_from: The relative's profile that it was carried from.
        projected_from: The profile of another budget that it was made of.
        versions: Of the packages.
        date: Of the search.
    """

    searcher: str | None
    evaluations: int
    seed: int
    hyperparameters: Mapping[str, float | str]
    chosen: str
    score: Mapping[str, float]
    policy: Mapping[str, float]
    general: str
    pool: list[PoolMember]
    score_settings: Mapping[str, Any]
    images: int
    multiple_of: int
    rounded_to_multiples_of: int
    family: list[float]
    mapped_from: Mapping[str, str]
    projected_from: Mapping[str, str]
    versions: Mapping[str, str]
    date: str


def evidence(*parts: Evidence) -> Evidence:
    """Builds an entry of evidence: intervals are rounded, and left out where an end is unknown.

    Args:
        parts: What is known; the later ones count.

    Raises:
        UsageError: A field has a wrong type or range.
    """
    entry = _merged(*parts)
    for name in _INTERVALS:
        if name in entry:
            entry[name] = [round(float(end), _DIGITS) for end in entry[name]]
    check_known("evidence", entry)
    return without_unknown(cast(Evidence, entry))


def without_unknown(entry: Evidence) -> Evidence:
    """Returns an entry without intervals of unknown ends: NaN, which JSON lacks, once stood for one measurement."""
    unknown = [name for name in _INTERVALS if _is_interval(entry.get(name)) and any(map(math.isnan, entry[name]))]
    return cast(Evidence, {name: value for name, value in entry.items() if name not in unknown})


def provenance(*parts: Provenance) -> Provenance:
    """Builds what a file says of how its profile was found.

    Args:
        parts: What is known; the later ones count.

    Raises:
        UsageError: A field has a wrong type or range.
    """
    found = _merged(*parts)
    check_known("found", found)
    return cast(Provenance, found)


def _merged(*parts: Evidence | Provenance) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def found_today(packages: Sequence[str]) -> Provenance:
    """Returns the versions of packages, and the date."""
    versions = {name: version(name) for name in packages}
    return {"versions": versions, "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat()}


Check = Callable[[object], bool]
"""Says whether a value has the type and range of its field."""


def _is_text(item: object) -> bool:
    return isinstance(item, str)


def _is_score(item: object) -> bool:
    """Says whether an item is an accuracy relative to an unpruned one, which may be poor itself."""
    return is_number(item, 0, 100)


def _is_interval(item: object) -> bool:
    """Says whether an item is two ends, the lower one first; they are NaN where there was a single measurement."""
    return isinstance(item, list) and len(item) == 2 and all(map(_is_end, item)) and not item[0] > item[1]


def _is_end(item: object) -> bool:
    return is_number(item) or (isinstance(item, float) and math.isnan(item))


def _is_member(item: object) -> bool:
    return isinstance(item, dict) and _is_text(item.get("data"))


_RIVALS = ("uniform", "widest")
_ACCURACIES = (
    "pruned",
    "finetuned",
    "dense",
    *(f"{name}_{when}" for name in _RIVALS for when in ("pruned", "finetuned")),
)
_CHECKS: Mapping[str, Mapping[str, Check]] = {
    "evidence": {
        **dict.fromkeys(("data", "model", "upstream", "criterion", "data_digest", "weights"), _is_text),
        **{f"{name}_accuracy": lambda item: item is None or is_part(item) for name in _ACCURACIES},
        **dict.fromkeys(("base_accuracy", "params", *(f"{name}_params" for name in _RIVALS)), is_part),
        **dict.fromkeys(_INTERVALS, _is_interval),
        "gain": lambda item: is_number(item, -1, 1),
        "recipe": lambda item: isinstance(item, dict),
    },
    "found": {
        "searcher": lambda item: item is None or _is_text(item),
        "pool": lambda item: isinstance(item, list) and all(map(_is_member, item)),
        "score": lambda item: isinstance(item, dict) and all(map(_is_score, item.values())),
        **dict.fromkeys(
            ("multiple_of", "rounded_to_multiples_of"), lambda item: isinstance(item, int) and is_number(item, 1)
        ),
        **dict.fromkeys(
            ("mapped_from", "projected_from"), lambda item: isinstance(item, dict) and "architecture" in item
        ),
    },
}


def check_known(what: Literal["found", "evidence"], value: Mapping[str, Any]) -> None:
    """Checks those fields that are used; others may say whatever they like.

    Raises:
        UsageError: One has a wrong type or range.
    """
    for name, good in _CHECKS[what].items():
        if name in value and not good(value[name]):
            raise UsageError(f"'{name}' in the profile's {what} has a wrong type or range: {short(value[name])}")
