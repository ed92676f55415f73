"""Across depth: which recorded searches of a relative are carried over."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from profilesearch.networks.architectures import build
from profilesearch.networks.mapping import map_by_place
from profilesearch.networks.plan import Plan
from profilesearch.networks.space import ProfileSpace
from profilesearch.profiles import Budget
from profilesearch.research.study.depths import relatives
from profilesearch.research.study.jobs import Found, Search, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.profiles import as_widths
from profilesearch.research.study.records import Records
from profilesearch.research.study.rows import FINETUNES, PROFILES, SEARCHES, of_search, profile_name
from profilesearch.tasks.names import Precision


@cache
def space_of(name: str) -> ProfileSpace:
    return Plan(name, build(name, 10), (3, 32, 32)).space(Budget("macs", 0.5))


def carrying(results: Path, seeds: int = 3) -> Lab:
    """Stands for a laboratory on ResNet-56."""
    known = SimpleNamespace(
        sizes=SimpleNamespace(seeds=seeds, evaluations=1000), folder=results / "resnet56",
        sources=SimpleNamespace(architecture="resnet56", precision="bf16"),
        space=lambda _: space_of("resnet56"), table_of=lambda name: space_of(name).table,
    )  # fmt: skip
    known.folder.mkdir(exist_ok=True, parents=True)
    return cast(Lab, known)


def test_what_is_carried_from_a_relative_is_of_one_setting(tmp_path: Path) -> None:
    profiles = Records(tmp_path / "resnet20" / "profiles.csv", PROFILES)
    searches = Records(tmp_path / "resnet20" / "searches.csv", SEARCHES)

    def name(widths: Widths) -> str:
        name, text = profile_name(widths)
        profiles.put({"profile": name, "widths": text})
        return name

    def search(pool: str, images: int, precision: Precision, *seeds: int) -> list[Widths]:
        drawn = space_of("resnet20").sample(len(seeds), np.random.default_rng(len(profiles)))
        found = [as_widths(row) for row in drawn]
        for seed, widths in zip(seeds, found, strict=True):
            job, worth = Search("ppo", (pool,), 0.5, 1000, seed, images), Found(widths, 0.5, 0.5, 0.5, widths, 0.5, ())
            searches.put(of_search(job, worth, (pool,), name, precision))
        return found

    search("old", 125, "fp32", 0, 1, 2)
    search("old", 125, "bf16", 0, 1, 2)
    search("old", 250, "bf16", 0)
    new = search("new", 125, "bf16", 1, 0, 2, 3)[:3]
    search("newest", 125, "bf16", 1, 2, 3)
    ratios = np.array(new) / space_of("resnet20").table.channels
    deep = space_of("resnet56")
    channels = space_of("resnet20").table.channels, deep.table.channels
    carried = deep.project(np.array([map_by_place(row, *channels) for row in ratios]))
    assert relatives(carrying(tmp_path), 0.5) == {"resnet20": [as_widths(row) for row in carried]}
    assert relatives(carrying(tmp_path, 5), 0.5) == {}


def test_what_is_published_of_a_relative_is_carried_still(tmp_path: Path) -> None:
    published = Path(__file__).parent.parent / "docs" / "results"
    (tmp_path / "resnet20").symlink_to(published / "resnet20")
    known = {row["profile"] for row in Records(published / "resnet56" / "finetunes.csv", FINETUNES).rows()}
    assert known >= {profile_name(widths)[0] for widths in relatives(carrying(tmp_path), 0.5)["resnet20"]}
