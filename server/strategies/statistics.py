"""server/strategies: running statistics of layers, which are no parameters: averaged, whatever steps the others go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.strategies.fedavg import FedAvg
from server.strategies.strategy import RoundTotal, State, Strategy, Weights
from server.strategies.trimmed_mean import TrimmedMean


@dataclass(frozen=True)
class WithStatistics:
    """A strategy on the parameters; means and variances become those of the sites, each by its patients.

    A variance that went Adam's step, or more than the whole way to the mean, could be negative.

    Attributes
    ----------
    parameters
        (p,) False for running statistics.
    """

    inner: Strategy
    parameters: NDArray[np.bool_]

    @property
    def variates(self) -> bool:
        """See `Strategy`."""
        return self.inner.variates

    @property
    def by_site(self) -> bool:
        """See `Strategy`."""
        return self.inner.by_site

    def begin(self, weights: Weights) -> State:
        """See `Strategy`."""
        return self.inner.begin(weights)

    def step(self, state: State, total: RoundTotal) -> State:
        """See `Strategy`."""
        plain = TrimmedMean(self.inner.trim) if isinstance(self.inner, TrimmedMean) else FedAvg()
        stepped = self.inner.step(state, total)
        averaged = plain.step(State(state.weights), total).weights
        return State(np.where(self.parameters, stepped.weights, averaged), stepped.steps, stepped.memory)
