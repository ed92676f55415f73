"""What a profile's own evidence says of it: what it gained over uniform and where, and which of two comes first."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from profilesearch.evidence import AtHand, Evidence
from profilesearch.profiles import Profile

_LOST, _UNKNOWN, _GAINED = range(3)


@dataclass(frozen=True)
class Gain:
    """Accuracy over the uniform profile on models of one data set: the mean, and where their 95 % intervals reach."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(entries: Sequence[Evidence]) -> "Gain":
        """Sums up evidence entries; a model counts once, with the mean of its own, whatever recipes it was tuned by."""
        ends, models = [entry["gain_interval"] for entry in entries], dict[object, list[float]]()
        for place, entry in enumerate(entries):
            models.setdefault(entry.get("model", place), []).append(float(entry["gain"]))
        value = fmean(map(fmean, models.values()))
        return Gain(value, min(float(low) for low, _ in ends), max(float(high) for _, high in ends))


def gains(profile: Profile) -> dict[str, Gain]:
    """Returns the gain over the uniform profile, by data set, of those entries that give it with its interval."""
    found: dict[str, list[Evidence]] = {}
    for entry in profile.evidence:
        if {"gain", "gain_interval"} <= entry.keys():
            found.setdefault(str(entry.get("data")), []).append(entry)
    return {data: Gain.of(entries) for data, entries in found.items()}


def evidence_against(profile: Profile, own: bool, here: AtHand) -> bool:
    """Says whether a profile lost to the uniform one on the data set, or, where nothing is known there, elsewhere.

    Losses elsewhere say nothing of a profile that was searched for this network, or by the user on this data. Where no
    data are at hand, everything is elsewhere.
    """
    return not is_for(profile, own, here) and rank(profile, here)[0] == _LOST


def is_for(profile: Profile, own: bool, here: AtHand) -> bool:
    """Says whether a profile was searched for this network or, if it is the user's own, on this data.

    One that lost on this data is for neither.
    """
    profile = profile.seen(here)
    lost = (gain := gains(profile).get(here.data)) is not None and gain.value <= 0
    searched = [member.get("name") for member in profile.found.get("pool", []) if member["data"] == here.data]
    return not lost and ((bool(searched) and own) or here.network in searched)


def rank(profile: Profile, here: AtHand) -> tuple[int, float, bool, float, float]:
    """Returns what profiles are ranked by: the larger, the better."""
    profile, data = profile.seen(here), here.data
    known = gains(profile)
    there = known.get(data)
    elsewhere = [gain for name, gain in known.items() if name != data]
    lost = there.value <= 0 if there else bool(elsewhere) and fmean(gain.value for gain in elsewhere) <= 0
    standing = _LOST if lost else _UNKNOWN if there is None else _GAINED
    same_data = any(member.get("data") == data for member in profile.found.get("pool", []))
    carried = max(0.0, min((gain.low for gain in elsewhere), default=0.0))
    score = profile.found.get("score", {})
    searched = score["fresh"] - score["uniform_fresh"] if {"fresh", "uniform_fresh"} <= score.keys() else 0.0
    return standing, there.low if there else 0.0, same_data, carried, float(searched)
