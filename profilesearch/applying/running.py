"""From what is asked to a result: the profile chosen, the network measured, pruned, fine-tuned and written."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from profilesearch.applying.advice import Facts, Step, next_steps
from profilesearch.applying.choosing import (
    Undecided,
    asked_profile,
    at_hand,
    chosen_profile,
    decided_profile,
    fitted_profile,
)
from profilesearch.applying.exports import check_format
from profilesearch.applying.making import Diverged, last_good, make, measures
from profilesearch.applying.settings import Applying
from profilesearch.applying.subject import Subject, tuning
from profilesearch.applying.writing import write
from profilesearch.cli.baseline import state
from profilesearch.cli.console import Output
from profilesearch.cli.settings import Settings
from profilesearch.cli.workspace import Workspace
from profilesearch.deciding import Decision, Measures
from profilesearch.errors import UsageError
from profilesearch.networks.familiar import ENOUGH, unfamiliar
from profilesearch.networks.names import BLEND, other_rival
from profilesearch.networks.plan import Plan
from profilesearch.profiles import Profile
from profilesearch.research.settings import Training
from profilesearch.tasks.data import DataSet
from profilesearch.tasks.files import check_outside
from profilesearch.tasks.hardware import open_device
from profilesearch.tasks.parallel import World, joined
from profilesearch.tasks.pools import Member, example_shape, learning_images
from profilesearch.tasks.predicting import predictions, right_part
from profilesearch.tasks.step import check_trains
from profilesearch.tasks.unfinished import Unfinished

Rival = tuple[Applying, Profile | Decision]
"""What is asked for it, and what it is."""


def start(settings: Applying) -> None:
    """Does what `apply` is told, in one process or in several that train together.

    Raises:
        UsageError: Something does not fit together.
    """
    for kind in settings.export:
        check_format(kind)
    with joined(open_device(settings.device)) as world:
        apply(settings, Output.of(settings, quiet=not world.leads), world, Training)


def apply(settings: Applying, output: Output, world: World, searching: type[Settings]) -> None:
    """Prunes a trained network, fine-tunes it if asked, and writes the result.

    Args:
        settings: What is asked.
        output: For people.
        world: The processes that train together.
        searching: Settings of the command that searches a profile, for suggestions.

    Raises:
        UsageError: Something does not fit together.
    """
    workspace = Workspace(settings, output)
    data = workspace.data(workspace.names[0])
    check_outside(settings.out, data)
    if settings.finetune:
        tuning(settings, data)  # finds mistakes
    member = workspace.foreign([settings.checkpoint])[0] if settings.checkpoint else None
    data = workspace.data(data.name)  # the network decides how a part of ImageNet is labelled
    here = at_hand(settings, data, member)
    chosen = chosen_profile(settings, data, here, output)
    rival = _rival(settings, chosen, output)
    member = member or workspace.trained(data.name, 0)
    full = member.load()
    shape = example_shape(full, data)
    if settings.finetune:
        check_trains(full, data.normalize(data.train[:2].pixels, shape[0]), data.num_classes)
    plan = Plan(settings.arch, full, shape)
    with output.progress("finding what can be pruned"):
        table = plan.table
    subject = Subject(member, plan, data, learning_images(member, data))
    found = measures(subject, settings, output, world.device)
    settings, profiles = world.first(
        lambda: _fitted(settings, chosen, rival, subject, workspace, output, searching, found)
    )
    for profile in profiles:
        table.within(profile.scope).ratios(profile)  # or it is of another architecture
    known = world.first(lambda: _base(full, member, data, profiles[0].seen(subject.here), output, world.device))
    with Unfinished(settings.out / "finetune") as resume:
        made = make(subject, profiles[0], settings, resume, output, world)
        if isinstance(made, Diverged):
            raise last_good(subject, made, settings, world)
        other = None
        if profiles[1:]:
            other = make(subject, profiles[1], settings, resume, output, world, settings.against or "")
        if world.leads:
            write(settings, subject, known, made, other, partial(_advise, settings, searching), output)


def _is_rival(settings: Applying, given: Profile | Decision, output: Output) -> bool:
    """Says whether the rival is what was decided to be the profile."""
    if settings.against is None or settings.against != getattr(given, "name", None):
        return False
    output.say(
        f"--against {settings.against} is the very profile that is applied, so there is nothing to hold it against; "
        f"--against {other_rival(settings.against)} is another one"
    )
    return True


def _rival(settings: Applying, chosen: Profile | Decision | Undecided, output: Output) -> Rival | None:
    """Returns the rival, which is made on the profile's budget, and the settings as they are for it."""
    against = settings.against
    if against is None:
        return None
    if isinstance(chosen, Profile):
        own = {name: getattr(chosen.budget, name) for name in ("metric", "keep", "keep_params")}
        settings = replace(settings, **own)
    return settings, asked_profile(settings, against, output)


def _fitted(
    settings: Applying,
    chosen: Profile | Decision | Undecided,
    rival: Rival | None,
    subject: Subject,
    workspace: Workspace,
    output: Output,
    searching: type[Settings],
    found: Measures,
) -> tuple[Applying, list[Profile]]:
    """Returns the profile, and its rival if there is one, as they are for the network at hand.

    Where one of them is a blend that comes out as the other, that is told, and there is no rival.

    Returns:
        The settings, with the scope of what needs no search; the profiles.

    Raises:
        UsageError: Both are the same.
    """
    plan = subject.plan
    settings, given = decided_profile(settings, chosen, plan, subject.data, output, searching)
    rival = None if _is_rival(settings, given, output) else rival
    profile = fitted_profile(settings, given, plan, workspace, output, found)
    if rival is None:
        return settings, [profile]
    asked = replace(rival[0], scope=profile.scope)
    other = fitted_profile(asked, rival[1], plan, workspace, output, found)
    if (other.scope, dict(other.keep)) != (profile.scope, dict(profile.keep)):
        return settings, [profile, other]
    if BLEND in (each.found.get("searcher") for each in (profile, other)):
        output.say(f"there is nothing to hold it against: {_same(profile, settings.against)}")
        return settings, [profile]
    raise UsageError(
        f"--against {settings.against} comes out as the very profile that is applied, in the {len(profile.keep)} "
        f"channel group(s) of scope '{profile.scope}'; name another one{_wider(plan, profile)}"
    )


def _same(profile: Profile, rival: str | None) -> str:
    return f"it comes out as {rival}" if profile.found.get("searcher") == BLEND else f"{rival} comes out as it"


def _wider(plan: Plan, profile: Profile) -> str:
    """Says what leaves room for more profiles, if anything does."""
    return ", or give --scope all" if len(plan.table.within("all").groups) > len(profile.keep) else ""


def _advise(settings: Applying, searching: type[Settings], facts: Facts) -> list[Step]:
    """Returns what to do next, as commands with the options that were given."""
    settings = settings if facts.scope in (settings.scope, settings.groups) else replace(settings, scope=facts.scope)
    return next_steps(facts, settings.command, partial(settings.search_command, searching, keep=facts.keep))


def _base(
    full: nn.Module, member: Member, data: DataSet, profile: Profile, output: Output, device: torch.device
) -> Tensor:
    """Measures and says what the full network reaches, before anything is made of it; returns what it says."""
    with output.progress("classifying test images") as move:
        predicted = predictions(full.to(device), data, data.test, "fp32", output.say, move)
    known = [
        float(entry["base_accuracy"])
        for entry in profile.evidence
        if (entry.get("model"), entry.get("data")) == (member.name, data.name) and "base_accuracy" in entry
    ]
    right, channels = right_part(predicted, data.test), example_shape(full, data)[0]
    state(output, member, right, data.test, "test", data, channels, known)
    if strange := unfamiliar(full, data.normalize(data.train[:ENOUGH].pixels, channels).to(device)):
        output.say(f"{strange} --mean and --std give another normalization, --image-size another size")
    full.cpu()
    return predicted
