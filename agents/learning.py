"""What every training of a policy stands in: the process's streams are kept, and a divergence is one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from profilesearch.errors import UsageError
from profilesearch.system.modes import own_modes
from profilesearch.system.streams import streams_kept


@contextmanager
def learning() -> Iterator[None]:
    """Lets a policy learn, in whatever program.

    Raises:
        UsageError: It diverged.
    """
    try:
        with streams_kept(), own_modes():
            yield
    except ValueError as error:
        # A policy whose weights overflowed draws from no distribution: torch says of which, with all its numbers.
        if isinstance(error, UsageError) or "satisfy the constraint" not in str(error):
            raise
        raise UsageError(
            "the policy diverged: it gives no numbers any more; let it learn more slowly, by a smaller learning_rate "
            "or fewer epochs"
        ) from error
