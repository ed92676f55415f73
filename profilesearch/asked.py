"""A profile that is asked for, of a file or by its name in the store: read without torch, which takes seconds."""

from pathlib import Path

from profilesearch.errors import UsageError, nearest
from profilesearch.networks.names import NAMED
from profilesearch.profiles import Profile
from profilesearch.store import Store


def given_profile(asked: str | Path, store: Path) -> Profile:
    """Returns the profile that is asked for: of a file, or a stored one as `list` names it, `ARCHITECTURE/NAME`.

    Raises:
        UsageError: There is none, with the nearest names; or its file is broken.
    """
    if Path(asked).suffix == ".json" or Path(asked).exists():
        return Profile.load(asked)
    stored = Store(store)
    files = {f"{name}/{file.stem}": file for name in stored.architectures() for file in stored.files(name)}
    name = str(asked)
    if name not in files:
        raise UsageError(f"there is no profile '{name}', file or stored; {nearest(name, [*NAMED, *files])}")
    return Profile.load(files[name])


def check_scope(profile: Profile, scope: str | None) -> None:
    """Refuses a scope that would have no effect beside a given profile, which has its own.

    Raises:
        UsageError: It is another one.
    """
    if scope not in (None, profile.scope):
        raise UsageError(
            f"the given profile is for scope '{profile.scope}', and `scope='{scope}'` asks for another; leave out "
            "`scope`, or `profile`"
        )
