"""simulation: benchmarks: peers: what all contenders are asked."""

from __future__ import annotations

from enum import StrEnum


class Question(StrEnum):
    """What all are asked."""

    LOGISTIC = "logistic regression"
    CURVE = "Kaplan-Meier curve"
    HAZARDS = "Cox regression"
