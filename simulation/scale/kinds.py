"""simulation/scale: the studies that are run over ever more hospitals."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Which study is run."""

    STATISTICS = "statistics"
    NETWORK = "network"
