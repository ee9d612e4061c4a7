"""server/study: one training of a network over the sites: rounds, early stopping, a checkpoint after each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.learning import WHOLE, Job, RoundLoss, RoundUpdate, TrainRound
from common.federation.query import Ask, Summary, each, perform, total
from common.federation.runner import Conclusion
from common.study.networks import Network
from common.study.recipe import Recipe
from server.strategies.statistics import WithStatistics
from server.strategies.strategy import RoundTotal, Strategy, Weights
from server.study.checkpoints import Checkpoints, Measured, Progress

SITE_LOCAL = ("fedbn", "silobn")
"""Normalisations of which a part never leaves a site, so that weights alone are no network there."""


@dataclass(frozen=True)
class TrainedJob:
    """A finished training; its weights are in the checkpoints.

    Attributes
    ----------
    rounds
        Rounds of training behind the weights that are kept: those with the lowest validation loss, or all.
    history
        Mean losses before each round, and last those before the one after which training stopped.
    patients
        Trained on, over all sites.
    local
        Digest of the round whose site-local normalisation belongs to the weights; "" where there is none.
    """

    job: Job
    rounds: int
    history: tuple[Measured, ...]
    patients: int
    local: str

    @property
    def validation_loss(self) -> float:
        """Mean validation loss at the weights that are kept; NaN where nobody validates."""
        value = self.history[self.rounds].validation if self.rounds < len(self.history) else None
        return math.nan if value is None else value


def initial_weights(network: Network, job: Job, classes: int) -> Weights:
    """(p,) random weights by the job's seed: those of a seed are the same for every fold."""
    from common.networks.architecture import architecture_of
    from common.networks.network import build
    from common.networks.weights import to_vector

    weights: Weights = to_vector(build(architecture_of(network, job.combination, classes), job.seed))
    return weights


def _of_parameters(strategy: Strategy, network: Network, job: Job, classes: int) -> Strategy:
    """The strategy for the parameters alone, where the weights that travel hold running statistics too."""
    if network.normalisation != "batch":
        return strategy
    from common.networks.architecture import architecture_of
    from common.networks.network import build
    from common.networks.weights import parameter_mask

    net = build(architecture_of(network, job.combination, classes), job.seed)
    return WithStatistics(strategy, parameter_mask(net))


def train_job(
    network: Network,
    job: Job,
    classes: int,
    class_weights: tuple[float, ...],
    strategy: Strategy,
    rounds: int,
    checkpoints: Checkpoints,
) -> Conclusion[TrainedJob]:
    """Train over the roster of the network's cohort; at most `rounds` rounds of training, and one that measures.

    With a held-out fold the validation loss decides: training stops when it has not fallen for `patience` rounds,
    and the weights with the lowest one are kept (the loss of a round's weights comes with the next round). Without
    one all rounds are trained and the last weights are kept. After every round the checkpoint is replaced; a
    training that is taken up again goes on from it, and asks what it would have asked.

    Parameters
    ----------
    classes, class_weights
        Classes of the endpoint, and the weight of each in the loss.

    Raises
    ------
    FedmviError
        680 training diverged, 681 a round without patients; and those of the sites.
    """
    strategy = _of_parameters(strategy, network, job, classes)
    progress = checkpoints.load(job)
    if progress is None:
        progress = Progress(strategy.begin(initial_weights(network, job, classes)))
    while not progress.finished:
        progress = yield from _round(network, job, class_weights, strategy, rounds, progress)
        checkpoints.save(job, progress)
    local = progress.keep if network.normalisation in SITE_LOCAL else ""
    return TrainedJob(job, progress.best_round, progress.history, progress.patients, local)


def _round(
    network: Network,
    job: Job,
    class_weights: tuple[float, ...],
    strategy: Strategy,
    rounds: int,
    progress: Progress,
) -> Conclusion[Progress]:
    state, r = progress.state, progress.round
    validated, training = job.fold != WHOLE, r < rounds
    keep = progress.keep if network.normalisation in SITE_LOCAL else ""
    task = perform(
        TrainRound(network.cohort, job, r, state.weights, state.variate, class_weights, progress.before, training, keep)
    )
    asks: list[Ask] = [task, total(RoundLoss(network.cohort, Recipe(), job, r, task.digest))]
    if training:
        size, ask = state.weights.size, each if strategy.by_site else total
        asks.append(ask(RoundUpdate(network.cohort, Recipe(), job, r, task.digest, size, strategy.variates)))
    replies = yield tuple(asks)
    progress = _measured(progress, replies[1], validated=validated)
    waited = r - progress.best_round
    patience = network.federation.patience
    if validated and (not training or (patience is not None and waited >= patience)):
        return progress.done(with_best=True)
    brought = _by_site(replies[2]) if strategy.by_site else _total(replies[2])
    progress = replace(
        progress, state=strategy.step(state, brought), round=r + 1, before=task.digest, patients=brought.patients
    )
    return progress if validated or r + 1 < rounds else progress.done(with_best=False)


def _measured(progress: Progress, sums: Summary, *, validated: bool) -> Progress:
    """The losses of the weights that the round began with, which may be the best so far."""
    training = _mean(sums, "training")
    validation = _mean(sums, "validation") if validated else None
    progress = replace(progress, history=(*progress.history, Measured(training, validation)))
    if validation is None:
        return progress
    lowest = progress.history[progress.best_round].validation if progress.best.size else None
    if lowest is not None and validation >= lowest:
        return progress
    return replace(progress, best=progress.state.weights, best_round=progress.round, keep=progress.before)


def _mean(sums: Summary, part: str) -> float:
    patients = int(sums[f"{part}_patients"])
    if patients < 1:
        raise FedmviError(681)
    return float(sums[f"{part}_loss"]) / patients


def _total(sums: Summary) -> RoundTotal:
    variate = sums.get("variate", np.empty(0))
    return RoundTotal(sums["update"].astype(np.float64), int(sums["patients"]), variate.astype(np.float64))


def _by_site(parts: Mapping[str, Any]) -> RoundTotal:
    sites = tuple(_total(parts[site]) for site in sorted(parts))
    return RoundTotal(np.sum([site.update for site in sites], axis=0), sum(s.patients for s in sites), parts=sites)
