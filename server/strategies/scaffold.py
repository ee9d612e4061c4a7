"""server/strategies: SCAFFOLD: the server's half of control variates that take out the sites' drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from server.strategies.strategy import RoundTotal, State, Weights, stepped


@dataclass(frozen=True)
class Scaffold:
    """Mean change of weights and of variates (Karimireddy et al., ICML 2020, algorithm 1, all sites in every round).

    The paper's server variate is the plain mean of the sites'. Ours is weighted by patients, as the weights' mean is,
    so that it stays the mean of the variates in the sum that is minimised: sum n_i (c_i - c) = 0 in every round.
    """

    variates: ClassVar[bool] = True
    by_site: ClassVar[bool] = False

    learning_rate: float = 1.0

    def begin(self, weights: Weights) -> State:
        """See `Strategy`."""
        return State(weights, 0, {"variate": np.zeros(weights.size)})

    def step(self, state: State, total: RoundTotal) -> State:
        """See `Strategy`."""
        weights = state.weights + self.learning_rate * total.mean
        return stepped(state, weights, {"variate": state.memory["variate"] + total.variate / total.patients})
