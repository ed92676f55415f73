"""From a full network and a profile to a pruned one: cut, refitted, and fine-tuned if asked."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from profilesearch.applying.settings import Applying
from profilesearch.applying.subject import Subject, tuning
from profilesearch.cli.console import Output
from profilesearch.cli.outcome import not_faster
from profilesearch.deciding import Measures
from profilesearch.errors import UsageError
from profilesearch.looking import looked_at
from profilesearch.measure.reaching import off_budget, reached_in, reached_text
from profilesearch.measure.speed import measure_speed
from profilesearch.networks.checkpoints import save_network
from profilesearch.networks.criteria import rank_channels
from profilesearch.networks.names import AS_CUT, AUTO
from profilesearch.profiles import Profile, Scope
from profilesearch.pruning import Pruned, prune_ordered, reestimate_statistics
from profilesearch.refitting import refit_weights
from profilesearch.tasks.parallel import World
from profilesearch.tasks.predicting import accuracy
from profilesearch.tasks.training import NotFinite, train
from profilesearch.tasks.unfinished import Unfinished


@dataclass(frozen=True, eq=False)
class Made:
    """A pruned network.

    Attributes:
        profile: With what it reaches in this network.
        pruned: The network, and what was cut.
        untuned: Accuracy on test images before fine-tuning; None where there was none.
        refitted: How its weights were fitted.
    """

    profile: Profile
    pruned: Pruned
    untuned: float | None
    refitted: str


@dataclass(frozen=True, eq=False)
class Diverged:
    """A pruned network whose fine-tuning diverged.

    Attributes:
        profile: With what it reaches in this network.
        pruned: The network after its last good epoch, and what was cut.
        untuned: Accuracy on test images before fine-tuning.
        error: What happened.
    """

    profile: Profile
    pruned: Pruned
    untuned: float
    error: NotFinite


def make(
    subject: Subject,
    profile: Profile,
    settings: Applying,
    resume: Unfinished,
    output: Output,
    world: World,
    name: str = "the profile",
) -> Made | Diverged:
    """Prunes a network, refits it, and fine-tunes it if asked.

    Args:
        subject: The network and its data.
        profile: Fitted to it.
        settings: How.
        resume: Where an interrupted fine-tuning goes on.
        output: Says what happens.
        world: The processes that train together.
        name: Of the profile, for people.
    """
    full, data, learn = subject.network.cpu(), subject.data, subject.learn
    pruned = prune_ordered(subject.plan, profile, _order(subject, profile.scope, settings, output))
    cut = reached_in(profile, pruned.cost, pruned.widths)
    output.say(f"{name} keeps {reached_text(cut)} of this network{off_budget(cut)}")
    for network in (full, pruned.network):
        network.to(world.device)
    refitted = settings.refit
    if refitted == "none":
        with output.progress("re-estimating BatchNorm"):
            reestimate_statistics(pruned.network, data, learn[:2000], say=output.say)
    else:
        with output.progress("refitting weights") as move:
            refitted = str(refit_weights(pruned, full, data, learn, settings.refit, output.say, move))
        if settings.refit == AUTO:
            how = "left" if refitted.startswith(AS_CUT) else "refitted"
            output.say(f"{name} is {how} {refitted}: closest to the unpruned network on other training images")
    _check_finite(pruned.network, subject.member.name)
    if not settings.finetune:
        return Made(cut, pruned, None, refitted)
    with output.progress("classifying test images") as move:
        untuned = accuracy(pruned.network, data, data.test, "fp32", output.say, move)
    try:
        _finetune(subject, pruned.network, settings, resume, output, world)
    except NotFinite as error:
        return Diverged(cut, pruned, untuned, error)
    return Made(cut, pruned, untuned, refitted)


def _check_finite(network: nn.Module, name: str) -> None:
    """Checks that what a network was refitted to are numbers.

    Raises:
        UsageError: They overflowed.
    """
    for each, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UsageError(
                f"what the layers of {name} give on its images overflows, so '{each}' of the pruned network is not "
                "finite; see that its weights, --mean and --std are those of its training"
            )


def _order(subject: Subject, scope: Scope, settings: Applying, output: Output) -> dict[str, Tensor]:
    """Returns the channels of every group, the most important first."""
    if scope not in subject.orders:
        table = subject.plan.table.within(scope)
        with output.progress("choosing channels") as move:
            found = rank_channels(subject.network, table, settings.criterion, settings.seed, subject.sample(), move)
        subject.orders[scope] = found
    return subject.orders[scope]


def measures(subject: Subject, settings: Applying, output: Output, device: torch.device) -> Measures:
    """Returns what can be found out about a network, on training images, on a device."""
    order = partial(_order, subject, settings=settings, output=output)
    return looked_at(subject.plan, order, subject.sample, settings.refit, output.progress, output.say, device)


def _finetune(
    subject: Subject, pruned: nn.Module, settings: Applying, resume: Unfinished, output: Output, world: World
) -> None:
    """Fine-tunes a pruned network with the full one as its teacher."""
    full, data = subject.network, subject.data
    if world.leads:
        with output.progress("timing the networks") as move:
            slow = not_faster(*measure_speed((full, pruned), subject.shape, move))
        if slow:
            output.say(slow)  # before the fine-tuning, which would not be worth it
    with output.progress("fine-tuning") as move:
        train(pruned, data, subject.learn, tuning(settings, data), full, move, resume, output.say, world)


def last_good(subject: Subject, made: Diverged, settings: Applying, world: World) -> UsageError:
    """Saves the network of the last good epoch, if there was one; returns the error that says so."""
    error = made.error
    if not error.finished or not world.leads:
        return error
    path = settings.out / "last-good.safetensors"
    about = {"num_classes": subject.data.num_classes, "in_channels": subject.shape[0]}
    save_network(path, made.pruned.network, {"architecture": settings.arch, **about})
    return UsageError(f"{error}; the network after epoch {error.finished} is in {path}")
