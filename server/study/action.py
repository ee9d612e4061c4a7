"""server/study: what can be done with a study."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What is done with a study."""

    RUN = "run"
    PLAN = "plan"
