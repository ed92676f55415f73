"""What files of profiles say: the types name every field that is written, and each has one builder."""

import json
import math
from pathlib import Path

import pytest

from profilesearch.errors import UsageError
from profilesearch.evidence import Evidence, PoolMember, Provenance, evidence, provenance
from profilesearch.profiles import Profile
from profilesearch.store import SHIPPED

FILES = sorted(SHIPPED.glob("*/*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_the_types_name_all_that_stored_profiles_say(file: Path) -> None:
    profile = Profile.load(file)
    assert profile.found.keys() <= Provenance.__annotations__.keys()
    for entry in profile.evidence:
        assert entry.keys() <= Evidence.__annotations__.keys()
        assert evidence(entry) == entry
        assert list(evidence(entry)) == list(entry)  # in the order of the file
    for member in profile.found.get("pool", []):
        assert member.keys() <= PoolMember.__annotations__.keys()
    assert provenance(profile.found) == profile.found
    value = json.loads(file.read_text())
    value.pop("digest", None)
    assert json.dumps(profile.to_json()) == json.dumps(value)


def test_evidence_is_built_of_what_is_known() -> None:
    about: Evidence = {"data": "digits", "model": "net"}
    built = evidence(about, {"pruned_accuracy": 0.51234567, "interval": [0.41234567, 0.6]}, {"gain": 0.01})
    assert built == {**about, "pruned_accuracy": 0.51234567, "interval": [0.4123, 0.6], "gain": 0.01}
    assert "gain_interval" not in evidence({"gain": 0.01, "gain_interval": [math.nan, math.nan]})  # one measurement
    assert about == {"data": "digits", "model": "net"}
    with pytest.raises(UsageError, match="'pruned_accuracy' in the profile's evidence has a wrong type or range"):
        evidence({"pruned_accuracy": 51.2})


def test_provenance_is_built_of_what_is_known() -> None:
    found: Provenance = {"searcher": "ppo", "score": {"fresh": 0.9}}
    assert provenance(found, {"multiple_of": 8}) == {**found, "multiple_of": 8}
    with pytest.raises(UsageError, match="'score' in the profile's found has a wrong type or range"):
        provenance({"score": {"fresh": math.inf}})
