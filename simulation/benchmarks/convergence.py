"""simulation: benchmarks: does our order of updates learn as well as the plain PyTorch loop, in no more time?

The plain loop takes a step for every two combinations of slices, ours one for every few patients and the mean over
their combinations: an epoch of ours has some fifty times fewer steps. So both are trained here, on the same drawn
patients and from the same first weights for each of several seeds.

The plain loop is looked at after every epoch until its loss has not been lower for `patience` epochs: its plateau. Ours
is looked at as often, at the same seconds of processor time, and so never has more time. Held-out patients are in two
halves. Each training is stopped at the look with the lowest loss of one half, and what is compared is the loss of the
other half there: the lowest of a noisy curve, which gets lower with more looks, enters nothing. Losses are measured by
one function: over all combinations, in float32, without augmentation.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.learning import engine
from client.learning.dataset import Learners
from common.networks.architecture import architecture_of
from common.networks.network import build
from common.networks.weights import to_vector
from common.study.networks import Network
from server.study.network_development import class_weights
from simulation.benchmarks.baselines.plain_training import BATCH, Combinations, PlainLoop
from simulation.benchmarks.training import CLASSES, SEQUENCES, Workload
from simulation.learning.hospitals import Drawing
from simulation.learning.learners import drawn_learners


@dataclass(frozen=True)
class Trial:
    """How both are trained; of ours, what is not here is the protocol's default.

    Attributes
    ----------
    patients
        To train on.
    held_out
        In each of the two halves of the others.
    size, width, blocks
        See `Workload`; small, so that the plain loop comes to its end.
    seeds
        Trainings of each, from other first weights and with other draws.
    epochs
        Most of the plain loop.
    patience
        Epochs of the plain loop without a lower loss before it ends.
    plain_rate, our_rate
        Learning rates, constant: of Adam in the plain loop, of the protocol's optimiser in ours.
    keep_optimiser
        Whether ours keeps its moments from epoch to epoch, as the plain loop does.
    effect
        How brightly invasion shows.
    threads
        Of a processor.
    """

    patients: int = 60
    held_out: int = 60
    size: int = 32
    width: int = 8
    blocks: int = 1
    seeds: int = 5
    epochs: int = 12
    patience: int = 3
    plain_rate: float = 3e-4
    our_rate: float = 3e-4
    keep_optimiser: bool = False
    effect: float = 1.5
    threads: int = 1

    @property
    def network(self) -> Network:
        """The protocol's network."""
        load = Workload(self.patients, self.size, self.width, self.blocks)
        return load.network(learning_rate=self.our_rate, keep_optimiser=self.keep_optimiser)


@dataclass(frozen=True)
class Course:
    """One training: what was seen before it and at each look.

    Attributes
    ----------
    stopping, reported
        Losses of the two halves of held-out patients.
    seconds
        Of processors, of training only.
    epochs
        Done by then.
    """

    stopping: tuple[float, ...]
    reported: tuple[float, ...]
    seconds: tuple[float, ...]
    epochs: tuple[int, ...]

    @property
    def stop(self) -> int:
        """The look with the lowest loss of the half that stops the training."""
        return int(np.argmin(self.stopping))

    @property
    def loss(self) -> float:
        """Of the other half, there."""
        return self.reported[self.stop]

    def report(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "stop": self.stop, "loss": self.loss}


@dataclass(frozen=True)
class _Patients:
    """To train on, and the two halves of the others."""

    training: Learners
    stopping: Learners
    reported: Learners
    weights: tuple[float, ...]


def converge(trial: Trial) -> dict[str, Any]:
    """Train both ways with every seed; see `judged`, with the settings and the loss of the best constant beside it."""
    torch.set_num_threads(trial.threads)
    patients = _drawn(trial)
    plain = [_plain(trial, seed, patients) for seed in range(trial.seeds)]
    ours = [_ours(trial, seed, patients, each.seconds) for seed, each in enumerate(plain)]
    return {
        "settings": {
            **asdict(trial),
            "plain": {"optimiser": "adam", "batch": BATCH, "precision": "fp32"},
            "ours": trial.network.training.model_dump(mode="json"),
            "normalisation": trial.network.normalisation,
            "class_weights": list(patients.weights),
        },
        "constant_loss": constant_loss(patients.training.labels, patients.reported.labels, patients.weights),
        "plateaus": [len(each.seconds) <= trial.epochs or each.stop + trial.patience < len(each.seconds)
                     for each in plain],
        **judged(plain, ours),
    }  # fmt: skip


def judged(plain: Sequence[Course], ours: Sequence[Course]) -> dict[str, Any]:
    """Compare two ways, a course for every seed.

    Returns
    -------
    Of each way its courses, and mean and standard deviation over seeds of the losses where they were stopped; and
    `reached`: whether the mean of ours is at most that of the plain loop and its standard deviation.
    """
    sides = {"plain": _side(plain), "ours": _side(ours)}
    return {**sides, "reached": sides["ours"]["mean"] <= sides["plain"]["mean"] + sides["plain"]["spread"]}


def _side(courses: Sequence[Course]) -> dict[str, Any]:
    losses = [course.loss for course in courses]
    return {
        "losses": losses,
        "mean": statistics.fmean(losses),
        "spread": statistics.stdev(losses) if len(losses) > 1 else 0.0,
        "epochs": [course.epochs[course.stop] for course in courses],
        "processor_s": [course.seconds[course.stop] for course in courses],
        "processor_s_of_all": [course.seconds[-1] for course in courses],
        "courses": [course.report() for course in courses],
    }


def constant_loss(training: NDArray[np.int64], reported: NDArray[np.int64], weights: Sequence[float]) -> float:
    """Mean loss of those who are reported by the best probabilities that are the same for everybody."""
    shares = np.bincount(training, minlength=CLASSES) * np.asarray(weights)
    return float(np.mean(np.asarray(weights)[reported] * -np.log(shares / shares.sum())[reported]))


def _drawn(trial: Trial) -> _Patients:
    sizes = (trial.patients, trial.held_out, trial.held_out)
    training, stopping, reported = (
        drawn_learners(SEQUENCES, trial.size, Drawing(seed, patients=n, effect=trial.effect, shift=0.0), site=site)
        for seed, (n, site) in enumerate(zip(sizes, ("training", "stopping", "reported"), strict=True), start=1)
    )
    weights = class_weights(trial.network, np.bincount(training.labels, minlength=CLASSES))
    return _Patients(training, stopping, reported, weights)


def _plain(trial: Trial, seed: int, patients: _Patients) -> Course:
    """The plain loop, until its loss is not lower for a while."""
    torch.manual_seed(seed)
    network = trial.network
    net = build(architecture_of(network, SEQUENCES, CLASSES), seed)
    dataset = Combinations(patients.training, network.training.augmentation)
    loop = PlainLoop(net, dataset, torch.device("cpu"), patients.weights, trial.plain_rate)
    looks = _Looks(lambda: _losses(network, patients, to_vector(net)))
    looks.look()
    while looks.epochs < trial.epochs and looks.waited < trial.patience:
        looks.train(loop.epoch)
        looks.look()
    return looks.course


def _ours(trial: Trial, seed: int, patients: _Patients, times: Sequence[float]) -> Course:
    """The engine, an epoch a round, looked at when the plain loop was."""
    network = trial.network
    state: dict[str, Any] = {
        "weights": to_vector(build(architecture_of(network, SEQUENCES, CLASSES), seed)),
        "local": {},
    }
    looks = _Looks(lambda: _losses(network, patients, state["weights"]))

    def epoch() -> None:
        trained = engine.train(
            network, patients.training, state["weights"], class_weights=patients.weights,
            seed=b"%d,%d" % (seed, looks.epochs), round=looks.epochs, variate=np.empty(0, dtype=np.float32),
            local=state["local"],
        )  # fmt: skip
        state.update(weights=state["weights"] + trained.update, local=trained.local)

    for until in times:
        while looks.spent + looks.longest <= until and until:
            looks.train(epoch)
        looks.look()
    return looks.course


class _Looks:
    """Processor time of training, without that of measuring, and what is measured.

    Parameters
    ----------
    measure
        The losses of the two halves now.
    """

    def __init__(self, measure: Callable[[], tuple[float, float]]) -> None:
        self._measure, self._seen = measure, list[tuple[float, float, float, int]]()
        self.spent, self.longest, self.epochs = 0.0, 0.0, 0

    def train(self, epoch: Callable[[], object]) -> None:
        """One epoch."""
        begun = time.process_time()
        epoch()
        seconds = time.process_time() - begun
        self.spent, self.longest, self.epochs = self.spent + seconds, max(self.longest, seconds), self.epochs + 1

    def look(self) -> None:
        """Measure."""
        self._seen.append((*self._measure(), self.spent, self.epochs))

    @property
    def waited(self) -> int:
        """Looks since the one with the lowest loss of the half that stops the training."""
        return len(self._seen) - 1 - self.course.stop

    @property
    def course(self) -> Course:
        """Until now."""
        stopping, reported, seconds, epochs = zip(*self._seen, strict=True)
        return Course(stopping, reported, seconds, epochs)


def _losses(network: Network, patients: _Patients, weights: NDArray[np.float32]) -> tuple[float, float]:
    exact = network.model_copy(update={"training": network.training.model_copy(update={"precision": "fp32"})})
    first, second = (
        engine.loss_sum(exact, learners, weights, patients.weights, {}) / learners.n
        for learners in (patients.stopping, patients.reported)
    )
    return first, second
