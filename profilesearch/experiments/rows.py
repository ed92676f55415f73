"""Measurements as rows of records, and back; a profile stands in a row by its name."""

import math
from collections.abc import Callable, Iterable, Iterator

from profilesearch.amounts import is_part
from profilesearch.errors import UsageError
from profilesearch.experiments.jobs import (
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
from profilesearch.experiments.records import Row
from profilesearch.tasks.hardware import Precision

PROFILES = ("profile", "widths")
MODELS = ("model", "data", "weights")
SCORES = ("id", "model", "part", "images", "statistics", "criterion", "profile", "precision", "score")
FINETUNES = (
    "id", "model", "profile", "keep", "criterion", "epochs", "lr", "distill", "seed", "precision", "cost", "before",
    "after",
)  # fmt: skip
SEARCHES = (
    "id", "searcher", "pool", "whole_pool", "keep", "evaluations", "seed", "images", "target_weight",
    "precision", "profile", "search", "choose", "fresh", "policy", "own_cost",
)  # fmt: skip
CURVES = ("id", "search", "evaluation", "fitness", "own_cost", "is_policy")
FAMILIES = ("id", "pool", "keeps", "evaluations", "seed", "images", "precision", "profiles", "own_costs")

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
        "score": f"{value:.4f}",
    }  # fmt: skip


def of_finetune(job: FineTune, tuned: Tuned, name: Name, precision: Precision) -> Row:
    """Returns the row of a fine-tuning."""
    return {
        "id": identity(job, precision), "model": job.model, "profile": name(tuned.widths), "keep": f"{job.keep:g}",
        "criterion": job.criterion, "epochs": str(job.epochs), "lr": f"{job.lr:g}", "distill": f"{job.distill:g}",
        "seed": str(job.seed), "precision": precision, "cost": f"{tuned.cost:.4f}", "before": f"{tuned.before:.4f}",
        "after": f"{tuned.after:.4f}",
    }  # fmt: skip


def as_tuned(row: Row, read: Read) -> Tuned:
    """Reads the row of a fine-tuning."""
    return Tuned(part_of(row, "before"), part_of(row, "after"), part_of(row, "cost"), read(row["profile"]))


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


def as_curves(rows: Iterable[Row]) -> dict[str, list[Point]]:
    """Reads the rows of curves; returns the points of each search."""
    curves: dict[str, list[Point]] = {}
    for row in rows:
        point = float(row["fitness"]), float(row["own_cost"]), int(row["is_policy"])
        curves.setdefault(row["search"], []).append(point)
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


def part_of(row: Row, name: str) -> float:
    """Returns a number of a row that must be in [0, 1].

    Raises:
        UsageError: It is not.
    """
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not is_part(value):
        raise UsageError(
            f"the records have a '{name}' of {row[name]} under {row['id']}; take that row out, and it is measured again"
        )
    return value


def _joined(numbers: Iterable[float]) -> str:
    return " ".join(f"{number:.4g}" for number in numbers)
