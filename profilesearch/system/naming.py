"""Names for files and folders, made of whatever people write."""

import hashlib
import re
import unicodedata

LONGEST = 120
"""Characters of a name; file systems take 255 bytes, endings and numbers included."""
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
