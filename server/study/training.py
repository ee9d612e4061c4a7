"""server/study: one training of a network over the sites: rounds, early stopping, a checkpoint after each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.learning import (
    EPSILON_HUNDREDTHS,
    LARGEST_CHANGE,
    LARGEST_LOSS,
    LARGEST_WEIGHT,
    Job,
    RoundLoss,
    RoundUpdate,
    TrainRound,
)
from common.federation.query import Ask, Receipt, Summary, each, perform, total
from common.federation.runner import Conclusion
from common.study.networks import Network
from server.strategies.statistics import WithStatistics
from server.strategies.strategy import RoundTotal, State, Strategy, Weights
from server.study.checkpoints import Checkpoints, Measured, Progress


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
    epsilon_hundredths
        What private training spent at the site that spent most, as the sites' accountants say; 0 without.
    """

    job: Job
    rounds: int
    history: tuple[Measured, ...]
    patients: int
    local: str
    epsilon_hundredths: int = 0

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


def _at_prevalence(network: Network, job: Job, class_weights: tuple[float, ...], weights: Weights) -> Weights:
    """(p,) weights whose probabilities are those of the patients as they are.

    A loss with class weights w_c is smallest at probabilities in proportion to w_c p_c, as if classes were as frequent
    as their weights make them; log w_c off the last layer's biases takes that back (King and Zeng, Political Analysis
    2001;9:137, section 4.1).
    """
    if len(set(class_weights)) == 1:
        return weights
    from common.networks.architecture import architecture_of
    from common.networks.weights import shift_logits

    architecture = architecture_of(network, job.combination, len(class_weights))
    return shift_logits(architecture, weights, -np.log(np.array(class_weights)))


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
        505 a receipt without what private training has spent, or with more than the protocol allows, or a sum that
        cannot be true; 510 a checkpoint of another network; 680 training diverged, 681 a round without patients; and
        those of the sites.
    """
    strategy = _of_parameters(strategy, network, job, classes)
    progress = checkpoints.load(job)
    if progress is None:
        progress = Progress(strategy.begin(initial_weights(network, job, classes)))
    elif progress.state.weights.size != initial_weights(network, job, classes).size:
        raise FedmviError(510, f"{job.words}: a checkpoint with {progress.state.weights.size} weights")
    while not progress.finished:
        progress = yield from _round(network, job, class_weights, strategy, rounds, progress)
        if progress.finished:
            weights = _at_prevalence(network, job, class_weights, progress.state.weights)
            progress = replace(progress, state=State(weights))
        checkpoints.save(job, progress)
    local = progress.keep if network.statistics_stay else ""
    return TrainedJob(job, progress.best_round, progress.history, progress.patients, local, progress.epsilon_hundredths)


def _round(
    network: Network,
    job: Job,
    class_weights: tuple[float, ...],
    strategy: Strategy,
    rounds: int,
    progress: Progress,
) -> Conclusion[Progress]:
    state, r = progress.state, progress.round
    validated, training = job.stops, r < rounds
    keep = progress.keep if network.statistics_stay else ""
    task = perform(
        TrainRound(network.cohort, job, r, state.weights, state.variate, class_weights, progress.before, training, keep)
    )
    asks: list[Ask] = [task, total(RoundLoss(network.cohort, job.summed, job, r, task.digest))]
    if training:
        size, ask = state.weights.size, each if strategy.by_site else total
        asks.append(ask(RoundUpdate(network.cohort, job.summed, job, r, task.digest, size, strategy.variates)))
    replies = yield tuple(asks)
    progress = _measured(progress, replies[1], validated=validated)
    progress = replace(progress, epsilon_hundredths=_spent(network, replies[0]))
    waited = r - progress.best_round
    patience = network.federation.patience
    if validated and (not training or (patience is not None and waited >= patience)):
        return progress.done(with_best=True)
    brought = _by_site(replies[2]) if strategy.by_site else _total(replies[2])
    stepped = _bounded(strategy.step(state, brought))
    progress = replace(progress, state=stepped, round=r + 1, before=task.digest, patients=brought.patients)
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


def _spent(network: Network, receipts: Mapping[str, Receipt]) -> int:
    """The largest of what the sites say that private training has spent; 0 where it is not private."""
    if network.privacy is None:
        return 0
    told = [receipt.get(EPSILON_HUNDREDTHS) for receipt in receipts.values()]
    ceiling = math.ceil(100 * network.privacy.epsilon)
    spent = [value for value in told if type(value) is int and 0 <= value <= ceiling]
    if len(spent) < len(told):
        raise FedmviError(505, f"{told} hundredths of epsilon of {ceiling}")
    return max(spent)


def _mean(sums: Summary, part: str) -> float:
    patients = int(sums[f"{part}_patients"])
    if patients < 1:
        raise FedmviError(681)
    mean = float(sums[f"{part}_loss"]) / patients
    if mean >= LARGEST_LOSS:
        raise FedmviError(680, f"the mean {part} loss is {mean}")
    return mean


def _bounded(state: State) -> State:
    """The state, if sites train with such weights; error 680."""
    largest = max(float(np.max(np.abs(array), initial=0.0)) for array in (state.weights, state.variate))
    if largest > LARGEST_WEIGHT:
        raise FedmviError(680, f"a weight, or a variate, of {largest}")
    return state


def _total(sums: Summary) -> RoundTotal:
    """What a round brought; error 680 for a change as large as one that a site has cut.

    Sites tell nobody that their training diverged: one that does would tell of its patients.
    """
    variate = sums.get("variate", np.empty(0))
    largest = max(float(np.max(np.abs(array), initial=0.0)) for array in (sums["update"], variate))
    if largest >= LARGEST_CHANGE:
        raise FedmviError(680, f"a weight's change, times patients, of {largest}")
    return RoundTotal(sums["update"].astype(np.float64), int(sums["patients"]), variate.astype(np.float64))


def _by_site(parts: Mapping[str, Any]) -> RoundTotal:
    sites = tuple(_total(parts[site]) for site in sorted(parts))
    return RoundTotal(np.sum([site.update for site in sites], axis=0), sum(s.patients for s in sites), parts=sites)
