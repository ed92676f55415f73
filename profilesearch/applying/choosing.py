"""Which profile `apply` uses: a given file, the best stored one, or a rival; and what it is for the network at hand."""

from pathlib import Path

import numpy as np

from profilesearch.applying.settings import Applying
from profilesearch.cli.console import Output
from profilesearch.cli.outcome import known_worth
from profilesearch.cli.settings import Settings
from profilesearch.cli.workspace import Workspace
from profilesearch.evidence import provenance
from profilesearch.measure.multiples import AUTO
from profilesearch.networks.mapping import carry
from profilesearch.networks.plan import Plan
from profilesearch.networks.rivals import RIVALS, check_rival
from profilesearch.networks.space import round_widths
from profilesearch.profiles import Profile
from profilesearch.store import Store
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.pools import foreign_name, trained_name


def chosen_profile(settings: Applying, data: DataSet, output: Output, searching: type[Settings]) -> Profile | None:
    """Returns the profile that the settings name, before any work; nothing for a rival, which needs the network.

    Args:
        settings: Of `apply`.
        data: What the network classifies.
        output: Says which it is.
        searching: Settings of the command that searches one, which is suggested where none is stored.

    Raises:
        UsageError: There is no such profile.
    """
    asked = settings.budget
    if settings.profile in RIVALS:
        check_rival(settings.profile, asked)
        return None
    if settings.profile is not None:
        profile = Profile.load(settings.profile)
        output.say(
            f"using {settings.profile}, of {profile.architecture} in scope '{profile.scope}', whatever --keep, "
            "--keep-params, --metric and --scope say"
        )
        return profile
    more = searching.words(vars(settings), without=("arch", "keep", "metric", "json", "quiet"))
    store = Store(settings.store)
    network = trained_name(settings.arch, data, 0)
    if settings.checkpoint:
        network = foreign_name(Path(settings.checkpoint))
    stored = store.best(settings.arch, asked.keep, asked.metric, data.name, more, asked.keep_params, network)
    searched = ", ".join(sorted({member["data"] for member in stored.profile.found.get("pool", [])}))
    worth = known_worth(stored.profile, data.name)
    whose = "your profile" if stored.own else "profile"
    output.say(f"using {whose} {stored.name}, searched on {searched or 'unknown data'}; {worth}")
    return stored.profile


def fitted_profile(
    settings: Applying, profile: Profile | None, plan: Plan, workspace: Workspace, output: Output
) -> Profile:
    """Returns the profile as it is for this network: a rival's, carried over from a relative, rounded, or unchanged."""
    asked = settings.budget, settings.groups
    budget, scope = (profile.budget, profile.scope) if profile else asked
    auto = settings.multiple_of == AUTO
    multiple = workspace.fastest_multiple(plan, budget, scope) if auto else int(settings.multiple_of)
    if profile is None:
        name, space = settings.profile or "uniform", plan.space(budget, scope, multiple)
        return space.profile(RIVALS[name](space, settings.seed), provenance({"searcher": name}))
    other = profile.fingerprint != plan.table.within(scope).fingerprint
    profile = carry(profile, plan) if other and settings.map_by_position else profile
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
