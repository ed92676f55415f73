"""`apply` and `prune` decide alike: which stored profile, of which scope, and where what needs no search may cut."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.policy import Policy
from profilesearch import prune
from profilesearch.applying.advice import Facts
from profilesearch.applying.choosing import chosen_profile, decided_profile, fitted_profile
from profilesearch.applying.making import measures
from profilesearch.applying.running import _advise
from profilesearch.applying.settings import Applying
from profilesearch.applying.subject import Subject
from profilesearch.cli.console import Output
from profilesearch.cli.workspace import Workspace
from profilesearch.deciding import NOTHING, Measures
from profilesearch.errors import UsageError
from profilesearch.evidence import AtHand
from profilesearch.looking import CPU
from profilesearch.networks.architectures import build
from profilesearch.networks.names import BLEND, POLICY
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Budget, Profile, Scope
from profilesearch.research.settings import Training
from profilesearch.sensitivity import RATIOS
from profilesearch.store import SHIPPED, Store
from profilesearch.tasks.data import load_data
from profilesearch.tasks.pools import Member

SHAPE = (1, 8, 8)


PLAN = Plan("resnet8", build("resnet8", 10, 1), SHAPE)


def decided(
    store: Path, capsys: pytest.CaptureFixture[str], *words: str, measures: Measures = NOTHING
) -> tuple[Profile, str]:
    """Returns what `apply` decides for an untrained network, and what it says."""
    settings = Applying.read(["--arch", "resnet8", "--data", "digits", "--store", str(store), *words])
    output = Output.of(settings)
    data = load_data("digits")
    chosen = chosen_profile(settings, data, AtHand("digits"), output)
    settings, given = decided_profile(settings, chosen, PLAN, data, output, Training)
    profile = fitted_profile(settings, given, PLAN, Workspace(settings, output), output, measures)
    return profile, " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("scope", [None, "all", "block"])
def test_a_stored_profile_of_any_scope_is_taken_where_none_is_asked_for(
    scope: Scope | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build("resnet8", 10, 1)
    space = Plan("resnet8", network, SHAPE).space(Budget("macs", 0.5), "all")
    file = Store(tmp_path).add(space.profile(space.uniform(), {"searcher": "random"}), "mine")
    small = prune(network, image_shape=SHAPE, store=tmp_path, scope=scope)
    assert (small.source == str(file)) == (scope != "block")
    if scope != "block":
        ours, _ = decided(tmp_path, capsys, *(["--scope", scope] if scope else []))
        assert (ours.scope, dict(ours.keep)) == (small.profile.scope, dict(small.profile.keep))


def test_without_a_stored_profile_streams_are_cut_where_blocks_alone_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build("resnet8", 10, 1)
    for keep, scope in ((0.3, "block"), (0.05, "all")):
        profile, said = decided(tmp_path, capsys, "--keep", str(keep), "--profile", "uniform")
        assert profile.scope == prune(network, keep, SHAPE, profile="uniform").profile.scope == scope
        assert ("so residual streams are pruned too (--scope all)" in said) == (scope == "all")
    with pytest.raises(UsageError, match="try `scope='all'`"):
        decided(tmp_path, capsys, "--keep", "0.05", "--profile", "uniform", "--scope", "block")


def test_what_is_decided_and_said_is_for_the_scope_that_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gain = {"mean": 0.1, "low": 0.05, "high": 0.2}
    evidence = {"families": 3, "data": ["digits"], "gains": {"uniform": gain, "widest": gain}}
    shipped = Policy.load(SHIPPED / POLICY / "any.safetensors")
    (tmp_path / POLICY).mkdir()
    about: dict[str, Any] = {"pixels": [8], "keeps": [0.01, 0.9], "scope": "block", "evidence": evidence}
    shipped.with_about(**about).save(tmp_path / POLICY / "mine.safetensors")
    _, said = decided(tmp_path, capsys, "--keep", "0.3")
    assert "using the policy profile: " in said
    alike = Measures(lambda scope: np.ones((len(PLAN.table.within(scope).groups), len(RATIOS))), lambda _: 1.0)
    profile, said = decided(tmp_path, capsys, "--keep", "0.05", measures=alike)
    assert (profile.scope, profile.found["searcher"]) == ("all", BLEND)
    assert "the policy for any network is not used, since it was not trained for scope 'all'" in said
    assert said.count("using the ") == 1
    assert " --scope all " in said.partition("`python -m profilesearch.train ")[2]


def test_what_to_do_next_stays_in_the_scope_that_was_decided() -> None:
    facts: dict[str, Any] = {
        "lost": 0.1, "gained": None, "epochs": 0, "lr": 0.02, "keep": 0.5, "streams": False, "faster": True,
        "uniform": False, "searched": 0, "verdict": None,
    }  # fmt: skip
    settings = Applying.read(["--arch", "resnet8", "--data", "digits"])
    for scope in ("block", "all"):
        steps = _advise(settings, Training, Facts(**facts, scope=scope))
        assert len(steps) > 2
        assert all(("--scope all" in step.command) == (scope == "all") for step in steps)


def test_parameters_are_a_second_budget_in_python_too(tmp_path: Path) -> None:
    network = build("resnet8", 10, 1)
    space = Plan("resnet8", network, SHAPE).space(Budget("macs", 0.5, 0.7))
    Store(tmp_path).add(space.profile(space.uniform(), {"searcher": "random"}), "both")
    small = prune(network, image_shape=SHAPE, keep_params=0.6, store=tmp_path)
    assert small.source == "uniform"  # the stored one keeps other parameters
    for have, (full, left) in ((0.5, small.macs), (0.6, small.params)):
        assert left / full == pytest.approx(have, rel=0.02)
    assert small.profile.reached_params == pytest.approx(small.params[1] / small.params[0])
    assert Path(prune(network, image_shape=SHAPE, keep_params=0.7, store=tmp_path).source).name == "both.json"
    assert prune(network, image_shape=SHAPE, store=tmp_path).source == "uniform"
    images = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0))
    sensed = prune(network, images=images, keep_params=0.6, profile="sensitivity")
    assert sensed.params[1] / sensed.params[0] == pytest.approx(0.6, rel=0.02)
    for message, given in {
        "keep_params must be in": {"keep_params": 1.5},
        "keep_params must be a number": {"keep_params": "half"},
        "parameters are the budget's metric already": {"keep_params": 0.5, "metric": "params"},
        "or leave `keep_params` out": {"keep_params": 0.5, "profile": "widest"},
        "`keep_params` reaches from": {"keep_params": 0.01},
    }.items():
        with pytest.raises(UsageError, match=message):
            prune(network, image_shape=SHAPE, **given)  # type: ignore[arg-type]


def test_what_too_few_images_tell_is_not_asked_of_them() -> None:
    """Of nine images, a fifth is one; of four none, and then all of them would judge."""
    network = build("resnet8", 10, 1)
    plan = Plan("resnet8", network, SHAPE)
    digits = load_data("digits")
    for count in (4, 9):
        member = Member("mine", "resnet8", "digits", Path("mine.safetensors"), "all", 0)
        subject = Subject(member, plan, digits, digits.train[:count])
        settings = Applying.read(["--arch", "resnet8", "--data", "digits", "--criterion", "l1"])
        found = measures(subject, settings, Output.of(settings), CPU)
        with pytest.raises(UsageError, match="measure what images=10 or more lose by it"):
            found.losses("block")
