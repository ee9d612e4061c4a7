"""server/strategies: the optimiser that a protocol names."""

from __future__ import annotations

from common.study.networks import FederatedTraining
from server.strategies.fedadam import FedAdam
from server.strategies.fedavg import FedAvg
from server.strategies.scaffold import Scaffold
from server.strategies.strategy import Strategy
from server.strategies.trimmed_mean import TrimmedMean


def strategy_of(federation: FederatedTraining) -> Strategy:
    """The server's half of a protocol's strategy."""
    rate = federation.server_learning_rate
    if federation.strategy == "fedadam":
        return FedAdam(rate, federation.beta1, federation.beta2, federation.tau)
    if federation.strategy == "scaffold":
        return Scaffold(rate)
    if federation.strategy == "trimmed-mean":
        return TrimmedMean(federation.trim, rate)
    return FedAvg(rate)
