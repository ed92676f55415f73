"""What a profile's file may say of the search behind it and of its evidence: checked where it is used by anybody."""

import math
from collections.abc import Callable, Mapping
from reprlib import repr as short
from typing import Any, Literal

from profilesearch.errors import UsageError
from profilesearch.system.amounts import is_number, is_part

Check = Callable[[object], bool]
"""Says whether a value has the type and range of its field."""


def _is_text(item: object) -> bool:
    return isinstance(item, str)


def _is_score(item: object) -> bool:
    """Says whether an item is an accuracy relative to an unpruned one, which may be poor itself."""
    return is_number(item, 0, 100)


def _is_interval(item: object) -> bool:
    """Says whether an item is two ends; they are NaN where there was a single measurement."""
    return isinstance(item, list) and len(item) == 2 and all(map(_is_end, item))


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
        **dict.fromkeys(("data", "model", "upstream", "criterion"), _is_text),
        **{f"{name}_accuracy": lambda item: item is None or is_part(item) for name in _ACCURACIES},
        **dict.fromkeys(("params", *(f"{name}_params" for name in _RIVALS)), is_part),
        **dict.fromkeys(("interval", "gain_interval"), _is_interval),
        "gain": lambda item: is_number(item, -1, 1),
        "recipe": lambda item: isinstance(item, dict),
    },
    "found": {
        "searcher": lambda item: item is None or _is_text(item),
        "pool": lambda item: isinstance(item, list) and all(map(_is_member, item)),
        "score": lambda item: isinstance(item, dict) and all(map(_is_score, item.values())),
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
