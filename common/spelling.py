"""common: the name that was most likely meant by one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def nearest(word: str, known: Sequence[str]) -> str:
    """A known name to suggest for one that is not known: `; did you mean 'arterial'?`, or nothing."""
    found = difflib.get_close_matches(word.lower(), known, n=1)
    return f"; did you mean '{found[0]}'?" if found else ""
