"""server/strategies: what a federated optimiser is: a pure step from weights and the sites' sum to the next weights.

FedProx differs from FedAvg at the sites only (a proximal term in the local loss; Li et al., MLSys 2020, algorithm 2),
and so do site-local normalisations (FedBN, SiloBN), so they have no step of their own: theirs is FedAvg's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import STRICT, FloatField, WeightsField

Weights = NDArray[np.float32]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """What an optimiser knows between two rounds.

    Attributes
    ----------
    weights
        (p,) as they are broadcast.
    steps
        Rounds that were stepped.
    memory
        (p,) each: moments or variates, by name.
    """

    __pydantic_config__ = STRICT
    weights: WeightsField
    steps: int = 0
    memory: dict[str, FloatField] = field(default_factory=dict)

    @property
    def variate(self) -> Weights:
        """(p,) the server's control variate as it is broadcast; empty where the optimiser has none."""
        return self.memory.get("variate", np.empty(0)).astype(np.float32)


@dataclass(frozen=True)
class RoundTotal:
    """What a round brought, of the whole roster or of one site.

    Attributes
    ----------
    update
        (p,) sum over patients of the weights' change: each site's change times its patients.
    patients
        Patients trained on.
    variate
        (p,) the same sum of the changes of the sites' control variates; empty without.
    parts
        Each site's own, where an optimiser needs them.
    """

    update: FloatArray
    patients: int
    variate: FloatArray = field(default_factory=lambda: np.empty(0))
    parts: tuple[RoundTotal, ...] = ()

    @property
    def mean(self) -> FloatArray:
        """(p,) mean change of the weights, sites weighted by their patients; error 681 without patients."""
        if self.patients < 1:
            raise FedmviError(681)
        return self.update / self.patients


class Strategy(Protocol):
    """A federated optimiser."""

    @property
    def variates(self) -> bool:
        """Whether sites send the changes of their control variates too."""

    @property
    def by_site(self) -> bool:
        """Whether it needs each site's update, which rules out secure sums."""

    def begin(self, weights: Weights) -> State:
        """The state before the first round."""

    def step(self, state: State, total: RoundTotal) -> State:
        """The state after a round; error 680 where a weight is no finite number any more."""


def stepped(state: State, weights: FloatArray, memory: dict[str, FloatArray]) -> State:
    """The state after a step, its weights rounded to what is broadcast; error 680 unless all are finite."""
    with np.errstate(over="ignore"):
        rounded = weights.astype(np.float32)
    if not (np.isfinite(rounded).all() and all(np.isfinite(array).all() for array in memory.values())):
        raise FedmviError(680)
    return State(rounded, state.steps + 1, memory)
