"""Which methods can be run at which levels, found out before any work."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product

from profilesearch.errors import UsageError
from profilesearch.research.study.records import Row
from profilesearch.research.transfers import structured
from profilesearch.research.transfers.answers import Key
from profilesearch.research.transfers.methods import METHODS
from profilesearch.research.transfers.setting import Setting, profile_identity

_NEED_ORIGINAL = ("ticket-original", "profile-original")


def feasible(
    setting: Setting, methods: Sequence[str], levels: Sequence[float], recorded: Iterable[float] = ()
) -> tuple[Setting, list[Key], list[str]]:
    """Finds out what can be run.

    Args:
        setting: Without the profiles that it carries.
        methods: The asked ones.
        levels: Fractions of the weights to remove.
        recorded: Other levels at which profiles were carried before.

    Returns:
        The setting with its profiles, methods with levels that they can reach, and sentences about the others.

    Raises:
        UsageError: A method needs the source's first weights, which are not known; or no method can be run.
    """
    upstream = setting.upstream()
    kinds = {method: method.partition("-")[0] for method in methods}
    if set(methods) & set(_NEED_ORIGINAL):
        upstream.original()
    carried: dict[float, str] = {}
    failed: dict[Key, str] = {}
    levels = sorted(set(levels))
    for kind, level in product(dict.fromkeys(kinds.values()), levels):
        try:
            if kind == "profile":
                carried[level] = profile_identity(structured.carried_profile(upstream, level))
            elif kind in structured.RIVALS:
                structured.check_rival(upstream, level, kind)
        except UsageError as error:
            failed[kind, level] = str(error)
    wanted = [(method, level) for method in methods for level in ([0.0] if method == "dense" else levels)]
    reachable = [(method, level) for method, level in wanted if (kinds[method], level) not in failed]
    alike: dict[tuple[float, str], list[str]] = {}
    for method, level in wanted:
        if reason := failed.get((kinds[method], level)):
            alike.setdefault((level, reason), []).append(method)
    skipped = [f"{', '.join(names)} at {level:g}: {reason}" for (level, reason), names in alike.items()]
    if not reachable:
        raise UsageError(skipped[0])
    for level in sorted(set(recorded) - set(carried)):
        with suppress(UsageError):
            carried[level] = profile_identity(structured.carried_profile(upstream, level))
    return replace(setting, carried=tuple(sorted(carried.items()))), reachable, skipped


def out_of_reach(setting: Setting, rows: Sequence[Row], methods: Sequence[str], levels: Sequence[float]) -> list[str]:
    """Says what cannot be run of all that a page shows, whichever command came last.

    Args:
        setting: Of the comparison.
        rows: The recorded ones.
        methods: Those of the last command.
        levels: Those of the last command.
    """
    shown = {*methods, *(row["method"] for row in rows)}
    there = [*levels, *(float(row["level"]) for row in rows if row["method"] != "dense")]
    return feasible(setting, [name for name in METHODS if name in shown], there)[2]
