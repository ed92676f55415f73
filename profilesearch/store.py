"""The profile store: `profiles/ARCHITECTURE/NAME.json`, the user's own and those that come with the installation."""

import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import count
from pathlib import Path
from typing import Any

from profilesearch.errors import UsageError
from profilesearch.evidence import AtHand
from profilesearch.networks.names import architecture_of, folder_name
from profilesearch.profiles import Budget, Metric, Profile
from profilesearch.standing import evidence_against, is_for, rank
from profilesearch.system.files import write_json
from profilesearch.system.naming import PLAIN_NAME, check_name

_PACKAGE = Path(__file__).parent
SHIPPED = next((f for f in (_PACKAGE / "shipped", _PACKAGE.parent / "profiles") if f.is_dir()), _PACKAGE / "shipped")
"""Profiles inside an installed wheel, or in the source tree of an editable installation."""
_SAME = 1e-9
_DIGESTS = ("data_digest", "weights")
"""What tells members of a pool apart that have the same names."""


@dataclass(frozen=True)
class Stored:
    """A profile and its file.

    Attributes:
        profile: What the file says.
        path: The file.
        own: Whether it is of the user's folder, and not of the installation's.
    """

    profile: Profile
    path: Path
    own: bool = False

    @property
    def name(self) -> str:
        """File name without the ending."""
        return self.path.stem


class Store:
    """Lists, finds and adds profiles.

    Args:
        folder: Where new profiles are written, and where profiles are looked for first.
        shipped: A folder that is looked through afterwards, and never written.

    Raises:
        UsageError: `folder` is a file.
    """

    def __init__(self, folder: Path, shipped: Path = SHIPPED) -> None:
        if folder.is_file():
            raise UsageError(f"{folder} is a file; `store` takes a folder of profiles")
        self.folder = folder
        self._shipped = shipped.resolve()
        self._folders = list(dict.fromkeys(f.resolve() for f in (folder, shipped)))

    def missing(self, usual: Path) -> str:
        """Says that a folder other than the usual one is not there; nothing where it is."""
        if self.folder == usual or self.folder.exists():
            return ""
        return f"there is no folder {self.folder}; the profiles of the installation are all there are"

    def profiles(self, architecture: str) -> Iterator[Stored]:
        """Yields the profiles of an architecture, by name; a name in both folders comes from the user's.

        Raises:
            UsageError: As for `read`.
        """
        yield from map(self.read, self.files(architecture))

    def read(self, file: Path) -> Stored:
        """Reads one of the store's files.

        Raises:
            UsageError: It is broken, or lies in the folder of another architecture, which its widths do not fit.
        """
        profile = Profile.load(file)
        right = file.parent.with_name(folder_name(profile.architecture))
        if right != file.parent:
            raise UsageError(f"{file} is a profile of {profile.architecture}; move it to the folder {right}")
        return Stored(profile, file, self._is_own(file))

    def files(self, architecture: str) -> list[Path]:
        """Returns the files of `profiles`, unread."""
        check_name(folder_name(architecture))
        files: dict[str, Path] = {}
        for folder in self._folders:
            for path in sorted((folder / folder_name(architecture)).glob("[!.]*.json")):
                files.setdefault(path.stem, path)
        return [files[name] for name in sorted(files)]

    def _is_own(self, file: Path) -> bool:
        """Says whether a file is the user's; none is where the installation's folder is theirs, as in its sources."""
        return not file.resolve().is_relative_to(self._shipped)

    def add(self, profile: Profile, name: str) -> Path:
        """Writes a profile, without ever losing another one.

        Args:
            profile: What to store.
            name: Of the file; where a different profile has it, a number is appended.

        Returns:
            The file. A profile that is there already, with equal ratios and origin, stays and gets new evidence; the
            date and the versions that it was found with are no part of its origin.

        Raises:
            UsageError: The name is no plain file name, or the folder cannot be written.
        """
        check_name(folder_name(profile.architecture))
        check_name(name)
        for number in count(1):
            path = self.folder / folder_name(profile.architecture) / f"{name}{f'-{number}' if number > 1 else ''}.json"
            try:
                write_json(path, profile.sealed(), new=True)
            except FileExistsError:
                there = _readable(path)
                if there is None or _origin(there) != _origin(profile):
                    continue
                more = reduce(Profile.with_evidence, profile.evidence, there)
                if more is not there:
                    more.save(path)
            break
        return path

    def replace(self, profile: Profile, name: str) -> Path:
        """Writes a profile in place of the one with this name, if there is one; returns the file.

        Raises:
            UsageError: The name is no plain file name, or the folder cannot be written.
        """
        check_name(folder_name(profile.architecture))
        check_name(name)
        path = self.folder / folder_name(profile.architecture) / f"{name}.json"
        profile.save(path)
        return path

    def architectures(self) -> list[str]:
        """Returns the names of all architectures that have a stored profile."""
        folders = {file.parent.name for folder in self._folders for file in folder.glob("*/[!.]*.json")}
        return sorted(architecture_of(name) for name in folders if PLAIN_NAME.fullmatch(name))

    def best(
        self,
        architecture: str,
        keep: float,
        metric: Metric,
        data: str,
        more: str = "",
        keep_params: float | None = None,
        network: str = "",
    ) -> Stored:
        """Returns the stored profile for a budget that is best by its own record.

        What the user's own search found for this comes first: a profile that was searched on the network at hand, or on
        the asked data set if it lies in the user's folder; unless it is shown to lose there.

        Evidence is the gain over the uniform profile on models that the search did not see; what counts of it is the
        lower end of its interval. First come profiles that gained on the asked data set, then those of which nothing is
        known there, last those that lost there, or, where nothing is known there, elsewhere. Among the unknown, those
        that were searched on that data set come first, then those that gained elsewhere, then those that gained most on
        the pool's fresh images, which chose nothing.

        Args:
            architecture: Its name.
            keep: Part of the cost.
            metric: Of the cost.
            data: Name of the data set.
            more: What else the user would give to a search, as text for a shell that starts with a space.
            keep_params: Part of the parameters that profiles must have been searched for as well.
            network: Name of the network at hand, as pools call it.

        Raises:
            UsageError: There is none for this budget; the message says which budgets there are.
        """
        asked = Budget(metric, keep, keep_params)
        found = self.find(architecture, asked, AtHand(data, network))
        if found is None:
            budgets = sorted({s.profile.budget.text for s in self.profiles(architecture)})
            have = f"there are profiles that keep {', '.join(budgets)}" if budgets else "none is stored yet"
            command = f"`profilesearch train --arch {shlex.quote(architecture)} --keep {keep} --metric {metric}{more}`"
            raise UsageError(
                f"no stored profile of {architecture} keeps {asked.text}; {have}; search one with "
                f"{command}, or take `profile='uniform'`"
            )
        return found

    def find(self, architecture: str, budget: Budget, here: AtHand, scope: str | None = None) -> Stored | None:
        """Returns what `best` returns for what is at hand, of one scope if that is given; None where nothing fits."""
        every = [each for each in self.profiles(architecture) if scope in (None, each.profile.scope)]
        fitting = [each for each in every if _alike(each.profile.budget, budget)]
        return max(fitting, key=lambda s: (is_for(s.profile, s.own, here), rank(s.profile, here)), default=None)

    def fitting(
        self, fingerprint: str | Collection[str], keep: float, metric: Metric, keep_params: float | None = None
    ) -> Stored | None:
        """Returns the best stored profile for a budget among those of networks with these channel groups.

        Args:
            fingerprint: Of the groups; of several scopes, any of them.
            keep: Part of the cost.
            metric: Of the cost.
            keep_params: Part of the parameters that profiles must have been searched for as well.

        Returns:
            One of the user's folder, else one of the installation, whatever the name of its architecture; of several
            the first by the order of `best`, which knows of no data here. None where there is none. Broken files are
            passed over, and profiles that lost to uniform in the mean of what they were measured on.
        """
        prints = {fingerprint} if isinstance(fingerprint, str) else set(fingerprint)
        asked, nowhere = Budget(metric, keep, keep_params), AtHand("")
        files = [file for name in self.architectures() for file in self.files(name)]
        every = [
            Stored(profile, file, self._is_own(file)) for file in files if (profile := _readable(file)) is not None
        ]
        found = [
            stored
            for stored in every
            if stored.profile.fingerprint in prints
            and _alike(stored.profile.budget, asked)
            and not evidence_against(stored.profile, stored.own, nowhere)
        ]
        return max(found, key=lambda stored: (stored.own, rank(stored.profile, nowhere)), default=None)


def _alike(one: Budget, other: Budget) -> bool:
    """Says whether two budgets are the same, but for the rounding of their fractions."""
    fractions = [(budget.keep, budget.keep_params or 0) for budget in (one, other)]
    near = all(abs(a - b) < _SAME for a, b in zip(*fractions, strict=True))
    return one.metric == other.metric and near


def _readable(path: Path) -> Profile | None:
    try:
        return Profile.load(path)
    except UsageError:  # damaged, or being written
        return None


def _origin(profile: Profile) -> dict[str, Any]:
    """Returns what makes a profile the same one when its search is run again, another day or elsewhere."""
    found: dict[str, Any] = {key: value for key, value in profile.found.items() if key not in ("date", "versions")}
    if "pool" in found:  # files of earlier versions have no digests
        found["pool"] = [{key: member[key] for key in member if key not in _DIGESTS} for member in found["pool"]]
    return profile.to_json() | {"found": found, "evidence": []}
