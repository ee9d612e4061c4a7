"""simulation: benchmarks: shift: the logistic model by federated optimisers, in the product's own steps at the server.

A hospital's half is written here for one design matrix, with full gradients; that of networks is in `client.learning`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.study.recipe import Frame, Recipe, Score, Standardise, logistic_function
from common.study.table import FloatArray
from server.strategies.fedavg import FedAvg
from server.strategies.scaffold import Scaffold
from server.strategies.strategy import RoundTotal, State
from simulation.benchmarks.shift.models import Developed
from simulation.benchmarks.shift.sites import ENDPOINT

FEDAVG, FEDPROX, SCAFFOLD = "fedavg", "fedprox", "scaffold"
OPTIMISERS = (FEDAVG, FEDPROX, SCAFFOLD)
"""Actions in training: without ComBat, and without any patient of the target."""
ROUNDS, LOCAL_EPOCHS, RATE = 60, 5, 0.5
"""Full gradients on standardised features. Chosen on tuning seeds, where the area of FedAvg is that of the pooled fit
to 0.002 where nothing differs."""
PROXIMAL = 0.01
"""Weight of the proximal term of FedProx: what a study has that does not say otherwise."""


def averaged(optimiser: str, frames: Mapping[str, Frame], standardising: Standardise) -> Developed:
    """The model after `ROUNDS` rounds of `LOCAL_EPOCHS` steps at every hospital, by one of `OPTIMISERS`."""
    columns, strategy = standardising.names, Scaffold() if optimiser == SCAFFOLD else FedAvg()
    data = []
    for frame in frames.values():
        scaled = standardising.apply(frame).matrix(columns)
        data.append((np.column_stack([np.ones(frame.n), scaled]), frame.endpoints[ENDPOINT]))
    state = strategy.begin(np.zeros(len(columns) + 1, dtype=np.float32))
    own = [np.zeros(len(columns) + 1) for _ in data]
    for _ in range(ROUNDS):
        update, variate = np.zeros(len(columns) + 1), np.zeros(len(columns) + 1)
        for k, (design, y) in enumerate(data):
            change = _local(optimiser, state, own[k], design, y)
            update += y.size * change
            if optimiser == SCAFFOLD:
                # Option II of its algorithm 1: the mean gradient that was followed.
                kept = own[k] - state.variate - change / (LOCAL_EPOCHS * RATE)
                variate, own[k] = variate + y.size * (kept - own[k]), kept
        state = strategy.step(state, RoundTotal(update, sum(y.size for _, y in data), variate))
    weights = state.weights.astype(np.float64)
    score = Score(optimiser, ENDPOINT, columns, tuple(weights[1:].tolist()), float(weights[0]))
    return Developed(Recipe().then(standardising), score)


def _local(optimiser: str, state: State, own: FloatArray, design: FloatArray, y: FloatArray) -> FloatArray:
    """(p,) change of the weights at one hospital; `own` is its variate."""
    start = state.weights.astype(np.float64)
    weights = start
    for _ in range(LOCAL_EPOCHS):
        gradient = design.T @ (logistic_function(design @ weights) - y) / y.size
        if optimiser == FEDPROX:
            gradient = gradient + PROXIMAL * (weights - start)
        elif optimiser == SCAFFOLD:
            gradient = gradient + state.variate - own
        weights = weights - RATE * gradient
    return weights - start
