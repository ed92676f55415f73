"""Across depth: how much of the gain of an own search does a profile of a relative keep?"""

from collections.abc import Sequence

import numpy as np

from profilesearch.networks.mapping import map_by_place
from profilesearch.networks.names import architecture_of
from profilesearch.research.study.analysis import difference, gap_between, mean_of
from profilesearch.research.study.jobs import FineTune, Score, Widths
from profilesearch.research.study.lab import Lab
from profilesearch.research.study.page import Line, Section
from profilesearch.research.study.profiles import as_widths, uniform_profile
from profilesearch.research.study.records import Records, Row
from profilesearch.research.study.rows import PROFILES, SEARCHES, check_profiles, recorded_widths
from profilesearch.research.study.searchers import searches


def depths(lab: Lab) -> Section:
    """Maps a relative's searched profiles onto this architecture, beside its own search and uniform."""
    sizes, keep = lab.sizes, lab.sizes.keep
    jobs = searches(lab, keep, ["ppo"])["ppo"]
    own = [found.widths for found in lab.searches(jobs)]
    rivals: dict[str, list[Widths]] = {
        "uniform": [uniform_profile(lab.space(keep))] * sizes.seeds,
        f"PPO on {lab.sources.architecture}": own,
    }
    for relative, profiles in relatives(lab, keep).items():
        rivals[f"PPO on {relative}, mapped"] = profiles
    scoring = {
        name: [[Score(target, "test", widths, sizes.images) for target in lab.targets] for widths in several]
        for name, several in rivals.items()
    }
    tuning = {
        name: [
            [FineTune(target, widths, epochs=sizes.epochs, lr=sizes.lr, seed=seed) for target in lab.targets]
            for seed, widths in enumerate(several)
        ]
        for name, several in rivals.items()
    }
    lab.scores([job for several in scoring.values() for run in several for job in run])
    lab.finetunes([job for several in tuning.values() for run in several for job in run])
    tests = {name: [float(np.mean(lab.scores(run))) for run in several] for name, several in scoring.items()}
    tuned = {
        name: [float(np.mean([t.after for t in lab.finetunes(run)])) for run in several]
        for name, several in tuning.items()
    }
    lines, verdicts = [], []
    own_name = f"PPO on {lab.sources.architecture}"
    gain_of_own = np.mean(tests[own_name]) - np.mean(tests["uniform"])
    for name in rivals:
        cells = [name, mean_of(tests[name]).text(2, 100), mean_of(tuned[name]).text(2, 100)]
        if name == "uniform":
            cells += ["", ""]
        else:
            cells += [difference(values[name], values["uniform"]).text(2, 100) for values in (tests, tuned)]
        behind = [job for runs in (scoring[name], tuning[name]) for run in runs for job in run]
        lines.append(Line.of(cells, behind))
        if name.endswith("mapped"):
            part = (np.mean(tests[name]) - np.mean(tests["uniform"])) / gain_of_own
            behind_own = [gap_between(values[name], values[own_name]).text(2, 100) for values in (tests, tuned)]
            verdicts.append(
                f"{name}: {part:.0%} of the gain over uniform that the own search has, before fine-tuning; "
                f"{behind_own[0]} points against the own search, and {behind_own[1]} fine-tuned"
            )
    return Section(
        "depths",
        "Across depth: profiles of a relative, mapped by relative place",
        f"Profiles of relatives carried to {lab.sources.architecture} and projected onto {keep:g} of the MACs, "
        f"{sizes.seeds} searches; test accuracy in percent, mean over the targets, with batch statistics and "
        f"after {sizes.epochs} epoch(s) of fine-tuning. Gains are over uniform.",
        ("profile", "not fine-tuned", "fine-tuned", "gain", "gain, fine-tuned"),
        tuple(lines),
        "; ".join(verdicts) + "." if verdicts else "No relative was given.",
    )


def relatives(lab: Lab, keep: float) -> dict[str, list[Widths]]:
    """Profiles that PPO found for other architectures of the results folder, on this one's budget surface."""
    carried = {}
    ours = lab.space(keep)
    for folder in sorted(lab.folder.parent.iterdir()):
        name = architecture_of(folder.name)
        if name == lab.sources.architecture or not (folder / "searches.csv").exists():
            continue
        known, found = Records(folder / "profiles.csv", PROFILES), Records(folder / "searches.csv", SEARCHES)
        channels = lab.table_of(name).channels
        check_profiles(known, len(channels), found)
        main = _newest([row for row in found.rows() if _is_main(row, lab, keep)], lab.sizes.seeds)
        profiles = [np.array(recorded_widths(known[row["profile"]])) for row in main]
        ratios = [map_by_place(widths / channels, channels, ours.table.channels) for widths in profiles]
        if ratios:
            carried[name] = [as_widths(row) for row in ours.project(np.array(ratios))]
    return carried


def _newest(rows: Sequence[Row], seeds: int) -> list[Row]:
    """Returns the searches with the first seeds, in the order of their records, that are alike in all else.

    Those on one pool with as many images belong together; of several such groups the one that was recorded last is
    taken, and nothing where none has all seeds.
    """
    wanted = [row for row in rows if int(row["seed"]) < seeds]
    groups = [[row for row in wanted if _setting(row) == _setting(last)] for last in reversed(wanted)]
    return next((group for group in groups if len(group) == seeds), [])


def _setting(row: Row) -> tuple[str, str]:
    return row["pool"], row["images"]


def _is_main(row: Row, lab: Lab, keep: float) -> bool:
    """Whether a recorded search is PPO on a whole pool, with all evaluations and in the precision of the lab."""
    same = row["searcher"] == "ppo" and row["target_weight"] == "1" and float(row["keep"]) == keep
    same = same and row["precision"] == lab.sources.precision
    return same and int(row["evaluations"]) == lab.sizes.evaluations and row["whole_pool"] == "1"
