"""server/strategies: FedAdam: Adam on the mean change of the sites as if it were a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from server.strategies.strategy import RoundTotal, State, Weights, stepped


@dataclass(frozen=True)
class FedAdam:
    """Adam at the server (Reddi et al., ICLR 2021, algorithm 2), moments from 0 with Adam's correction of their bias.

    The correction is that of Kingma & Ba (ICLR 2015, section 2), with the first step counted as 1.
    """

    variates: ClassVar[bool] = False
    by_site: ClassVar[bool] = False

    learning_rate: float
    beta1: float
    beta2: float
    tau: float

    def begin(self, weights: Weights) -> State:
        """See `Strategy`."""
        return State(weights, 0, {"first": np.zeros(weights.size), "second": np.zeros(weights.size)})

    def step(self, state: State, total: RoundTotal) -> State:
        """See `Strategy`."""
        change, t = total.mean, state.steps + 1
        first = self.beta1 * state.memory["first"] + (1.0 - self.beta1) * change
        second = self.beta2 * state.memory["second"] + (1.0 - self.beta2) * np.square(change)
        rate = self.learning_rate * np.sqrt(1.0 - self.beta2**t) / (1.0 - self.beta1**t)
        weights = state.weights + rate * first / (np.sqrt(second) + self.tau)
        return stepped(state, weights, {"first": first, "second": second})
