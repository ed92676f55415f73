"""What the names in records stand for: rows go by names, so what is behind a name must stay the same."""

from collections.abc import Mapping
from pathlib import Path

from profilesearch.errors import UsageError
from profilesearch.research.study.cells import Table, text
from profilesearch.research.study.records import Records

IDENTITIES: Table = {"name": text, "identity": text}


def check_identities(folder: Path, identities: Mapping[str, str], fix: str) -> None:
    """Notes data sets and networks beside records, and compares them with those of earlier runs.

    Args:
        folder: Of the records.
        identities: Of data sets and networks, by what they are called in the records.
        fix: What to do otherwise, for the message.

    Raises:
        UsageError: One of them is another than that of an earlier run.
    """
    known = Records(folder / "identities.csv", IDENTITIES)
    for name, identity in identities.items():
        row = known.get(name)
        if row is not None and row["identity"] != identity:
            raise UsageError(
                f"{name} is not what it was when the records in {folder} were made: its images, labels, size, "
                f"normalization or code have changed, or how this version of torch runs it; {fix}"
            )
    for name, identity in identities.items():
        known.put({"name": name, "identity": identity})
