"""What to do next with a result: each step as the full command, with the user's own data and options."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profilesearch.applying.against import Comparison, Verdict, spoiled
from profilesearch.applying.making import Made
from profilesearch.applying.measuring import Measured
from profilesearch.applying.settings import Applying
from profilesearch.blending import is_uniform
from profilesearch.cli.outcome import not_faster
from profilesearch.evidence import AtHand
from profilesearch.networks.architectures import is_foreign_code
from profilesearch.networks.names import NAMED
from profilesearch.profiles import SCOPES, Scope

_LITTLE = 0.005
"""Accuracy that is little to lose."""
_MUCH = 0.03
_EPOCHS = 10
_LONGER = 3


@dataclass(frozen=True)
class Facts:
    """What the next step depends on.

    Attributes:
        lost: Accuracy of the full network minus that of the pruned one.
        gained: What fine-tuning was worth; None where there was none.
        epochs: Of the fine-tuning.
        lr: Its rate.
        keep: Part of the cost that the profile was to keep.
        streams: Whether there are residual streams that the profile leaves whole.
        faster: Whether the pruned network is.
        uniform: Whether the profile is the uniform one.
        searched: Evaluations of the search on this network alone that found the profile; 0 for any other profile.
        verdict: On the rival; None where there was none, it diverged, or fine-tuning did harm.
        diverged: Name of a rival that diverged.
        spoiled: What fine-tuning lost, in words, where it did harm.
        whole: Whether nothing was cut, as at a budget of all; then every other profile is the same one.
        scope: Of the profile.
        named: The profile that was asked for, where that is one that needs no search, of any budget.
    """

    lost: float
    gained: float | None
    epochs: int
    lr: float
    keep: float
    streams: bool
    faster: bool
    uniform: bool
    searched: int
    verdict: Verdict | None
    diverged: str | None = None
    spoiled: str = ""
    whole: bool = False
    scope: Scope = SCOPES[0]
    named: str | None = None

    @classmethod
    def of(
        cls, settings: Applying, here: AtHand, made: Made, measured: Sequence[Measured], rival: Comparison | None
    ) -> "Facts":
        """Gathers them from what was measured: the full network, which is at hand, the pruned one, and more."""
        full, pruned = (each.side for each in measured[:2])
        found = made.profile.seen(here).found
        harm = spoiled(made.untuned, pruned.accuracy, len(measured[0].predicted))
        own = {each.get("name") for each in found.get("pool", [])} == {here.network}
        return cls(
            lost=full.accuracy - pruned.accuracy,
            gained=None if made.untuned is None else pruned.accuracy - made.untuned,
            epochs=settings.finetune,
            lr=settings.lr,
            keep=made.profile.budget.keep,
            streams=made.pruned.table.tied,
            faster=not not_faster(full.speed, pruned.speed),
            uniform=is_uniform(made.profile),
            searched=found.get("evaluations", 0) if own else 0,
            verdict=rival.verdict if rival else None,
            diverged=rival.name if rival and "after" not in rival.report else None,
            spoiled=harm or (rival.spoiled if rival else ""),
            whole=bool((made.pruned.widths == made.pruned.table.channels).all()),
            scope=made.profile.scope,
            named=settings.profile if settings.profile in NAMED else None,
        )


@dataclass(frozen=True)
class Step:
    """Something to do next.

    Attributes:
        why: In words.
        command: For a shell.
    """

    why: str
    command: str


def next_steps(facts: Facts, again: Callable[..., str], search: Callable[..., str]) -> list[Step]:
    """Returns what is worth trying, the likeliest first.

    Args:
        facts: Of the result.
        again: Returns the same command with some options changed, by their names; None leaves one out.
        search: Returns the command that searches a profile on the user's own network, with some options changed.
    """
    if facts.whole:
        return [Step("nothing was cut; keep half of it:", again(keep=0.5, profile=None, against=None))]
    steps = []
    if facts.spoiled:
        steps.append(Step(f"{facts.spoiled}:", again(lr=_lower(facts.lr))))
    elif facts.gained is None and facts.lost > _LITTLE:
        steps.append(Step(f"fine-tune it, {_EPOCHS} epochs:", again(finetune=_EPOCHS)))
    elif facts.gained is not None and facts.gained < 0:
        steps.append(Step("the fine-tuning gained nothing; a lower rate:", again(lr=_lower(facts.lr))))
    elif facts.lost > _LITTLE:
        steps.append(Step("accuracy is still missing; more epochs:", again(finetune=3 * facts.epochs)))
    if facts.lost > _MUCH and facts.keep < 0.9 and not facts.spoiled:
        wider = round(facts.keep + (1 - facts.keep) / 2, 2)
        steps.append(Step(f"keep more of it, {wider:.0%}:", again(keep=wider, profile=facts.named, against=None)))
    if not facts.faster and facts.streams:
        why = "it is hardly faster; prune the residual streams too:"
        steps.append(Step(why, again(scope="all", profile=facts.named, against=None)))
    if facts.verdict is not None and facts.verdict.high < 0:
        better = facts.verdict.name
        steps.append(Step(f"{better} is better here; take it:", again(profile=better, against=None)))
    elif facts.diverged is not None:
        steps.append(Step(f"{facts.diverged} diverged; both at a lower rate:", again(lr=_lower(facts.lr))))
    elif facts.verdict is None and not facts.uniform and not facts.spoiled:
        why = "is this profile worth it on your data? Hold it against the same part of every layer:"
        steps.append(Step(why, again(against="uniform")))
    if facts.searched:
        longer = _LONGER * facts.searched
        steps.append(Step(f"search on, {longer} profiles instead of {facts.searched}:", search(evaluations=longer)))
    else:
        steps.append(Step("search a profile on your own network, from minutes to hours:", search()))
    return steps


def _lower(lr: float) -> float:
    return float(f"{lr / 4:.2g}")


def loading(settings: Applying) -> str:
    """Returns the line of Python that loads a result's network."""
    path = str(settings.out / "pruned.safetensors")
    arguments = f"{path!r}, {settings.arch!r}" if is_foreign_code(settings.arch) else f"{path!r}"
    return f"from profilesearch import load_pruned; network = load_pruned({arguments})"
