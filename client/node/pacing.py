"""client/node: how long the node sleeps where it found no message."""

from __future__ import annotations

import time
from collections.abc import Callable

from common.flower.pace import Pace

QUICKEST_SECONDS = 0.1
SLOWEST_SECONDS = 2.0


class Pacing:
    """Stands where the node's loop has the module `time`, of which it uses `sleep` only.

    Parameters
    ----------
    idle
        Called at each look for messages that found none.
    """

    def __init__(self, idle: Callable[[], None]) -> None:
        self._idle = idle
        self._pace = Pace(QUICKEST_SECONDS, SLOWEST_SECONDS)

    def answered(self) -> None:
        """A message was answered: the next one may come soon."""
        self._pace.happened()

    def sleep(self, _seconds: float) -> None:
        """Sleep, not for the seconds that Flower says, but according to when the last message came."""
        self._idle()
        time.sleep(self._pace.seconds())
