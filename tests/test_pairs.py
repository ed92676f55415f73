"""Budgets with two metrics: both are met, by any network, any proposal and any pair of values that can be met."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_commands import call

from envs.episode import with_keep
from profilesearch.errors import UsageError
from profilesearch.measure.reaching import off_budget
from profilesearch.networks.architectures import build
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.groups import IntArray
from profilesearch.networks.plan import Plan
from profilesearch.networks.rivals import taper
from profilesearch.networks.space import TOLERANCE, ProfileSpace
from profilesearch.profiles import Budget, Profile, Scope
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member

NETWORKS: tuple[tuple[str, Scope, float], ...] = (
    ("resnet20", "block", 0.3),
    ("resnet20", "all", 0.6),
    ("mobilenet_v2", "all", 0.5),
    ("squeezenet1_1", "block", 0.4),
)


@cache
def plan_of(name: str) -> Plan:
    size = 32 if name.startswith("resnet") else 64
    return Plan(name, build(name, 10), (3, size, size))


@cache
def space_of(name: str, scope: Scope, keep: float) -> ProfileSpace:
    return plan_of(name).space(Budget("macs", keep), scope)


@pytest.mark.full
@settings(max_examples=25, deadline=None, derandomize=True)
@given(which=st.sampled_from(NETWORKS), place=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1))
def test_any_proposal_meets_both_costs(which: tuple[str, Scope, float], place: float, seed: int) -> None:
    space = space_of(*which)
    low, high = space.reach_params()
    pair = replace(space.pair, level=low + place * (high - low))
    ratios = np.random.default_rng(seed).uniform(space.least, 1, (4, space.size))

    def project(ratios: FloatArray) -> IntArray:
        return pair.settle(space.widths(pair.project(ratios * space.table.channels) / space.table.channels))

    widths = project(ratios)
    assert space.relative(widths) == pytest.approx(space.budget.keep, rel=TOLERANCE)
    assert space.cost.relative(widths, "params") == pytest.approx(pair.level, rel=TOLERANCE)
    assert ((widths >= space.ends[0]) & (widths <= space.ends[1])).all()
    assert np.array_equal(project(ratios), widths)
    assert np.array_equal(project(ratios[1:2])[0], widths[1])  # whatever it is projected with


def test_uniform_taper_and_random_meet_both_costs_and_differ() -> None:
    space = plan_of("resnet20").space(Budget("macs", 0.5, 0.6))
    profiles = np.array([space.uniform(), taper(space), *space.sample(20, np.random.default_rng(0))])
    assert space.relative(profiles) == pytest.approx(0.5, rel=TOLERANCE)
    assert space.cost.relative(profiles, "params") == pytest.approx(0.6, rel=TOLERANCE)
    assert len(np.unique(profiles, axis=0)) == len(profiles)


def test_what_a_proposal_has_already_is_left_as_it_is() -> None:
    plan = plan_of("resnet20")
    widths = plan.space(Budget("macs", 0.5)).uniform()
    one = plan.space(Budget("macs", 0.5))
    both = plan.space(Budget("macs", float(one.relative(widths)), one.relative_params(widths)))
    assert np.abs(both.uniform() - widths).max() <= 2


def test_a_pair_out_of_reach_names_the_range_of_parameters(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low, high = space_of("resnet20", "block", 0.5).reach_params()
    for params in (low - 0.02, high + 0.02):
        with pytest.raises(UsageError, match=r"`keep_params` reaches from 0\.20\d to 0\.8[34]\d$"):
            plan_of("resnet20").space(Budget("macs", 0.5, params))
    for verb in ("train", "compare", "apply"):
        more = ["--profile", "uniform"] if verb == "apply" else ["--evaluations", "2"]
        with pytest.raises(SystemExit, match="2"):
            call(verb, "--arch", "resnet8", "--data", "digits", "--keep-params", "0.1", *more)
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert "cannot keep 0.5 of the macs and 0.1 of the params together" in last
    with pytest.raises(UsageError, match="parameters are the budget's metric already"):
        Budget("params", 0.5, 0.5)


def test_a_budget_of_one_metric_is_named_and_stored_as_ever(tmp_path: Path) -> None:
    assert str(Budget("macs", 0.5)) == "Budget(metric='macs', keep=0.5)"
    for file in sorted(Path("profiles").glob("*/*.json")):
        Profile.load(file).save(tmp_path / file.name)
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_a_budget_of_two_metrics_is_stored_found_and_checked(tmp_path: Path) -> None:
    space = plan_of("resnet20").space(Budget("macs", 0.5, 0.6))
    made = space.profile(space.uniform(), {"searcher": "uniform"})
    store = Store(tmp_path, tmp_path)
    path = store.add(made, "both")
    budget = json.loads(path.read_text())["budget"]
    assert budget["keep_params"] == 0.6
    assert budget["reached_params"] == pytest.approx(0.6, rel=TOLERANCE)
    there = store.best("resnet20", 0.5, "macs", "digits", keep_params=0.6).profile
    assert there.budget == made.budget
    assert there.reached_params == pytest.approx(made.reached_params)
    assert off_budget(there) == ""
    assert off_budget(replace(there, reached_params=0.7)) == ", not the 50.0% and 60.0% of its budget"
    with pytest.raises(UsageError, match=r"there are profiles that keep 0\.5 of the macs and 0\.6 of the params"):
        store.best("resnet20", 0.5, "macs", "digits")


def test_scores_of_two_budgets_are_shared_but_their_searches_are_not(members: list[Member], digits: DataSet) -> None:
    one, both = (
        Problem(members[:1], {digits.name: digits}, budget, default_settings(), Ledger())
        for budget in (Budget("macs", 0.5), Budget("macs", 0.5, 0.6))
    )
    assert one.digest != both.digest
    assert with_keep(both, 0.4).space.budget == Budget("macs", 0.4, 0.6)


def test_a_search_and_its_use_under_two_metrics(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--arch", "resnet8", "--keep", "0.5", "--keep-params", "0.6", "--json"]
    call("train", *options, "--data", "digits", "--seeds", "0", "--evaluations", "10")
    out, err = capsys.readouterr()
    assert "and 60.0% of the params, reachable there 19." in err
    path = Path(json.loads(out)["profile"])
    assert path.stem.startswith("macs0.5-params0.6-digits-ppo10")
    call("apply", *options, "--data", "digits")
    report = json.loads(capsys.readouterr().out)
    assert report["profile"]["keep"] == json.loads(path.read_text())["keep"]
    for metric, keep in (("macs", 0.5), ("params", 0.6)):
        assert report["after"][metric] == pytest.approx(keep * report["before"][metric], rel=TOLERANCE)
