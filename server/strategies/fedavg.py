"""server/strategies: FedAvg: the mean of the sites' weights, each by its patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from server.strategies.strategy import RoundTotal, State, Weights, stepped


@dataclass(frozen=True)
class FedAvg:
    """Weights plus learning rate times the mean change (McMahan et al., AISTATS 2017, algorithm 1, at a rate of 1)."""

    variates: ClassVar[bool] = False
    by_site: ClassVar[bool] = False

    learning_rate: float = 1.0

    def begin(self, weights: Weights) -> State:
        """See `Strategy`."""
        return State(weights)

    def step(self, state: State, total: RoundTotal) -> State:
        """See `Strategy`."""
        return stepped(state, state.weights + self.learning_rate * total.mean, {})
