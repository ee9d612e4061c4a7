"""common/flower: how often to ask whether there is something to do."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Seconds until the next look: a fifth of how long nothing has happened, between two limits.

    So whoever waits never waits for long in proportion, and many idle parties burden nobody.

    Parameters
    ----------
    quickest, slowest
        The limits, in seconds.
    clock
        What tells the time, in seconds.
    """

    def __init__(self, quickest: float, slowest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quickest, self._slowest, self._clock = quickest, slowest, clock
        self._last = clock()

    def happened(self) -> None:
        """Something happened just now."""
        self._last = self._clock()

    def seconds(self) -> float:
        """How long to wait before the next look."""
        return min(max((self._clock() - self._last) / 5, self._quickest), self._slowest)
