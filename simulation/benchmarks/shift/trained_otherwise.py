"""simulation: benchmarks: shift: networks that are trained otherwise, as one would who expects hospitals to differ.

They are the product's own layers and optimisers. Each is trained on everybody for as many rounds as the folds of the
network of batch normalisation chose, from the same first weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.learning.dataset import Learners
from client.learning.scoring import estimate_statistics, probabilities
from common.study.networks import Network
from common.study.table import FloatArray
from simulation.learning.ways import Ways

LAYERS = ("group", "silobn", "fedbn")
"""Of which the last two have statistics of their own at every hospital: the target's are estimated from its images."""
OPTIMISERS = ("fedprox", "scaffold")
"""With batch normalisation, as trained."""
OTHERWISE = (*LAYERS, *OPTIMISERS)


@dataclass(frozen=True, eq=False)
class TrainedOtherwise:
    """A network and its weights."""

    network: Network
    weights: NDArray[np.float32]

    def scores(self, here: Learners, tested: Learners) -> FloatArray:
        """(n,) of those tested, with layers that are estimated, where there are any, on the target's others."""
        own = estimate_statistics(self.network, here, self.weights) if self.network.statistics_stay else {}
        found: FloatArray = probabilities(self.network, tested, self.weights, own)[self.network.inference][:, 1].astype(
            np.float64
        )
        return found


def trained_otherwise(ways: Ways, rounds: Mapping[int, int]) -> dict[str, TrainedOtherwise]:
    """By name of `OTHERWISE`."""
    found = {}
    for name in OTHERWISE:
        changed: dict[str, Any] = {"normalisation": name} if name in LAYERS else {}
        if name in OPTIMISERS:
            changed["federation"] = ways.network.federation.model_copy(update={"strategy": name})
        network = ways.network.model_copy(update={**changed, "adaptation": None})
        (member,) = replace(ways, network=network, folder=ways.folder / name).on_everybody(rounds).members[0]
        found[name] = TrainedOtherwise(network, member.weights)
    return found
