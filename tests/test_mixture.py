"""Several architectures in one environment, and the policy that learns there."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from agents.general import GeneralSettings, policy_of, train_policy
from agents.sb3_vector import Sb3VectorEnv
from envs.episode import ANY
from envs.layerwise import LayerWiseEnv
from envs.mixture import OBJECTIVES, Mixture, Yardstick, reachable
from envs.policy import Policy
from envs.vector import LayerWiseVectorEnv
from profilesearch.errors import UsageError
from profilesearch.networks.architectures import build
from profilesearch.networks.features import FEATURES, group_features
from profilesearch.networks.plan import Plan
from profilesearch.profiles import SCOPES, Budget, Scope
from profilesearch.scoring.ledger import Ledger
from profilesearch.scoring.problem import Problem

RESNET = "profilesearch.networks.cifar_resnet:CifarResNet"


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    """Three architectures of 9, 8 and 10 groups; none is trained, but images are called what each calls them."""
    torch.manual_seed(0)
    images = torch.randn(40, 3, 8, 8)
    networks = [build(name, 10) for name in ("resnet20", "vgg_tiny", "mobilenet_v2_tiny")]
    called = [network(images).argmax(dim=1) for network in networks]  # with the statistics of images, as scores are
    return [Problem.of(network.eval(), images, labels) for network, labels in zip(networks, called, strict=True)]


@pytest.fixture(scope="module")
def mixture(problems: list[Problem]) -> Iterator[Mixture]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envs.mixture.LEVELS", 2)
        patch.setattr("envs.mixture.DRAWS", 2)
        yield Mixture(problems, (0.3, 0.9), ("macs", "params"))


@pytest.mark.parametrize("name", ["resnet20", "densenet_tiny", "mobilenet_v3_tiny", "shufflenet_v2_tiny"])
def test_features_of_any_network_have_one_scale(name: str) -> None:
    plan = Plan(name, build(name, 10), (3, 32, 32))
    for scope in SCOPES:
        features = group_features(plan.space(Budget(), scope))
        assert features.shape == (len(plan.table.within(scope).groups), len(FEATURES))
        assert np.isfinite(features).all()
        assert np.abs(features).max() <= 1
        assert (features.std(axis=0) > 0).sum() > 10


def roles(name: str, scope: Scope = "block") -> dict[str, set[str]]:
    """The roles of every group of a network."""
    space = Plan(name, build(name, 10), (3, 32, 32)).space(Budget(), scope)
    first = next(place for place, text in enumerate(FEATURES) if text.startswith("plain"))
    names = [text.partition(":")[0] for text in FEATURES[first:-2]]
    rows = group_features(space)[:, first:-2]
    return {
        group: {name for name, value in zip(names, row, strict=True) if value}
        for group, row in zip(space.table.names, rows, strict=True)
    }


def test_features_name_the_roles() -> None:
    blocks = roles("mobilenet_v2_tiny", "all")
    assert blocks["features.2.conv.0.0"] == {"expansion"}
    assert blocks["features.2.conv.2"] == {"residual stream"}
    branches = roles("googlenet_tiny")
    assert branches["4.branch1.conv"] == {"concatenated with others"}
    assert branches["4.branch2.0.conv"] == {"bottleneck"}
    plain = list(roles("vgg_tiny").values())
    assert (plain[0], plain[-1]) == ({"plain"}, {"taken by a linear layer"})


def test_features_do_not_know_the_weights() -> None:
    one, two = (group_features(Plan("vgg_tiny", build("vgg_tiny", 10), (3, 32, 32)).space(Budget())) for _ in range(2))
    assert np.array_equal(one, two)


@pytest.mark.full
def test_both_checkers_pass(mixture: Mixture) -> None:
    env = LayerWiseEnv(problems=mixture)
    check_env(env, skip_render_check=True)
    check_env_sb3(env)


@pytest.mark.full
def test_an_episode_is_about_what_was_asked_for(mixture: Mixture) -> None:
    env = LayerWiseEnv(problems=mixture)
    first, _ = env.reset(seed=1)
    assert np.array_equal(env.reset(seed=1)[0], first)
    env.reset(options={"architecture": RESNET, "keep": 0.5, "metric": "params"})
    for step in range(9):
        _, value, ended, _, info = env.step(np.zeros(1, np.float32))
        assert ended == (step == 8)
    assert (info["architecture"], info["keep"]) == (RESNET, 0.5)
    assert env.problem.space.budget.metric == "params"
    assert abs(info["gain"]) < 4
    assert value == pytest.approx(info["gain"], abs=0.2)
    for options, message in (({"architecture": "vgg"}, "unknown architecture"), ({"model": "x"}, "unknown reset")):
        with pytest.raises(UsageError, match=message):
            env.reset(options=options)


@pytest.mark.full
def test_budgets_of_a_given_architecture_are_drawn_from_its_own_range(mixture: Mixture) -> None:
    wide = Mixture(list(mixture.problems.values()), (0.05, 0.9))
    for name, problem in wide.problems.items():
        drawn = [wide.chosen(np.random.default_rng(seed), {"architecture": name}) for seed in range(50)]
        keeps = [case.problem.space.budget.keep for case in drawn]
        low, high = reachable(problem, "macs", wide.keeps)
        assert len(set(keeps)) == 50
        assert low <= min(keeps) < low + 0.1 * (high - low) < high - 0.1 * (high - low) < max(keeps) <= high
    one, other = mixture.draw(np.random.default_rng(3)), mixture.chosen(np.random.default_rng(3), {})
    assert one.problem.space.budget == other.problem.space.budget


@pytest.mark.full
def test_the_twin_plays_episodes_of_different_length(mixture: Mixture) -> None:
    """Each environment ends when its own network does, says so once, and goes on with another case at once."""
    env = Sb3VectorEnv(LayerWiseVectorEnv(6, problems=mixture))
    env.seed(3)
    observations, random = env.reset(), np.random.default_rng(0)
    assert observations.shape == (6, len(ANY.names))
    assert observations[:, 0] == pytest.approx(0)
    lengths, started, seen = {problem.space.size for problem in mixture.problems.values()}, np.zeros(6, int), set()
    for step in range(1, 31):
        observations, values, ended, infos = env.step(random.uniform(-1, 1, (6, 1)))
        for place in range(6):
            if not ended[place]:
                assert (values[place], infos[place]) == (0, {})
                assert observations[place, 0] > 0
                continue
            info = infos[place]
            assert step - started[place] == len(info["widths"])
            assert mixture.problems[info["architecture"]].space.size == len(info["widths"])
            assert info["terminal_observation"][0] == pytest.approx(1)  # the last group again
            assert not info["TimeLimit.truncated"]
            assert observations[place, 0] == pytest.approx(0)  # the first of the next network
            started[place] = step
            seen.add(len(info["widths"]))
    assert seen == lengths
    assert len(set(started)) > 1


@pytest.mark.full
def test_the_twin_gives_what_the_environment_gives(mixture: Mixture) -> None:
    options = {"architecture": RESNET, "keep": 0.4, "metric": "macs"}
    actions = np.random.default_rng(1).uniform(-1, 1, (9, 1)).astype(np.float32)
    env, twin = LayerWiseEnv(problems=mixture), LayerWiseVectorEnv(2, problems=mixture)
    one, many = env.reset(options=options)[0], twin.reset(options=options)[0]
    for action in actions:
        assert np.array_equal(many[0], one)
        one, value, _, _, info = env.step(action)
        many, values, _, _, infos = twin.step(np.stack([action, action]))
    assert values[0] == values[1] == value
    assert np.array_equal(infos["widths"][1], info["widths"])
    assert infos["_widths"].all()


@pytest.mark.full
def test_rewards_are_gains_over_uniform_in_spreads(mixture: Mixture) -> None:
    case = mixture.case(RESNET, 0.9)
    assert case.yardstick.keeps == pytest.approx(np.linspace(0.3, 0.9, len(case.yardstick.keeps)))
    uniform = case.problem.evaluate(case.problem.space.uniform()[None])
    assert case.gains(uniform) == pytest.approx(0, abs=1e-9)  # 0.9 is one of the levels
    spread = max(0.02, case.yardstick.spread[-1, 0])
    assert case.gains(uniform - spread * case.problem.base()) == pytest.approx(-1)
    assert case.rewards(uniform, np.array([0.99]), 4.0) == pytest.approx(-0.4)


def test_the_yardstick_is_measured_once(problems: list[Problem], tmp_path: Path) -> None:
    first = Yardstick.of(problems[1].with_ledger(Ledger(tmp_path / "ledger.jsonl")), (0.4, 0.9))
    size = (tmp_path / "ledger.jsonl").stat().st_size
    again = Yardstick.of(problems[1].with_ledger(Ledger(tmp_path / "ledger.jsonl")), (0.4, 0.9))
    assert (tmp_path / "ledger.jsonl").stat().st_size == size
    assert np.array_equal(first.spread, again.spread)


def test_objectives_over_members() -> None:
    gains = np.array([[1.0, -1.0, 0.0, 3.0]])
    assert [float(of(gains)[0]) for of in OBJECTIVES.values()] == [0.75, -1.0, -0.5]


def test_mixtures_refuse_what_makes_no_sense(problems: list[Problem]) -> None:
    for made, message in (
        (lambda: Mixture([]), "one problem or more"),
        (lambda: Mixture([problems[0], problems[0]]), "another architecture"),
        (lambda: Mixture(problems, metrics=("latency",)), "unknown metric"),
        (lambda: Mixture(problems, objective="best"), "unknown objective"),
        (lambda: LayerWiseEnv(problems[0], problems=problems), "not both"),
        (lambda: Mixture(problems, (0.001, 0.01)), "cannot keep 0.01"),  # before anything is drawn
        (lambda: Mixture(problems, (0.9, 0.3)), "the smallest first"),
        (lambda: Mixture(problems, metrics=()), "one metric or more"),
        (lambda: Mixture(problems, (0.3, 0.9)).case(RESNET, 0.95), "outside of the budgets"),  # no scale there
        (lambda: Mixture(problems, (0.3, 0.9)).case(RESNET, 0.2), "outside of the budgets"),
        (lambda: LayerWiseEnv(problems=problems).step(np.zeros(1, np.float32)), "call reset"),
        (lambda: LayerWiseVectorEnv(2, problems=problems).step(np.zeros((2, 1))), "call reset"),
    ):
        with pytest.raises(UsageError, match=message):
            made()


@pytest.fixture(scope="module")
def policy(mixture: Mixture) -> Policy:
    return train_policy(mixture, 24, 0, GeneralSettings(environments=4, steps=16, epochs=3))


@pytest.mark.full
def test_training_a_policy_leaves_the_callers_random_streams_alone(mixture: Mixture) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train_policy(mixture, 4, 0, GeneralSettings(environments=4, steps=16, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.full
def test_same_seed_same_policy_for_a_network_that_it_never_saw(mixture: Mixture, policy: Policy) -> None:
    done: list[int] = []
    settings = GeneralSettings(environments=4, steps=16, epochs=3)
    again = train_policy(mixture, 24, 0, settings, lambda now, *_: done.append(now))
    assert again.digest == policy.digest
    assert done[-1] == 24
    assert train_policy(mixture, 24, 1, settings).digest != policy.digest
    for keep in (0.3, 0.7):
        space = Plan("squeezenet_tiny", build("squeezenet_tiny", 10), (3, 32, 32)).space(Budget("macs", keep))
        profile = policy.profile(space)
        assert profile.reached == pytest.approx(keep, rel=0.005)
        assert profile.found["general"] == policy.digest


@pytest.mark.full
def test_a_policy_is_a_file_without_code(policy: Policy, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    policy.with_about(scores=24).save(path)
    assert path.stat().st_size < 30_000
    read = Policy.load(path)
    assert (read.digest, read.about["scores"]) == (policy.digest, 24)
    observations = np.random.default_rng(0).uniform(-1, 1, (5, len(ANY.names))).astype(np.float32)
    assert np.array_equal(read.act(observations), policy.act(observations))
    weight, bias = policy.layers[-1]
    for last in ((weight[0], bias), (weight, bias[None]), (weight[0, 0], bias[0])):
        Policy((*policy.layers[:-1], last), {}).save(path)
        with pytest.raises(UsageError, match="do not fit one another"):
            Policy.load(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"policy\.safetensors"):
        Policy.load(path)


def test_the_plain_forward_pass_is_that_of_sb3(mixture: Mixture) -> None:
    from stable_baselines3 import PPO  # noqa: PLC0415

    ppo = PPO("MlpPolicy", Sb3VectorEnv(LayerWiseVectorEnv(2, problems=mixture)), device="cpu", n_steps=8, batch_size=8)
    observations = np.random.default_rng(0).uniform(-1, 1, (5, len(ANY.names))).astype(np.float32)
    expected, _ = ppo.predict(observations, deterministic=True)
    assert policy_of(ppo).act(observations) == pytest.approx(expected[:, 0], abs=1e-5)
