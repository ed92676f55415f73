"""Names for files and folders, made of whatever people write."""

import hashlib
import os
import re
import unicodedata

from profilesearch.errors import UsageError

LONGEST = 120
"""Characters of a name; file systems take 255 bytes, endings and numbers included."""
PLAIN_NAME = re.compile(r"[^\W_][\w.-]*")
"""What a file or folder in a store of profiles may be called."""
_WRONG = re.compile(r"[^A-Za-z0-9._-]+")


def safe_name(text: str, longest: int = LONGEST) -> str:
    """Returns a name that every file system takes and no shell has to quote.

    Args:
        text: Anything; what is no letter, digit, `.`, `_` or `-` becomes a hyphen, accents are dropped.
        longest: Characters; of a longer name the end becomes a hash, and so does all of one without any letter left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = _WRONG.sub("-", plain).strip("-._")
    if name and len(name) <= longest:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{name[: longest - len(digest) - 1]}-{digest}".lstrip("-")


def check_name(name: str) -> str:
    """Returns a name that a stored profile, or a folder of them, can have.

    Raises:
        UsageError: It is no plain file name, or too long for one.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot name a stored profile; use letters, digits, '.', '_' and '-'")
    if len(os.fsencode(name)) > LONGEST:
        raise UsageError(f"'{name[:20]}...' cannot name a stored profile; use {LONGEST} characters or fewer")
    return name
