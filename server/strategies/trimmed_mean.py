"""server/strategies: the trimmed mean: for every weight the sites with the largest and smallest change are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from server.strategies.strategy import RoundTotal, State, Weights, stepped


@dataclass(frozen=True)
class TrimmedMean:
    """Coordinate-wise trimmed mean of the sites' changes (Yin et al., ICML 2018, definition 2), sites counted alike.

    Of k sites floor(trim k) are left out at either end: none where trim k is below 1.
    """

    variates: ClassVar[bool] = False
    by_site: ClassVar[bool] = True

    trim: float
    learning_rate: float = 1.0

    def begin(self, weights: Weights) -> State:
        """See `Strategy`."""
        return State(weights)

    def step(self, state: State, total: RoundTotal) -> State:
        """See `Strategy`."""
        changes = np.sort([part.mean for part in total.parts], axis=0)
        left_out = int(self.trim * len(changes))
        kept = changes[left_out : len(changes) - left_out]
        return stepped(state, state.weights + self.learning_rate * kept.mean(axis=0), {})
