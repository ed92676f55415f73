"""What is used where no stored profile has evidence for it: the policy for any network, if it has."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from envs.policy import Policy
from profilesearch.blending import Judge, blended
from profilesearch.errors import UsageError
from profilesearch.evidence import provenance
from profilesearch.networks.cost import FloatArray
from profilesearch.networks.names import BLEND, POLICY, SENSITIVITY, UNIFORM, WIDEST, check_rival
from profilesearch.networks.plan import Plan
from profilesearch.networks.rivals import RIVALS
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import SCOPES, Budget, Profile, Scope
from profilesearch.sensitivity import FEWEST, sensitive
from profilesearch.store import SHIPPED

_RULES = ("widest", "taper")


def _unmeasured(_: object) -> NoReturn:
    """Says that what decides cannot be measured.

    Raises:
        UsageError: Always.
    """
    raise UsageError(f"profiles '{SENSITIVITY}' and '{BLEND}' need a trained network and images to measure it on")


@dataclass(frozen=True, eq=False)
class Measures:
    """What can be found out about a network, where that decides.

    Attributes:
        losses: Returns what its outputs lose by each group of a scope, as `sensitivity.group_losses` does.
        judge: Returns how far it is from the full network once it is cut by a profile and refitted.
    """

    losses: Callable[[Scope], FloatArray] = _unmeasured
    judge: Judge = _unmeasured


NOTHING = Measures()


@dataclass(frozen=True, eq=False)
class Decision:
    """Which profile is used on a network, none of whose own was searched.

    Attributes:
        name: One of `NAMED`.
        why: In one line.
        policy: What decides it, where that is a policy.
    """

    name: str
    why: str
    policy: Policy | None = None

    def profile(self, space: ProfileSpace, seed: int, measures: Measures = NOTHING) -> Profile:
        """Returns the profile for a network and budget.

        Args:
            space: The profiles of that budget.
            seed: Of random draws.
            measures: Of the network, where they decide.
        """
        if self.policy is not None:
            return self.policy.profile(space)
        if self.name == SENSITIVITY:
            widths = sensitive(space, measures.losses(space.scope))
            return space.profile(widths, provenance({"searcher": SENSITIVITY}))
        if self.name == BLEND:
            return blended(space, measures.losses(space.scope), measures.judge)
        return space.profile(RIVALS[self.name](space, seed), provenance({"searcher": self.name}))


def stored_policies(store: Path) -> list[Policy]:
    """Returns the trained policies of the user and of the installation, those with the best evidence first.

    What counts is the lower end of the gain over uniform. Damaged files, and those of other versions, are
    passed over.
    """
    return sorted(_policies(store, SHIPPED), key=lambda policy: -_low(policy.about, "uniform"))


def _policies(*stores: Path) -> list[Policy]:
    folders = dict.fromkeys(store.resolve() / POLICY for store in stores)
    files = [path for folder in folders for path in sorted(folder.glob("[!.]*.safetensors"))]
    return [policy for path in files if (policy := _readable(path, path.stat().st_mtime_ns)) is not None]


@cache
def _readable(path: Path, changed: int) -> Policy | None:
    try:
        return Policy.load(path)
    except UsageError:
        return None


def named(name: str, budget: Budget, store: Path) -> Decision:
    """Returns the decision for what is asked for by name, one of `NAMED`: of policies, the user's own come first.

    Raises:
        UsageError: There is no policy, or the budget leaves no room for what is asked.
    """
    if name != POLICY:
        check_rival(name, budget)
        return Decision(name, "it was asked for")
    own = _policies(store)
    policies = [policy for policy in stored_policies(store) if policy in own or not own]
    if not policies:
        raise UsageError("no policy is stored; train one with `profilesearch policy train`, or take another profile")
    return Decision(POLICY, "it was asked for", policies[0])


def started(start: str, store: Path) -> Policy:
    """Returns the policy that a search starts from: `policy` is the stored one, everything else its file.

    Raises:
        UsageError: There is none.
    """
    decision = named(POLICY, Budget(), store) if start == POLICY else None
    return decision.policy if decision and decision.policy else Policy.load(Path(start))


def first_scope(plan: Plan, budget: Budget) -> Scope:
    """Returns the scope of what needs no search where none is asked for: the first one that can be cut so far.

    A stored profile comes before, and brings its own. Where no scope has profiles under the budget it is the first one,
    which says why.
    """
    for scope in SCOPES:
        with suppress(UsageError):
            plan.space(budget, scope)
            return scope
    return SCOPES[0]


def decide(store: Path, budget: Budget, scope: Scope, pixels: int, images: int = 0) -> Decision:
    """Decides which profile is used on a network for which no stored one is: the policy, a rule, or what is measured.

    Where neither the policy nor a rule has evidence for it, or where that evidence has them behind it, that is the
    sensitivity of the network's layers, and uniform where there are no images to measure it on.

    Args:
        store: Where policies are looked for first.
        budget: What the pruned network may cost.
        scope: Which groups are touched.
        pixels: Height of the network's images.
        images: How many of them may be looked at.
    """
    policies = stored_policies(store)
    if not policies:
        return _measured("no policy for any network is stored", images)
    missing = [_unfit(policy, budget, scope, pixels) for policy in policies]
    if all(missing):
        return _measured(f"the policy for any network is not used, since it {missing[0]}", images)
    return _by_evidence(policies[missing.index("")], budget, images)


def _by_evidence(policy: Policy, budget: Budget, images: int) -> Decision:
    """Decides by what a policy, rules and what is measured gained on families that the policy did not learn from."""
    evidence = policy.about.get("evidence", {})
    gains = evidence.get("gains", {})
    if not gains:
        unknown = "it was not measured on families that it did not learn from"
        return _measured(f"the policy for any network is not used, since {unknown}", images)
    where = f"{evidence.get('families', 0)} families ({', '.join(evidence.get('data', ['unknown data']))})"
    over = ", ".join(f"{_points(gains[rival])} over {rival}" for rival in (UNIFORM, WIDEST) if rival in gains)
    said = f"on {where} that it did not learn from, the policy for any network gained {over}"
    name = next((name for name in (BLEND, SENSITIVITY) if f"{name} over {UNIFORM}" in gains), SENSITIVITY)
    measured = gains.get(f"{name} over {UNIFORM}") if images >= FEWEST else None
    if all(_low(policy.about, rival) > 0 for rival in (UNIFORM, WIDEST)):
        if measured is None or measured["mean"] < gains[UNIFORM]["mean"]:
            return Decision(POLICY, said, policy)
        return _measured(f"{said}, less than what is measured", images, measured, name)
    better = [rule for rule in _RULES if _low(policy.about, f"{rule} over uniform") > 0 and budget.keep_params is None]
    better = [rule for rule in better if measured is None or _over_uniform(gains, rule) > measured["mean"]]
    little = f"{said}, too little or too uncertain to use it"
    if not better:
        return _measured(little, images, measured, name)
    rule = max(better, key=lambda name: _over_uniform(gains, name))
    return Decision(rule, f"{little}, and {rule} {_points(gains[f'{rule} over uniform'])} over uniform")


def _measured(why: str, images: int, gain: Mapping[str, float] | None = None, name: str = BLEND) -> Decision:
    """Decides for what is measured where there are images enough, with what that gained over uniform elsewhere."""
    if images < FEWEST or (gain and gain["mean"] <= 0):
        return Decision(UNIFORM, why)
    gained = f", and {name} gained {_points(gain)} over uniform there" if gain else ""
    return Decision(BLEND, f"{why}; what each layer can lose is measured on training images{gained}")


def _unfit(policy: Policy, budget: Budget, scope: Scope, pixels: int) -> str:
    """Says what a policy was not trained for; nothing where it was. Images may be half or twice as large."""
    sizes = policy.about.get("pixels", [0])
    low, high = policy.about.get("keeps", (0.0, 1.0))
    if budget.metric not in policy.about.get("metrics", ()) or budget.keep_params is not None:
        return f"was not trained for budgets such as {budget.text}"
    if scope != policy.about.get("scope"):
        return f"was not trained for scope '{scope}'"
    if not low <= budget.keep <= high:
        return f"was trained for budgets from {low:g} to {high:g}, not for {budget.keep:g}"
    if not min(sizes) / 2 <= pixels <= 2 * max(sizes):
        return f"learned from networks for images of {' and '.join(map(str, sizes))} pixels, not of {pixels}"
    return ""


def _low(about: Mapping[str, Any], rival: str) -> float:
    gain = about.get("evidence", {}).get("gains", {}).get(rival)
    return float(gain["low"]) if gain else -1.0


def _over_uniform(gains: Mapping[str, Mapping[str, float]], name: str) -> float:
    return gains[f"{name} over uniform"]["mean"]


def _points(gain: Mapping[str, float]) -> str:
    return f"{gain['mean'] * 100:.1f} points ({gain['low'] * 100:.1f} to {gain['high'] * 100:.1f})"
