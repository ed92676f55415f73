"""The stored profiles that a comparison can carry: read without torch, which takes seconds."""

from profilesearch.errors import UsageError
from profilesearch.profiles import Metric
from profilesearch.store import Store, Stored


def carriable(store: Store, architecture: str, metric: Metric) -> list[Stored]:
    """Returns the stored profiles of an architecture for what levels are of, or for multiply-adds.

    Raises:
        UsageError: There is none.
    """
    stored = [each for each in store.profiles(architecture) if each.profile.budget.metric in (metric, "macs")]
    if not stored:
        raise UsageError(
            f"no profile of {architecture} is stored; search one with `profilesearch train --arch {architecture}`"
        )
    return stored
