"""Which profile `apply` uses, and what it is for the network at hand.

In this order: what is asked for; a stored profile whose evidence is not against it; the policy for any network, if its
own evidence is for it; a rule that has such evidence; a blend of uniform and the sensitivity of the layers; uniform.
"""

from dataclasses import dataclass, replace

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
from profilesearch.profiles import Profile
from profilesearch.standing import evidence_against
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import Member, trained_name


def at_hand(settings: Applying, data: DataSet, member: Member | None) -> AtHand:
    """Returns the network and the data set at hand; without a member, it is trained here, which may come yet."""
    name = member.name if member else trained_name(settings.arch, data, 0)
    return AtHand(data.name, name, data.folder_digest, weights_digest(member.load()) if member else "")


@dataclass(frozen=True)
class Undecided:
    """No profile is asked for and none is stored: what is used depends on the network.

    Attributes:
        why: None of the stored ones is, in words.
    """

    why: str


def asked_profile(settings: Applying, name: str, output: Output) -> Profile | Decision:
    """Returns the profile that is asked for.

    Args:
        settings: Of `apply`.
        name: Of one that needs no search, or of a file.
        output: Says whose it is.

    Raises:
        UsageError: There is no such profile.
    """
    if name in NAMED:
        return named(name, settings.budget, settings.store)
    profile = given_profile(name, settings.store)
    output.say(
        f"using {name}, of {profile.architecture} in scope '{profile.scope}', whatever --keep, --keep-params and "
        "--metric say"
    )
    return profile


def chosen_profile(settings: Applying, data: DataSet, here: AtHand, output: Output) -> Profile | Decision | Undecided:
    """Returns the profile that is used, as far as that is known before any work.

    Args:
        settings: Of `apply`.
        data: What the network classifies.
        here: The network and its data.
        output: Says which it is.

    Raises:
        UsageError: There is no such profile.
    """
    if settings.profile is not None:
        return asked_profile(settings, settings.profile, output)
    asked = settings.budget
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
    return Undecided(why)


def decided_profile(
    settings: Applying,
    given: Profile | Decision | Undecided,
    plan: Plan,
    data: DataSet,
    output: Output,
    searching: type[Settings],
) -> tuple[Applying, Profile | Decision]:
    """Returns the profile that is used on a network, and the settings, with the scope of what needs no search.

    Args:
        settings: Of `apply`.
        given: What is known before.
        plan: Of the network.
        data: What it classifies.
        output: Says what is decided.
        searching: Settings of the command that searches a profile, which is suggested where none is stored.
    """
    if isinstance(given, Profile):
        return settings, given
    scope = settings.groups if settings.scope else first_scope(plan, settings.budget)
    if scope != settings.groups:
        output.say(
            f"scope '{settings.groups}' cannot be cut so far, so residual streams are pruned too (--scope {scope})"
        )
        settings = replace(settings, scope=scope)
    if isinstance(given, Decision):
        return settings, given
    decision = decide(settings.store, settings.budget, scope, data.image_shape[1], len(data.train))
    search = settings.search_command(searching)
    output.say(f"using the {decision.name} profile: {given.why}; {decision.why}; `{search}` searches one")
    return settings, decision


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
    scope = given.scope if isinstance(given, Profile) else settings.groups
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
