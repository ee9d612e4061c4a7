"""common: errors of the program at a hospital that answers (the node), 720-729, by number."""

from __future__ import annotations

from common.errors.text import ErrorText

ERRORS: dict[int, ErrorText] = {}
