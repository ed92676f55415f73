"""Profiles that need no search: exactly on the budget, the widest that there is, and rivals of every search."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp
from test_commands import call

from agents import RandomSearcher, TaperSearcher, UniformSearcher
from profilesearch.cli.outcome import known_worth
from profilesearch.errors import UsageError
from profilesearch.measure.reaching import rows_off
from profilesearch.networks.architectures import build
from profilesearch.networks.plan import Plan
from profilesearch.networks.rivals import RIVALS, default_slope, rivals_of, taper, widest
from profilesearch.networks.space import TOLERANCE, ProfileSpace
from profilesearch.profiles import Budget, Metric, Profile, Scope
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem
from profilesearch.scoring.score import default_settings
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member


@cache
def plan_of(name: str) -> Plan:
    return Plan(name, build(name, 10), (3, 64, 64))


def space_of(
    name: str, keep: float, metric: Metric = "macs", scope: Scope = "block", multiple: int = 1
) -> ProfileSpace:
    return plan_of(name).space(Budget(metric, keep), scope, multiple)


@pytest.mark.full
@pytest.mark.parametrize("keep", [0.2, 0.3, 0.5, 0.8])
def test_widest_has_the_most_parameters_that_there_are(keep: float) -> None:
    """In ResNet-20's blocks no two groups meet in a layer: an integer program says what is possible."""
    space = space_of("resnet20", keep)
    low, high = space.ends
    one = high - np.diag(np.ones(space.size, dtype=np.int64))
    macs, params = (space.cost.cost(high, m) - space.cost.cost(one, m) for m in ("macs", "params"))
    fixed = space.cost.macs(high) - macs @ high
    limit = LinearConstraint(macs, ub=keep * space.cost.macs(high) - fixed)
    best = milp(-params, constraints=limit, bounds=Bounds(low, high), integrality=np.ones(space.size))
    most = space.cost.params(np.rint(best.x).astype(np.int64))
    found = widest(space)
    assert space.relative(found) == pytest.approx(keep, rel=TOLERANCE)
    assert space.cost.params(found) >= most * 0.998
    assert space.cost.params(found) <= most * 1.01  # one step beyond the budget, where that is nearer to it


@pytest.mark.full
@pytest.mark.parametrize(("name", "scope"), [("squeezenet1_1", "block"), ("mobilenet_v2", "all"), ("resnet18", "all")])
@pytest.mark.parametrize("metric", ["macs", "params"])
def test_widest_is_ahead_of_every_other_profile(name: str, scope: Scope, metric: Metric) -> None:
    space = space_of(name, 0.4, metric, scope)
    other: Metric = "macs" if metric == "params" else "params"
    found = widest(space)
    assert space.relative(found) == pytest.approx(0.4, rel=TOLERANCE)
    assert ((found >= space.ends[0]) & (found <= space.ends[1])).all()
    assert np.array_equal(found, widest(space))
    rivals = np.array([*space.sample(50, np.random.default_rng(0)), space.uniform(), taper(space), taper(space, 2)])
    assert space.cost.relative(found, other) > space.cost.relative(rivals, other).max()


@pytest.mark.full
def test_groups_that_are_equal_share_what_the_widest_profile_leaves() -> None:
    space = space_of("resnet56", 0.5)
    widths = widest(space).reshape(3, 9)
    assert (widths[2] == 64).all()
    assert widths[1, 1:].max() - widths[1, 1:].min() <= 2  # nearly alike; the first has fewer inputs
    assert (widths[0] <= 3).all()


def test_widest_keeps_to_multiples() -> None:
    space = space_of("resnet20", 0.6, multiple=8)
    found = widest(space)
    assert (found % 8 == 0).all()
    assert space.relative(found) == pytest.approx(0.6, rel=TOLERANCE)


@pytest.mark.full
@pytest.mark.parametrize("metric", ["macs", "params"])
@pytest.mark.parametrize("slope", [-2.0, -0.5, 0.5, 2.0])
def test_taper_rises_or_falls_with_depth_on_the_budget(metric: Metric, slope: float) -> None:
    space = space_of("resnet56", 0.4, metric)
    widths = taper(space, slope)
    ratios = widths / space.table.channels
    assert space.relative(widths) == pytest.approx(0.4, rel=TOLERANCE)
    assert (np.diff(ratios) * np.sign(slope) >= -1 / space.table.channels[1:]).all()
    assert np.log2(ratios[-1] / ratios[0]) == pytest.approx(slope, abs=0.35)
    assert np.array_equal(taper(space, 0), space.uniform())
    assert np.array_equal(taper(space), taper(space, default_slope(space)))


@pytest.mark.full
def test_the_pool_chooses_the_slope(deeper: Problem) -> None:
    result = TaperSearcher().search(deeper, 40)
    slopes = [np.log2(e.widths[-3:].sum() / e.widths[:3].sum() / 4) for e in result.history]
    assert len(slopes) == 13
    assert max(slopes) > 1 > -1 > min(slopes)
    assert any(np.array_equal(result.winner.evaluation.widths, e.widths) for e in result.history)


@pytest.mark.full
def test_a_search_ends_with_a_rival_where_it_found_nothing_better(deeper: Problem) -> None:
    result = RandomSearcher().search(deeper, 30, seed=1)
    origins = [finalist.origin for finalist in result.finalists]
    assert origins.count("uniform") == origins.count("widest") == 1
    assert len(result.history) == 30  # the rivals cost no evaluation
    rivals = rivals_of(deeper.space)
    for finalist in result.finalists:
        if finalist.origin in rivals:
            assert np.array_equal(finalist.evaluation.widths, rivals[finalist.origin])
    assert [f.origin for f in UniformSearcher().search(deeper, 5).finalists] == ["uniform"]


@pytest.mark.full
def test_the_rivals_are_scored_once(members: list[Member], digits: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for evaluations in (2, 3):
        made = Problem(members[:1], {digits.name: digits}, Budget("macs", 0.5), default_settings(), Ledger(path))
        RandomSearcher().search(made, evaluations)
    search = sum('"search"' in line for line in path.read_text().splitlines())
    assert search == 1 + 3 + 2  # unpruned, three random ones, two rivals


def test_train_says_that_what_it_stores_needed_no_search(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--arch", "resnet8", "--seeds", "0", "--searcher", "random", "--evaluations", "1", "--keep", "0.3"]
    call("train", *options, "--json")
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["chosen"] in ("uniform", "widest")
    assert f"what is stored is the {found['chosen']} profile, which needs no search: none of 1 that random tried" in err
    profile = Profile.load(found["profile"])
    assert profile.found["chosen"] == found["chosen"]
    assert {"uniform_fresh", "widest_fresh"} <= profile.found["score"].keys()
    assert known_worth(profile, "digits").startswith(f"it is the {found['chosen']} profile, since none that the search")
    call("report", found["run"], "-o", place / "report.html")
    assert f">{found['chosen']}<" in (place / "report.html").read_text()


def test_rows_that_are_off_the_budget_are_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--arch", "resnet8", "--seeds", "0", "--evaluations", "2", "--multiple-of", "8", "--json"]
    call("train", *options, "--searcher", "random")
    assert re.search(r"off the budget, since widths are whole: uniform by \+1\.3%; .*stored", capsys.readouterr().err)
    call("compare", *options, "--searchers", "random", "--random-sample", "3")
    assert re.search(
        r"off the budget, since widths are whole: uniform by \+1\.3%; .*random by", capsys.readouterr().err
    )
    costs = {"one": (0.4976, 0.9), "other": (0.5, 0.41)}
    assert rows_off(Budget("macs", 0.5), costs) == ""
    assert rows_off(Budget("macs", 0.5, 0.4), {"other": (0.5, 0.41)}).endswith(": other by +2.5%")


@pytest.mark.parametrize("rival", ["widest", "random"])
def test_apply_takes_a_rival_by_name(place: Path, capsys: pytest.CaptureFixture[str], rival: str) -> None:
    call("apply", "--arch", "resnet8", "--data", "digits", "--profile", rival, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["profile"]["found"]["searcher"] == rival
    space = Plan("resnet8", build("resnet8", 10, 1), (1, 8, 8)).space(Budget("macs", 0.5))
    assert report["widths"] == RIVALS[rival](space, 0).tolist()
    assert report["after"]["macs"] < 0.51 * report["before"]["macs"]


def test_compare_has_the_rivals_and_the_parameters_of_every_row(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--arch", "resnet8", "--seeds", "0", "--evaluations", "2", "--random-sample", "3", "--keep", "0.3"]
    call("compare", *options, "--searchers", "random", "widest", "taper", "--json")
    out, err = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(out)["rows"]}
    assert list(rows) == ["unpruned", "uniform", "widest", "random, median", "random", "taper"]
    assert rows["unpruned"]["params_share"] == 1
    assert rows["widest"]["params"] > rows["uniform"]["params"] > 0
    assert f"{rows['widest']['params'] / 1e3:.1f} k ({rows['widest']['params_share']:.1%})" in err
    assert rows["taper"]["evaluations"] == 2
    (origin,) = rows["random"]["origins"]
    needless = origin in ("uniform", "widest")
    assert ("some ended with what needs none" in err) == (f"1 with {origin}" in err) == needless


def test_there_is_no_widest_profile_where_the_parameters_are_given() -> None:
    space = plan_of("resnet20").space(Budget("macs", 0.5, 0.5))
    assert list(rivals_of(space)) == ["uniform"]
    with pytest.raises(UsageError, match=r"a budget of 0\.5 of the macs and .* of the params fixes these"):
        widest(space)
