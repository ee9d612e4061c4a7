"""Sites whose training has a closed form: half the squared distance of the weights to each patient's own target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.federation.learning import Job, RoundLoss, RoundUpdate, TrainRound
from common.federation.query import Ask, Mode, Receipt
from common.federation.runner import Reply
from common.study.networks import Network
from server.strategies.strategy import Weights

SIZE = 6
FOLDS = 5


def network(**federation: Any) -> Network:
    """A protocol's network; nothing of it but its numbers of rounds and folds is used here."""
    return Network.model_validate(
        {
            "name": "toy",
            "endpoint": "mvi",
            "cohort": "train",
            "combinations": (("t1",),),
            "sequences": ("t1",),
            "federation": federation,
        }
    )


def first_weights(network: Network, job: Job, classes: int) -> Weights:
    """Random weights of the job's seed."""
    return np.random.default_rng(job.seed).normal(size=SIZE).astype(np.float32)


@dataclass
class QuadraticSites:
    """A port: each site goes `steps` gradient steps; SCAFFOLD's option II; every question is counted.

    Attributes
    ----------
    targets
        (patients, SIZE) by site; the fold of a patient is his row modulo `FOLDS`.
    rise
        Added to every validation loss, by round: what makes it stop falling.
    """

    targets: Mapping[str, NDArray[np.float64]]
    rate: float = 0.1
    steps: int = 1
    rise: float = 0.0
    rounds: list[int] = field(default_factory=list)
    work: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        """See `Port`."""
        self.asked += [ask.digest for ask in asks]
        tasks = {ask.digest: ask.question for ask in asks if ask.mode is Mode.PERFORM}
        for digest, task in tasks.items():
            assert isinstance(task, TrainRound)
            self.rounds.append(task.round)
            for site in self.targets:
                self.work[site, digest] = self._train(site, task)
        return [self._reply(ask) for ask in asks]

    def _reply(self, ask: Ask) -> Reply:
        question = ask.question
        if not isinstance(question, RoundUpdate | RoundLoss):
            return {site: Receipt(site=site) for site in self.targets}
        parts = {
            site: {name: self.work[site, question.task][name] for name in question.blocks()} for site in self.targets
        }
        if ask.mode is Mode.EACH:
            return parts
        return {name: np.sum([part[name] for part in parts.values()], axis=0) for name in question.blocks()}

    def _train(self, site: str, task: TrainRound) -> dict[str, Any]:
        folds = np.arange(len(self.targets[site])) % FOLDS
        validation = (task.job.fold + 1) % FOLDS
        rest = folds >= 0 if task.job.fold < 0 else (folds != task.job.fold) & (folds != validation)
        own, other = self.targets[site][rest], self.targets[site][(folds == validation) & ~rest]
        variate = self.work.get((site, task.before), {}).get("own", np.zeros(SIZE))
        at = task.weights.astype(np.float64)
        weights = at.copy()
        correction = task.variate - variate if task.variate.size else 0.0
        for _ in range(self.steps if len(own) else 0):
            weights = weights - self.rate * ((weights - own.mean(axis=0)) + correction)
        n = len(own)
        made: dict[str, Any] = {
            "update": n * (weights - at),
            "patients": np.array(n),
            "training_loss": np.array(_loss(at, own)),
            "validation_loss": np.array(_loss(at, other) + self.rise * task.round * len(other)),
            "training_patients": np.array(n),
            "validation_patients": np.array(len(other)),
        }
        if task.variate.size:
            fresh = variate - task.variate + (at - weights) / (self.steps * self.rate)
            made |= {"variate": n * (fresh - variate), "own": fresh}
        return made


def _loss(weights: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float(0.5 * np.sum((targets - weights) ** 2))


def three_sites(seed: int = 4) -> dict[str, NDArray[np.float64]]:
    """Targets of sites that differ in size and in where their patients are."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(i, 1.0, (n, SIZE)) for i, (name, n) in enumerate((("a", 20), ("b", 35), ("c", 10)))}
