"""Which profile `prune` takes: the given one, a stored one that fits, or what is decided for the network."""

from dataclasses import replace
from pathlib import Path

from profilesearch.asked import check_scope, given_profile
from profilesearch.blending import how_far
from profilesearch.deciding import Measures, decide, first_scope, named
from profilesearch.errors import UsageError
from profilesearch.evidence import provenance
from profilesearch.measure.reaching import off_budget, reached_in, reached_text
from profilesearch.networks.names import NAMED
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import round_widths
from profilesearch.profiles import SCOPES, Budget, Profile, Scope
from profilesearch.store import Store


def asked_for(profile: Profile | str | Path | None, store: Path, scope: str | None) -> Profile | str | None:
    """Returns the profile that is given, or the name of one that needs no search.

    Args:
        profile: A profile, its file or a name; or None.
        store: Folder of the user's profiles.
        scope: That it must have; None where any will do.

    Raises:
        UsageError: It is none, or of another scope.
    """
    if profile is None or profile in NAMED:
        return profile
    given = given_profile(profile, store) if isinstance(profile, str | Path) else profile
    if not isinstance(given, Profile):
        raise UsageError(f"profile must be a Profile, its file or a name, got a {type(given).__name__}")
    check_scope(given, scope)
    return given


def taken(
    plan: Plan,
    budget: Budget,
    scope: Scope | None,
    store: Path,
    asked: Profile | str | None,
    seed: int,
    images: int,
    measures: Measures,
) -> tuple[Profile, str, str]:
    """Returns what is asked for; else the best stored one for a network's groups, and without any what `decide` says.

    Args:
        plan: Of the network.
        budget: That it must meet, where none is given.
        scope: Likewise; None where any will do.
        store: Folder of the user's profiles.
        asked: By `asked_for`.
        seed: Of random profiles.
        images: How many there are to measure on.
        measures: Of the network, on these.

    Returns:
        The profile, where it is from, and why it is taken.
    """
    if isinstance(asked, Profile):
        return asked, "given", "it was asked for"
    if not asked:
        prints = {plan.table.within(each).fingerprint for each in ((scope,) if scope else SCOPES)}
        stored = Store(store).fitting(prints, budget.keep, budget.metric, budget.keep_params)
        if stored is not None:
            profile, why = _on_budget(stored.profile, plan)
            return profile, str(stored.path), why
    scope = scope or first_scope(plan, budget)
    if not asked:
        decision = decide(store, budget, scope, plan.image_shape[1], images)
        decision = replace(decision, why=f"no stored one fits; {decision.why}")
    else:
        decision = named(asked, budget, store)
    profile = decision.profile(plan.space(budget, scope), seed, measures)
    return profile, decision.name, "; ".join(filter(None, (decision.why, how_far(profile))))


def _on_budget(profile: Profile, plan: Plan) -> tuple[Profile, str]:
    """Moves a stored profile onto its budget where it misses that here: classes and image sizes change layers' shares.

    What latency it has is known of its own device alone.

    Returns:
        The profile, and why it is taken.
    """
    fits, found = "it fits the network and the budget", profile.found
    if profile.budget.metric == "latency":
        return profile, fits
    space = plan.space(profile.budget, profile.scope, found.get("multiple_of", found.get("rounded_to_multiples_of", 1)))
    ratios = space.table.ratios(profile)
    widths, moved = round_widths(ratios, space.table.channels), space.project(ratios[None])[0]
    here = reached_in(profile, space.cost, widths)
    if not off_budget(here) or bool((widths == moved).all()):
        return profile, fits
    origin = {"architecture": profile.architecture, "fingerprint": profile.fingerprint}
    said = f"it fits the network, and was moved onto the budget: it would keep {reached_text(here)} here"
    return space.profile(moved, provenance(found, {"projected_from": origin})), said
