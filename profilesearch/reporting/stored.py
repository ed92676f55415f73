"""Stored profiles and their evidence, as rows of tables."""

from collections.abc import Mapping
from typing import Any

from profilesearch.errors import UsageError
from profilesearch.measure.reaching import check_fits, off_budget, reached_text
from profilesearch.profiles import Profile
from profilesearch.standing import gains
from profilesearch.store import Stored
from profilesearch.system.amounts import is_number

PROFILES = ("profile, and how it was found", "keeps", "gain over uniform")
EVIDENCE = ("profile", "model", "data", "pruned", "fine-tuned", "epochs", "gain over uniform")


def profile_row(stored: Stored) -> list[str]:
    """Returns a row of `PROFILES`."""
    profile = stored.profile
    found = profile.found
    origin = found.get("mapped_from")
    how = f"{found.get('searcher')}, mapped from {origin['architecture']}" if origin else str(found.get("searcher"))
    on = sorted({member["data"] for member in found.get("pool", [])})
    gained = [f"{data}\n{_points(gain.value, gain.low, gain.high)}" for data, gain in gains(profile).items()]
    where = f"\non {', '.join(on)}" if on else ""
    return [f"{profile.architecture}/{stored.name}\n{how}{where}", _reached(profile), "\n".join(gained)]


def _reached(profile: Profile) -> str:
    try:
        check_fits(profile)
    except UsageError:
        return f"does not fit {profile.architecture}"
    return f"{reached_text(profile)}{off_budget(profile)}".replace(" of the ", "\nof the ", 1)


def evidence_rows(stored: Stored) -> list[list[str]]:
    """Returns a row of `EVIDENCE` for each measurement."""
    return [
        [
            f"{stored.profile.architecture}/{stored.name}",
            str(entry.get("model", "")),
            str(entry.get("data", "")),
            _percent(entry.get("pruned_accuracy")),
            _percent(entry.get("finetuned_accuracy")),
            epochs(entry),
            gain(entry),
        ]
        for entry in stored.profile.evidence
    ]


def _percent(value: Any) -> str:
    return "" if value is None else f"{value * 100:.2f}"


def epochs(entry: Mapping[str, Any]) -> str:
    """Returns how many epochs of fine-tuning an entry of evidence is of; nothing where it does not say."""
    known = entry.get("recipe", {}).get("finetune", 0)
    return f"{known:g}" if is_number(known) else ""


def counted(number: str) -> str:
    """Returns a number of epochs in words."""
    return f"{number} epoch{'s' * (number != '1')}".strip()


def gain(entry: Mapping[str, Any]) -> str:
    """Returns the points over the uniform profile that an entry of evidence has, with their interval."""
    if "gain" not in entry or "gain_interval" not in entry:
        return ""
    return _points(entry["gain"], *entry["gain_interval"])


def _points(value: float, low: float, high: float) -> str:
    return f"{value * 100:+.2f} ({low * 100:+.2f} to {high * 100:+.2f})"
