"""common: errors of enrolment, by number."""

from __future__ import annotations

from common.errors.text import ErrorText

ERRORS: dict[int, ErrorText] = {}
