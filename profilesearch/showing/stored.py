"""The stored profiles, with their evidence: what `list` does."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from profilesearch.cli.console import Output
from profilesearch.errors import UsageError, nearest
from profilesearch.reporting.stored import EVIDENCE, PROFILES, evidence_rows, profile_row
from profilesearch.showing.settings import Listing
from profilesearch.store import Store, Stored


def show_stored(settings: Listing) -> None:
    """Does what `list` is told.

    Raises:
        UsageError: The store is no folder, or a file is damaged, and that was asked about.
    """
    output = Output.of(settings)
    store = Store(settings.store)
    if missing := store.missing(Listing.store):
        output.say(missing)
    names = store.architectures()
    if settings.arch is not None and names:
        names = [_stored(settings.arch, names)]
    every, damaged = _readable(store, [file for name in names for file in store.files(name)])
    if not every and not damaged:
        output.say(f"no profile in {settings.store}; search one with `profilesearch train --arch NAME`")
    elif settings.evidence:
        output.table("evidence", EVIDENCE, [row for stored in every for row in evidence_rows(stored)])
    elif every:
        output.table("stored profiles", PROFILES, [profile_row(stored) for stored in every])
    for reason in damaged:
        output.say(f"damaged: {reason}")
    listed = [{"file": str(stored.path), **stored.profile.to_json()} for stored in every]
    output.result({"profiles": listed, "damaged": damaged})
    if damaged and settings.check:
        raise UsageError(f"{len(damaged)} damaged profile(s); remove them, or fetch or search them again")


def _stored(arch: str, names: Sequence[str]) -> str:
    """Returns an architecture that has stored profiles.

    Raises:
        UsageError: It has none; the message says which ones have, and how to get one.
    """
    if arch in names:
        return arch
    search = f"profilesearch train --arch {shlex.quote(arch)}"
    raise UsageError(f"no profile of '{arch}' is stored; {nearest(arch, names)}, or search one with `{search}`")


def _readable(store: Store, files: Sequence[Path]) -> tuple[list[Stored], list[str]]:
    """Reads profiles; returns them, and why the others cannot be read."""
    good, damaged = [], []
    for file in files:
        try:
            good.append(store.read(file))
        except UsageError as error:
            damaged.append(str(error))
    return good, damaged
