"""Measurements as rows of records, and back; a profile stands in a row by its name."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator

from agents import SEARCHERS as SEARCHER_NAMES
from profilesearch.research.study.cells import (
    Later,
    Table,
    amount,
    hexadecimal,
    maybe,
    one_of,
    part,
    several,
    text,
    whole,
)
from profilesearch.research.study.jobs import (
    FamilySearch,
    FineTune,
    Found,
    FoundFamily,
    Score,
    Search,
    Tuned,
    Widths,
    identity,
)
from profilesearch.research.study.records import Records, Row
from profilesearch.tasks.hardware import DTYPES
from profilesearch.tasks.names import Precision

_ID, _PROFILE = hexadecimal(10), hexadecimal(8)
_FLAG = one_of(("0", "1"))
_PRECISION = one_of(DTYPES)
_COUNT = whole(1)

PROFILES: Table = {"profile": _PROFILE, "widths": several(_COUNT, "-")}
MODELS: Table = {"model": text, "data": text, "weights": text}
SCORES: Table = {
    "id": _ID, "model": text, "part": text, "images": _COUNT, "statistics": text, "criterion": text,
    "profile": _PROFILE, "precision": _PRECISION, "score": part,
    "measure": Later(text, "accuracy"), "refit": Later(text, "none"), "elastic": Later(whole(), "0"),
    "sandwich": Later(_FLAG, "0"), "steps": Later(whole(), "0"),
}  # fmt: skip
FINETUNES: Table = {
    "id": _ID, "model": text, "profile": _PROFILE, "keep": part, "criterion": text, "epochs": whole(), "lr": amount,
    "distill": amount, "seed": whole(), "precision": _PRECISION, "cost": part, "before": part,
    "after": part, "refit": Later(text, "none"),
}  # fmt: skip
SEARCHES: Table = {
    "id": _ID, "searcher": one_of(SEARCHER_NAMES), "pool": text, "whole_pool": _FLAG, "keep": part,
    "evaluations": _COUNT, "seed": whole(), "images": _COUNT, "target_weight": amount, "precision": _PRECISION,
    "profile": _PROFILE, "search": amount, "choose": amount, "fresh": maybe(amount), "policy": maybe(_PROFILE),
    "own_cost": part,
}  # fmt: skip
CURVES: Table = {
    "id": text, "search": _ID, "evaluation": _COUNT, "fitness": amount, "own_cost": part, "is_policy": _FLAG,
}  # fmt: skip
FAMILIES: Table = {
    "id": _ID, "pool": text, "keeps": several(part), "evaluations": _COUNT, "seed": whole(),
    "images": _COUNT, "precision": _PRECISION, "profiles": several(_PROFILE), "own_costs": several(part),
}  # fmt: skip

Name = Callable[[Widths], str]
"""Names a profile."""
Read = Callable[[str], Widths]
"""Returns the profile of a name."""
Point = tuple[float, float, int]
"""Of a curve, see `Found`."""


def of_score(job: Score, value: float, name: Name, precision: Precision) -> Row:
    """Returns the row of a score."""
    return {
        "id": identity(job, precision), "model": job.model, "part": job.part, "images": str(job.images),
        "statistics": job.statistics, "criterion": job.criterion, "profile": name(job.widths), "precision": precision,
        "score": f"{value:.6f}", "measure": job.measure, "refit": job.refit, "elastic": str(job.elastic),
        "sandwich": str(int(job.sandwich)), "steps": str(job.steps),
    }  # fmt: skip


def of_finetune(job: FineTune, tuned: Tuned, name: Name, precision: Precision) -> Row:
    """Returns the row of a fine-tuning."""
    return {
        "id": identity(job, precision), "model": job.model, "profile": name(tuned.widths), "keep": f"{job.keep:g}",
        "criterion": job.criterion, "epochs": str(job.epochs), "lr": f"{job.lr:g}", "distill": f"{job.distill:g}",
        "seed": str(job.seed), "precision": precision, "cost": f"{tuned.cost:.4f}", "before": f"{tuned.before:.4f}",
        "after": f"{tuned.after:.4f}", "refit": job.refit,
    }  # fmt: skip


def as_tuned(job: FineTune, row: Row, read: Read) -> Tuned:
    """Reads the row of a fine-tuning."""
    widths = job.widths or read(row["profile"])
    return Tuned(float(row["before"]), float(row["after"]), float(row["cost"]), widths)


def of_search(job: Search, found: Found, whole: tuple[str, ...], name: Name, precision: Precision) -> Row:
    """Returns the row of a search; `whole` is the study's pool, of which a search may see a part."""
    return {
        "id": identity(job, precision), "searcher": job.searcher, "pool": " ".join(job.pool),
        "whole_pool": str(int(job.pool == whole)), "keep": f"{job.keep:g}", "evaluations": str(job.evaluations),
        "seed": str(job.seed), "images": str(job.images), "target_weight": f"{job.target_weight:g}",
        "precision": precision, "profile": name(found.widths), "search": f"{found.search:.4f}",
        "choose": f"{found.choose:.4f}", "fresh": f"{found.fresh:.4f}",
        "policy": name(found.policy) if found.policy else "", "own_cost": f"{found.own_cost:.4f}",
    }  # fmt: skip


def of_curve(job: Search, found: Found, precision: Precision) -> Iterator[Row]:
    """Yields the rows of a search's curve."""
    search = identity(job, precision)
    for number, (fitness, own_cost, is_policy) in enumerate(found.curve, 1):
        yield {
            "id": f"{search}.{number}", "search": search, "evaluation": str(number), "fitness": f"{fitness:.4f}",
            "own_cost": f"{own_cost:.4f}", "is_policy": str(is_policy),
        }  # fmt: skip


def as_curves(rows: Iterable[Row]) -> dict[str, dict[int, Point]]:
    """Reads the rows of curves; returns the points of each search by their numbers, in order."""
    curves: dict[str, dict[int, Point]] = {}
    for row in sorted(rows, key=lambda row: int(row["evaluation"])):
        point = float(row["fitness"]), float(row["own_cost"]), int(row["is_policy"])
        curves.setdefault(row["search"], {})[int(row["evaluation"])] = point
    return curves


def as_found(row: Row, curve: Iterable[Point], read: Read) -> Found:
    """Reads the row of a search."""
    policy = read(row["policy"]) if row["policy"] else ()
    fresh = float(row["fresh"]) if row["fresh"] else math.nan  # not taken by earlier versions
    numbers = float(row["search"]), float(row["choose"]), fresh
    return Found(read(row["profile"]), *numbers, policy, float(row["own_cost"]), tuple(curve))


def of_family(job: FamilySearch, found: FoundFamily, name: Name, precision: Precision) -> Row:
    """Returns the row of a family."""
    return {
        "id": identity(job, precision), "pool": " ".join(job.pool), "keeps": _joined(job.keeps),
        "evaluations": str(job.evaluations), "seed": str(job.seed), "images": str(job.images),
        "precision": precision, "profiles": " ".join(map(name, found.widths)), "own_costs": _joined(found.own_costs),
    }  # fmt: skip


def as_family(row: Row, read: Read) -> FoundFamily:
    """Reads the row of a family."""
    return FoundFamily(tuple(map(read, row["profiles"].split())), tuple(map(float, row["own_costs"].split())))


def profile_name(widths: Widths) -> tuple[str, str]:
    """Returns the name of a profile, a hash, and its widths as records have them."""
    written = "-".join(map(str, widths))
    return hashlib.sha256(written.encode()).hexdigest()[:8], written


def recorded_widths(row: Row) -> Widths:
    """Reads the row of a profile."""
    return tuple(map(int, row["widths"].split("-")))


def check_profiles(profiles: Records, groups: int, *naming: Records) -> None:
    """Checks profiles against their names, and that those whose widths no measurement says are there.

    Args:
        profiles: Rows of `PROFILES`.
        groups: How many channel groups each must have.
        naming: Rows with names of profiles.

    Raises:
        UsageError: A row does not fit the others.
    """
    for row in profiles.rows():
        widths = recorded_widths(row)
        if profile_name(widths)[0] != row["profile"] or len(widths) != groups:
            raise profiles.wrong(row, "widths", f", which are not {groups} that its name is a hash of")
    for records in naming:
        for row in records.rows():
            for column in ("profile", "policy", "profiles"):
                known = row.get("keep") == "0"  # a fine-tuning of widths that were given
                if not known and any(profiles.get(name) is None for name in row.get(column, "").split()):
                    raise records.wrong(row, column, f", which {profiles.path} does not have")
            counts = {len(row[column].split()) for column in ("keeps", "profiles", "own_costs") if column in row}
            if len(counts) > 1:
                raise records.wrong(row, "keeps", ", which are not as many as its profiles or own costs")


def check_curves(searches: Records, curves: Records) -> None:
    """Checks that the whole curve of every search is there: searchers without chance may have fewer evaluations.

    Raises:
        UsageError: One is not.
    """
    found = as_curves(curves.rows())
    for row in searches.rows():
        points, asked = [*found.get(row["id"], ())], int(row["evaluations"])
        ends = len(points) == asked or (len(points) < asked and not SEARCHER_NAMES[row["searcher"]].seeded)
        if not points or points != [*range(1, len(points) + 1)] or not ends:
            raise searches.wrong(row, "evaluations", f", of which {curves.path} does not have all")


def _joined(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.4g}" for number in numbers)
