"""Which profile `apply` uses, and what it is for the network at hand.

In this order: what is asked for; a stored profile whose evidence is not against it; the policy for any network, if its
own evidence is for it; a rule that has such evidence; a blend of uniform and the sensitivity of the layers; uniform.
"""

import numpy as np

from profilesearch.applying.settings import Applying
from profilesearch.asked import given_profile
from profilesearch.blending import how_far
from profilesearch.cli.console import Output
from profilesearch.cli.outcome import known_loss, known_worth
from profilesearch.cli.settings import Settings
from profilesearch.cli.workspace import Workspace
from profilesearch.deciding import Decision, Measures, decide, first_scope, named
from profilesearch.evidence import AtHand, provenance
from profilesearch.networks.identity import weights_digest
from profilesearch.networks.mapping import carry
from profilesearch.networks.names import AUTO, NAMED
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import round_widths
from profilesearch.profiles import Profile, Scope
from profilesearch.standing import evidence_against
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member, trained_name


def at_hand(settings: Applying, data: DataSet, member: Member | None) -> AtHand:
    """Returns the network and the data set at hand; without a member, it is trained here, which may come yet."""
    name = member.name if member else trained_name(settings.arch, data, 0)
    return AtHand(data.name, name, data.folder_digest, weights_digest(member.load()) if member else "")


def chosen_profile(
    settings: Applying, data: DataSet, here: AtHand, output: Output, searching: type[Settings]
) -> Profile | Decision:
    """Returns the profile that is used, before any work, or what is decided where it needs the network first.

    Args:
        settings: Of `apply`.
        data: What the network classifies.
        here: The network and its data.
        output: Says which it is.
        searching: Settings of the command that searches one, which is suggested where none is stored.

    Raises:
        UsageError: There is no such profile.
    """
    asked = settings.budget
    if settings.profile in NAMED:
        return named(settings.profile, asked, settings.store)
    if settings.profile is not None:
        profile = given_profile(settings.profile, settings.store)
        output.say(
            f"using {settings.profile}, of {profile.architecture} in scope '{profile.scope}', whatever --keep, "
            "--keep-params and --metric say"
        )
        return profile
    store = Store(settings.store)
    if missing := store.missing(Applying.store):
        output.say(missing)
    stored = store.find(settings.arch, asked, here, settings.scope)
    if stored is None:
        within = f" in scope '{settings.scope}'" if settings.scope else ""
        why = f"no stored profile of {settings.arch} keeps {asked.text}{within}"
    elif evidence_against(stored.profile, stored.own, here):
        why = f"stored profile {stored.name} is left alone, {known_loss(stored.profile.seen(here), data.name)}"
    else:
        known = stored.profile.seen(here)
        searched = ", ".join(sorted({member["data"] for member in known.found.get("pool", [])}))
        worth = known_worth(known, data.name)
        whose = "your profile" if stored.own else "profile"
        output.say(f"using {whose} {stored.name}, searched on {searched or 'unknown data'}; {worth}")
        return stored.profile
    decision = decide(settings.store, asked, settings.groups, data.image_shape[1], len(data.train))
    search = settings.search_command(searching)
    output.say(f"using the {decision.name} profile: {why}; {decision.why}; `{search}` searches one")
    return decision


def fitted_profile(
    settings: Applying,
    given: Profile | Decision,
    plan: Plan,
    workspace: Workspace,
    output: Output,
    measures: Measures,
) -> Profile:
    """Returns the profile as it is for this network: decided, carried over from a relative, rounded, or unchanged."""
    budget = given.budget if isinstance(given, Profile) else settings.budget
    scope = given.scope if isinstance(given, Profile) else settings.groups if settings.scope else None
    if scope is None:
        scope = first_scope(plan, budget)
        if scope != settings.groups:
            why = f"scope '{settings.groups}' cannot be cut so far"
            output.say(f"{why}, so residual streams are pruned too (--scope {scope})")
            given = _decided_again(settings, given, scope, workspace, output)
    auto = settings.multiple_of == AUTO
    multiple = workspace.fastest_multiple(plan, budget, scope) if auto else int(settings.multiple_of)
    if not isinstance(given, Profile):
        decided = given.profile(plan.space(budget, scope, multiple), settings.seed, measures)
        if said := how_far(decided):
            output.say(f"the blend: {said}")
        return decided
    other = given.fingerprint != plan.table.within(scope).fingerprint
    profile = carry(given, plan) if other and settings.map_by_position else given
    if multiple == 1:
        return profile
    space = plan.space(budget, scope, multiple)
    ratios = space.table.ratios(profile)
    widths = round_widths(ratios, space.table.channels)
    if not ((widths % multiple > 0) & (widths < space.table.channels)).any():
        return profile
    rounded = space.profile(
        space.project(ratios[None])[0], provenance(profile.found, {"rounded_to_multiples_of": multiple})
    )
    moved = np.abs(space.table.ratios(rounded) - ratios)
    output.say(
        f"widths are rounded to multiples of {multiple}: keep ratios move by {moved.mean():.2f} in the mean, "
        f"{moved.max():.2f} at most, so that what is known of the profile is not of this one"
    )
    return rounded


def _decided_again(
    settings: Applying, given: Profile | Decision, scope: Scope, workspace: Workspace, output: Output
) -> Profile | Decision:
    """Returns what is decided for another scope, of which policies may know nothing, unless it was asked for.

    Where that is another profile than was said, it is said.
    """
    if settings.profile is not None:
        return given
    data = workspace.data(workspace.names[0])
    again = decide(settings.store, settings.budget, scope, data.image_shape[1], len(data.train))
    if again.name != getattr(given, "name", None):
        output.say(f"using the {again.name} profile there: {again.why}")
    return again
