"""What files of profiles say: the types name every field that is written, and each has one builder."""

import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from profilesearch.cli.console import Output
from profilesearch.errors import UsageError
from profilesearch.evidence import Evidence, PoolMember, Provenance, evidence, provenance
from profilesearch.profiles import Profile
from profilesearch.reporting.stored import evidence_rows
from profilesearch.store import SHIPPED, Stored

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


def test_intervals_of_nothing_are_forgotten_and_no_file_has_what_json_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = Profile.load(SHIPPED / "resnet20" / "macs0.5-ppo.json").to_json()
    unknown, note = [math.nan, math.nan], {"note": [math.inf, {"more": -math.inf}]}
    value["found"] |= note
    value["evidence"] = [{"data": "digits", "gain": 0.1, "gain_interval": unknown, "interval": unknown, **note}]
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(value))  # as earlier versions, and others, write it
    profile = Profile.load(old)
    assert profile.evidence[0].keys() == {"data", "gain", "note"}
    assert "nan" not in str(evidence_rows(Stored(profile, old)))
    profile.save(new)
    assert Profile.load(new).evidence[0]["gain"] == 0.1
    Output(as_json=True, console=Console()).result({"numbers": (math.nan, 1.5), **note})
    for text in (new.read_text(), capsys.readouterr().out):
        json.loads(text, parse_constant=pytest.fail)
