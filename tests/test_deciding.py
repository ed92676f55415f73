"""Which profile is used where no search was made: a stored one, the policy for any network, a rule, or uniform."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from envs.episode import ANY
from envs.policy import Policy
from profilesearch import prune
from profilesearch.applying.choosing import Undecided, chosen_profile
from profilesearch.applying.settings import Applying
from profilesearch.cli.console import Output
from profilesearch.deciding import decide, named, stored_policies
from profilesearch.errors import UsageError
from profilesearch.evidence import AtHand
from profilesearch.networks.architectures import build
from profilesearch.networks.plan import Plan
from profilesearch.networks.rivals import RIVALS
from profilesearch.networks.space import TOLERANCE
from profilesearch.networks.tiny import TINY_NETWORKS
from profilesearch.profiles import Budget, Profile
from profilesearch.research.policy.families import family_of
from profilesearch.research.policy.left_out import Row, evidence_of, measure, with_costs
from profilesearch.research.policy.sizes import Sizes
from profilesearch.scoring.problem import Problem
from profilesearch.store import Store
from profilesearch.tasks.data import load_data

BUDGET = Budget("macs", 0.5)


def some_policy(store: Path, name: str = "any", **gains: float) -> Policy:
    """Stores a policy that was never trained, with evidence of given gains, each 1 point wide."""
    random = np.random.default_rng(len(name))
    layers = [
        (random.normal(size=shape).astype(np.float32), np.zeros(shape[0], np.float32))
        for shape in ((4, len(ANY.names)), (1, 4))
    ]
    evidence = {
        "families": 9,
        "data": ["digits"],
        "gains": {
            rival.replace("_", " "): {"mean": gain, "low": gain - 0.005, "high": gain + 0.005}
            for rival, gain in gains.items()
        },
    }
    about: dict[str, Any] = {
        "keeps": [0.2, 0.9],
        "metrics": ["macs"],
        "scope": "block",
        "pixels": [32],
        "evidence": evidence,
    }
    made = Policy(tuple(layers), about)
    made.save(store / "policy" / f"{name}.safetensors")
    return made


def test_the_policy_is_used_where_it_beats_uniform_and_widest(tmp_path: Path) -> None:
    assert decide(tmp_path, BUDGET, "block", 32).name == "uniform"
    policy = some_policy(tmp_path, uniform=0.02, widest=0.01)
    decision = decide(tmp_path, BUDGET, "block", 32)
    assert decision.name == "policy"
    assert decision.why.startswith(
        "on 9 families (digits) that it did not learn from, the policy for any network gained 2.0 points (1.5 to 2.5)"
    )
    network = build("mobilenet_v2_tiny", 10)
    small = prune(network, 0.5, (3, 32, 32), store=tmp_path)
    assert (small.source, small.profile.found["general"]) == ("policy", policy.digest)
    assert "profile: policy, since no stored one fits; on 9 families (digits)" in str(small)
    assert small.macs[1] / small.macs[0] == pytest.approx(0.5, rel=0.005)


@pytest.mark.parametrize(
    ("gains", "chosen"),
    [
        ({"uniform": 0.02, "widest": 0.004}, "uniform"),
        ({"uniform": 0.004, "widest": 0.02}, "uniform"),
        ({"uniform": 0.02, "widest": -0.01, "widest_over_uniform": 0.03, "taper_over_uniform": 0.01}, "widest"),
        ({"uniform": 0.02, "widest": -0.01, "widest_over_uniform": 0.003, "taper_over_uniform": 0.01}, "taper"),
        ({}, "uniform"),
    ],
)
def test_else_the_rule_that_is_better_is(tmp_path: Path, gains: dict[str, float], chosen: str) -> None:
    some_policy(tmp_path, **gains)
    assert decide(tmp_path, BUDGET, "block", 32).name == chosen
    measured = decide(tmp_path, BUDGET, "block", 32, images=10)
    assert measured.name == ("blend" if chosen == "uniform" else chosen)
    space = Plan("vgg_tiny", build("vgg_tiny", 10), (3, 32, 32)).space(BUDGET)
    small = prune(build("vgg_tiny", 10), 0.5, (3, 32, 32), store=tmp_path)
    assert small.source == chosen
    assert np.array_equal(space.widths(space.table.ratios(small.profile)), RIVALS[chosen](space, 0))


@pytest.mark.parametrize(
    ("gains", "without_images"),
    [
        ({"uniform": 0.02, "widest": 0.01}, "policy"),
        ({"uniform": 0.02, "widest": -0.01, "widest_over_uniform": 0.03, "taper_over_uniform": 0.01}, "widest"),
    ],
)
def test_what_is_measured_is_used_where_it_gained_more(
    tmp_path: Path, gains: dict[str, float], without_images: str
) -> None:
    for measured, chosen in ((0.035, "blend"), (0.015, without_images)):
        some_policy(tmp_path, **gains, sensitivity_over_uniform=measured)
        assert decide(tmp_path, BUDGET, "block", 32).name == without_images
        decision = decide(tmp_path, BUDGET, "block", 32, images=10)
        assert decision.name == chosen
        assert ("sensitivity gained 3.5 points (3.0 to 4.0) over uniform there" in decision.why) == (measured > 0.03)
    some_policy(tmp_path, uniform=0.004, widest=0.01, sensitivity_over_uniform=-0.01)
    assert decide(tmp_path, BUDGET, "block", 32, images=10).name == "uniform"


def test_the_gain_of_what_is_taken_counts_where_it_was_measured(tmp_path: Path) -> None:
    some_policy(tmp_path, uniform=0.02, widest=0.01, sensitivity_over_uniform=0.035, blend_over_uniform=0.025)
    decision = decide(tmp_path, BUDGET, "block", 32, images=10)
    assert decision.name == "blend"
    assert "and blend gained 2.5 points (2.0 to 3.0) over uniform there" in decision.why
    some_policy(tmp_path, uniform=0.02, widest=0.01, sensitivity_over_uniform=0.035, blend_over_uniform=0.015)
    assert decide(tmp_path, BUDGET, "block", 32, images=10).name == "policy"


def test_a_policy_is_not_used_for_what_it_was_not_trained_for(tmp_path: Path) -> None:
    some_policy(tmp_path, uniform=0.02, widest=0.01)
    for budget, scope, pixels, why in (
        (Budget("params", 0.5), "block", 32, "budgets such as 0.5 of the params"),
        (Budget("macs", 0.5, 0.5), "block", 32, "budgets such as"),
        (Budget("macs", 0.95), "block", 32, "from 0.2 to 0.9, not for 0.95"),
        (BUDGET, "all", 32, "scope 'all'"),
        (BUDGET, "block", 224, "learned from networks for images of 32 pixels, not of 224"),
    ):
        decision = decide(tmp_path, budget, scope, pixels)  # type: ignore[arg-type]
        assert decision.name == "uniform"
        assert why in decision.why
        assert decide(tmp_path, budget, scope, pixels, images=9).name == "uniform"  # type: ignore[arg-type]
        measured = decide(tmp_path, budget, scope, pixels, images=10)  # type: ignore[arg-type]
        assert measured.name == "blend"
        assert measured.why == f"{decision.why}; what each layer can lose is measured on training images"


def test_prune_measures_where_nothing_is_stored_and_there_are_images(tmp_path: Path) -> None:
    network, images = build("vgg_tiny", 10), torch.rand(20, 3, 16, 16)
    small = prune(network, 0.5, images=images, store=tmp_path, refit="none")
    assert small.source == "blend"
    assert "profile: blend, since no stored one fits; " in str(small)
    assert prune(network, 0.5, images=images[:9], store=tmp_path, refit="none").source == "uniform"


def test_a_stored_profile_comes_first(tmp_path: Path) -> None:
    some_policy(tmp_path, uniform=0.02, widest=0.01)
    network = build("vgg_tiny", 10)
    space = Plan("vgg_tiny", network, (3, 32, 32)).space(BUDGET)
    Store(tmp_path).add(space.profile(space.sample(1, np.random.default_rng(0))[0], {"searcher": "random"}), "mine")
    assert Path(prune(network, 0.5, (3, 32, 32), store=tmp_path).source).name == "mine.json"
    assert prune(network, 0.5, (3, 32, 32), store=tmp_path, profile="policy").source == "policy"


@pytest.mark.parametrize(("scope", "stored"), [(None, True), ("block", True), ("all", False)])
def test_a_stored_profile_of_another_scope_than_is_asked_for_is_none(scope: Any, stored: bool, tmp_path: Path) -> None:
    network = build("resnet8", 10, 1)
    space = Plan("resnet8", network, (1, 8, 8)).space(BUDGET)
    file = Store(tmp_path).add(space.profile(space.uniform(), {"searcher": "random"}), "mine")
    words = ["--arch", "resnet8", "--data", "digits", "--store", str(tmp_path), *(["--scope", scope] if scope else [])]
    settings = Applying.read(words)
    given = chosen_profile(settings, load_data("digits"), AtHand("digits"), Output.of(settings))
    assert isinstance(given, Profile) == stored
    if isinstance(given, Undecided):
        assert given.why == "no stored profile of resnet8 keeps 0.5 of the macs in scope 'all'"
    small = prune(network, image_shape=(1, 8, 8), store=tmp_path, scope=scope)
    assert (small.source == str(file), small.profile.scope) == (stored, scope or "block")


def test_a_given_profile_is_for_its_own_scope() -> None:
    network, profile = build("resnet20", 10), "resnet20/macs0.5-ppo"
    assert prune(network, image_shape=(3, 32, 32), scope="block", profile=profile).source == "given"
    with pytest.raises(UsageError, match="is for scope 'block', and `scope='all'` asks for another; leave out `scope`"):
        prune(network, image_shape=(3, 32, 32), scope="all", profile=profile)


def test_the_policy_with_the_best_evidence_is_taken_and_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    some_policy(tmp_path, "one", uniform=0.02, widest=0.01)
    better = some_policy(tmp_path, "other", uniform=0.03, widest=0.01)
    (tmp_path / "policy" / "broken.safetensors").write_bytes(b"nothing")
    assert stored_policies(tmp_path)[0].digest == better.digest
    assert decide(tmp_path, BUDGET, "block", 32).policy is stored_policies(tmp_path)[0]


def test_a_missing_policy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilesearch.deciding.SHIPPED", tmp_path)
    with pytest.raises(UsageError, match="no policy is stored; train one with `profilesearch policy train`"):
        named("policy", BUDGET, tmp_path)


def test_evidence_counts_each_family_once() -> None:
    def row(family: str, keep: float, policy: float, uniform: float) -> Row:
        return Row(family, family, keep, {"policy": policy, "uniform": uniform, "widest": 0.5}, {})

    rows = [row("a", 0.3, 0.7, 0.6), row("a", 0.5, 0.9, 0.8), row("b", 0.3, 0.6, 0.6), row("c", 0.3, 0.7, 0.5)]
    evidence = evidence_of(rows)
    gain = evidence["gains"]["uniform"]
    assert (evidence["families"], evidence["ahead_of_uniform"]) == (3, 2)
    assert gain["mean"] == pytest.approx(0.1)
    assert gain["high"] - gain["mean"] == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)
    assert evidence["gains"]["widest over uniform"]["mean"] == pytest.approx(-(0.2 + 0.1 + 0.0) / 3)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("resnet56", "resnet"),
        ("resnext_tiny", "resnext"),
        ("mobilenet_v2", "mobilenet"),
        ("timm:tf_efficientnet_lite0", "efficientnet"),
        ("timm:tf_mobilenetv3_large_100", "mobilenet"),
        ("wide_resnet50_2", "resnet"),
        ("timm:gluon_resnet50_v1b", "resnet"),
        ("timm:legacy_seresnet18", "resnet"),
        ("timm:seresnet50", "resnet"),
        ("timm:resnetrs50", "resnet"),
        ("timm:resnetaa50", "resnet"),
        ("timm:seresnext50_32x4d", "resnext"),
        ("timm:inception_resnet_v2", "inception"),
        ("regnet_x_400mf", "regnet"),
        ("timm:regnety_002", "regnet"),
        ("timm:semnasnet_100", "mnasnet"),
        ("vgg16_bn", "vgg"),
        ("v2net", "v"),
        ("mine.nets:Finder2", "finder"),
        ("3d:2", "2"),
    ],
)
def test_families_are_named_by_what_names_begin_with(name: str, family: str) -> None:
    assert family_of(name) == family


def test_tiny_networks_are_of_the_families_that_are_published() -> None:
    assert {family_of(name) for name in TINY_NETWORKS} == {
        "densenet", "efficientnet", "googlenet", "mnasnet", "mobilenet", "regnet", "resnext", "shufflenet",
        "squeezenet", "vgg",
    }  # fmt: skip


@pytest.mark.full
def test_whatever_scores_a_search_accuracy_judges_its_profiles(problem: Problem, tmp_path: Path) -> None:
    (policy,) = stored_policies(tmp_path)
    found = [
        measure(problem.with_settings(replace(problem.settings, measure=kind)), policy, "resnet", Sizes((0.5,), 2, 0))
        for kind in ("accuracy", "divergence")
    ]
    for name in ("policy", "uniform", "widest"):
        assert found[0][0].scores[name] == found[1][0].scores[name] > 0.2


@pytest.mark.full
def test_profiles_are_measured_at_the_parameters_of_uniform_too(deeper: Problem, tmp_path: Path) -> None:
    (policy,) = stored_policies(tmp_path)
    one, both = (measure(deeper, policy, "resnet", Sizes((0.5,), 3, 4, equal))[0] for equal in (False, True))
    assert one.params["sensitivity"] != pytest.approx(one.params["uniform"], rel=0.02)
    assert both.keep_params == both.params["uniform"] == one.params["uniform"]
    assert both.scores["uniform"] == one.scores["uniform"]
    assert both.scores.keys() == one.scores.keys() - {"widest"}
    assert both.reached.values() == pytest.approx([0.5] * len(both.scores), rel=TOLERANCE)
    assert list(both.params.values()) == pytest.approx([both.keep_params] * len(both.scores), rel=TOLERANCE)
    assert "keep_params" not in one.to_json()


def test_parameters_of_uniform_are_in_reach_of_a_network_of_six_channels() -> None:
    layers = nn.Conv2d(1, 6, 3, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)
    problem = Problem.of(nn.Sequential(*layers), torch.rand(40, 1, 8, 8), torch.arange(40) % 10, Budget("macs", 0.45))
    assert problem.space.relative_params(problem.space.uniform()) > 0.54
    assert with_costs(problem, 0.45, equal_params=True).space.budget.keep_params == pytest.approx(0.494, abs=0.001)


def test_the_policy_of_the_installation_says_what_it_is_worth(tmp_path: Path) -> None:
    (policy,) = stored_policies(tmp_path)
    evidence = policy.about["evidence"]
    assert len({row["family"] for row in evidence["rows"]}) == evidence["families"] == 10
    assert evidence["gains"]["uniform"]["low"] < 0 < evidence["gains"]["widest"]["low"]
    decision = decide(tmp_path, BUDGET, "block", 32)
    assert decision.name == "uniform"  # not shown to be better
    assert "the policy for any network gained 0.2 points (-0.3 to 0.7) over uniform, 11.6 points" in decision.why
    measured = decide(tmp_path, BUDGET, "block", 32, images=10)
    assert measured.name == "blend"
    assert measured.why.endswith("training images, and blend gained 2.4 points (0.2 to 4.7) over uniform there")
    space = Plan("vgg_tiny", build("vgg_tiny", 10), (3, 32, 32)).space(BUDGET)
    assert space.relative(policy.finished(space).widths[0]) == pytest.approx(0.5, rel=0.005)
