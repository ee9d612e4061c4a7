"""simulation: benchmarks: does our order of updates reach the loss that the plain PyTorch loop reaches?

The plain loop takes a step for every two combinations of slices, ours one for every few patients and the mean over
their combinations: an epoch of ours has some fifty times fewer steps. So both are trained here, on the same drawn
patients and from the same first weights for each of several seeds, until a number of epochs that gives ours no more
time than the plain loop's. What is compared is the lowest validation loss, measured by one function: over all
combinations, in float32, without augmentation.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from client.learning import engine
from client.learning.dataset import Learners
from common.networks.architecture import architecture_of
from common.networks.network import build
from common.networks.weights import to_vector
from common.study.networks import Network
from simulation.benchmarks.baselines.plain_training import Combinations, PlainLoop
from simulation.benchmarks.training import CLASSES, SEQUENCES, Workload
from simulation.learning.hospitals import Drawing
from simulation.learning.learners import drawn_learners

EQUAL = (1.0,) * CLASSES
"""Weights of the classes."""


@dataclass(frozen=True)
class Trial:
    """How both are trained.

    Attributes
    ----------
    patients
        To train on, and as many to validate.
    size, width, blocks
        See `Workload`; small, so that the plain loop comes to its end.
    seeds
        Trainings of each, from other first weights and with other draws.
    epochs
        Of the plain loop.
    our_epochs
        Most epochs of ours.
    plain_rate, our_rate
        Learning rates of Adam. A step of ours averages over more samples and bears a larger one.
    effect
        How brightly invasion shows.
    """

    patients: int = 30
    size: int = 32
    width: int = 8
    blocks: int = 1
    seeds: int = 3
    epochs: int = 6
    our_epochs: int = 60
    plain_rate: float = 1e-3
    our_rate: float = 3e-3
    effect: float = 0.25
    threads: int = 2

    @property
    def network(self) -> Network:
        """The protocol's network."""
        load = Workload(self.patients, self.size, self.width, self.blocks)
        return load.network(optimiser="adam", learning_rate=self.our_rate, keep_optimiser=True)


@dataclass(frozen=True)
class Course:
    """One training: validation losses before it and after each epoch, and seconds of training until then."""

    losses: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def lowest(self) -> float:
        """The lowest loss."""
        return min(self.losses)

    def reached(self, loss: float) -> tuple[int, float] | None:
        """Epochs and seconds after which the loss was as low as this; None where it never was."""
        for epoch, (found, seconds) in enumerate(zip(self.losses, self.seconds, strict=True)):
            if found <= loss:
                return epoch, seconds
        return None

    def within(self, seconds: float) -> Course:
        """What was reached in this time."""
        kept = sum(at <= seconds for at in self.seconds)
        return Course(self.losses[:kept], self.seconds[:kept])


def converge(trial: Trial) -> dict[str, Any]:
    """Train both ways with every seed.

    Returns
    -------
    Lowest validation losses by seed, their mean and spread (standard deviation over seeds), after how many epochs and
    seconds ours was as low as the plain loop's mean, and `reached`: whether the mean of ours, in no more time than the
    plain loop had, is at most that of the plain loop and its spread.
    """
    torch.set_num_threads(trial.threads)
    training, validation = (
        drawn_learners(SEQUENCES, trial.size, Drawing(seed, patients=trial.patients, effect=trial.effect, shift=0.0),
                       site=site)
        for seed, site in ((1, "training"), (2, "validation"))
    )  # fmt: skip
    plain = [_plain(trial, seed, training, validation) for seed in range(trial.seeds)]
    ours = [_ours(trial, seed, training, validation) for seed in range(trial.seeds)]
    ours = [mine.within(theirs.seconds[-1]) for mine, theirs in zip(ours, plain, strict=True)]
    mean, spread = statistics.fmean(c.lowest for c in plain), _spread([c.lowest for c in plain])
    return {
        "training_patients": training.n,
        "validation_patients": validation.n,
        "size": trial.size,
        "seeds": trial.seeds,
        "constant_loss": float(np.mean([c.losses[0] for c in plain])),
        "plain": _report(plain, mean),
        "ours": _report(ours, mean),
        "spread": spread,
        "reached": statistics.fmean(c.lowest for c in ours) <= mean + spread,
    }


def _report(courses: list[Course], target: float) -> dict[str, Any]:
    lowest = [course.lowest for course in courses]
    return {
        "lowest": lowest,
        "mean": statistics.fmean(lowest),
        "spread": _spread(lowest),
        "epochs": [len(course.losses) - 1 for course in courses],
        "seconds": [course.seconds[-1] for course in courses],
        "reached_plain_mean_after": [course.reached(target) for course in courses],
    }


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _plain(trial: Trial, seed: int, training: Learners, validation: Learners) -> Course:
    """The plain loop."""
    torch.manual_seed(seed)
    network = trial.network
    net = build(architecture_of(network, SEQUENCES, CLASSES), seed)
    dataset = Combinations(training, network.training.augmentation)
    loop = PlainLoop(net, dataset, torch.device("cpu"), EQUAL, trial.plain_rate)
    return _course((loop.epoch() for _ in range(trial.epochs)), lambda: _loss(network, validation, to_vector(net)))


def _ours(trial: Trial, seed: int, training: Learners, validation: Learners) -> Course:
    """The engine, an epoch a round, with the optimiser's moments kept."""
    network = trial.network
    state: dict[str, Any] = {
        "weights": to_vector(build(architecture_of(network, SEQUENCES, CLASSES), seed)),
        "local": {},
    }

    def epochs() -> Iterator[None]:
        for number in range(trial.our_epochs):
            trained = engine.train(
                network, training, state["weights"], class_weights=EQUAL, seed=b"%d,%d" % (seed, number),
                round=number, variate=np.empty(0, dtype=np.float32), local=state["local"],
            )  # fmt: skip
            state.update(weights=state["weights"] + trained.update, local=trained.local)
            yield

    return _course(epochs(), lambda: _loss(network, validation, state["weights"]))


def _course(epochs: Iterator[Any], measure: Any) -> Course:
    """Losses and seconds; measuring is not counted."""
    losses, seconds = [measure()], [0.0]
    begun = time.perf_counter()
    for _ in epochs:
        seconds.append(seconds[-1] + time.perf_counter() - begun)
        losses.append(measure())
        begun = time.perf_counter()
    return Course(tuple(losses), tuple(seconds))


def _loss(network: Network, learners: Learners, weights: Any) -> float:
    exact = network.model_copy(update={"training": network.training.model_copy(update={"precision": "fp32"})})
    return engine.loss_sum(exact, learners, weights, EQUAL, {}) / learners.n
