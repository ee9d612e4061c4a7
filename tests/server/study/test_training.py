"""server: one training of a network: what it converges to, when it stops, and that a killed one goes on as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.learning import LARGEST_CHANGE, LARGEST_LOSS, LARGEST_WEIGHT, WHOLE, Job
from common.federation.query import Ask
from common.federation.runner import Port, Reply, conclude
from common.study.networks import Network
from server.strategies.choice import strategy_of
from server.strategies.strategy import State
from server.study import training
from server.study.checkpoints import (
    Checkpoints,
    FolderCheckpoints,
    Measured,
    MemoryCheckpoints,
    Progress,
    finished_weights,
)
from server.study.training import TrainedJob, train_job
from tests.server.study.quadratic import FOLDS, SIZE, QuadraticSites, first_weights, network, three_sites

ROOT = Path(__file__).parents[3]
JOB = Job("toy", ("t1",), 0)
STRATEGIES = ("fedavg", "fedprox", "fedadam", "scaffold", "trimmed-mean")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "initial_weights", first_weights)


def _train(port: Port, made: Network, job: Job, rounds: int, checkpoints: Checkpoints) -> TrainedJob:
    strategy = strategy_of(made.federation)
    result: TrainedJob = conclude(port, [train_job(made, job, 2, (1.0, 1.0), strategy, rounds, checkpoints)])[0]
    return result


def test_one_local_step_a_round_is_gradient_descent_on_the_pooled_patients() -> None:
    sites, kept = QuadraticSites(three_sites()), MemoryCheckpoints()
    trained = _train(sites, network(), JOB, 25, kept)
    pooled = np.concatenate(list(sites.targets.values()))
    weights = first_weights(network(), JOB, 2).astype(np.float64)
    for _ in range(25):
        weights = weights - sites.rate * (weights - pooled.mean(axis=0))
    np.testing.assert_allclose(finished_weights(kept, JOB), weights, atol=1e-6)
    assert (trained.rounds, trained.patients, len(trained.history)) == (25, len(pooled), 25)


def test_scaffold_goes_where_the_pooled_loss_is_least_although_sites_take_many_steps() -> None:
    sites, kept = QuadraticSites(three_sites(), steps=20), MemoryCheckpoints()
    _train(sites, network(strategy="scaffold"), JOB, 60, kept)
    pooled = np.concatenate(list(sites.targets.values()))
    np.testing.assert_allclose(finished_weights(kept, JOB), pooled.mean(axis=0), atol=1e-4)
    last = {site: made["own"] for (site, _), made in sites.work.items()}
    own = np.sum([len(sites.targets[site]) * variate for site, variate in last.items()], axis=0)
    np.testing.assert_allclose(own / len(pooled), 0.0, atol=1e-3)  # at the minimum the gradients cancel


def test_training_stops_when_validation_has_not_improved_and_keeps_the_best_weights() -> None:
    sites, kept = QuadraticSites(three_sites(), rise=0.03), MemoryCheckpoints()
    job = replace(JOB, fold=2)
    trained = _train(sites, network(patience=3), job, 50, kept)
    losses = [measured.validation for measured in trained.history]
    best = int(np.argmin(np.array(losses, dtype=float)))
    assert trained.rounds == best
    assert max(sites.rounds) == best + 3
    assert best > 0
    assert trained.validation_loss == min(v for v in losses if v is not None)


def test_without_patience_the_last_weights_are_measured_too() -> None:
    sites, kept = QuadraticSites(three_sites()), MemoryCheckpoints()
    trained = _train(sites, network(patience=False), replace(JOB, fold=0), 8, kept)
    assert sites.rounds == list(range(9))
    assert len(trained.history) == 9
    assert trained.rounds == 8


def test_the_held_out_fold_changes_nothing_of_its_training() -> None:
    job, weights = replace(JOB, fold=1), []
    for shift in (0.0, 100.0):
        targets = three_sites()
        for rows in targets.values():
            rows[np.arange(len(rows)) % FOLDS == 1] += shift
        kept = MemoryCheckpoints()
        _train(QuadraticSites(targets), network(), job, 12, kept)
        weights.append(finished_weights(kept, job).tobytes())
    assert weights[0] == weights[1]


class _KilledError(Exception):
    """Stands for a process that ends."""


@dataclass
class _DoomedPort:
    """Ends before or after the sites answer the n-th round."""

    inner: QuadraticSites
    fatal: int
    before: bool
    count: int = 0

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        """See `Port`."""
        self.count += 1
        if self.count == self.fatal and self.before:
            raise _KilledError
        replies = self.inner.ask(asks)
        if self.count == self.fatal:
            raise _KilledError
        return replies


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_training_killed_at_any_round_ends_with_the_same_bytes(strategy: str, tmp_path: Path) -> None:
    made, job, rounds = network(strategy=strategy, patience=3, server_learning_rate=0.1), replace(JOB, fold=0), 9
    undisturbed = FolderCheckpoints(tmp_path / "undisturbed")
    sites = QuadraticSites(three_sites(), steps=3, rise=0.05)
    whole = _train(sites, made, job, rounds, undisturbed)
    asked = set(sites.asked)
    for fatal in range(1, len(whole.history) + 1):
        for before in (True, False):
            kept = FolderCheckpoints(tmp_path / f"{fatal}{before}")
            again = QuadraticSites(three_sites(), steps=3, rise=0.05)
            with pytest.raises(_KilledError):
                _train(_DoomedPort(again, fatal, before), made, job, rounds, kept)
            assert _train(again, made, job, rounds, kept) == whole
            assert finished_weights(kept, job).tobytes() == finished_weights(undisturbed, job).tobytes()
            assert set(again.asked) == asked  # nothing was asked that the sites had not to answer anyway


DOOMED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
folder, fatal = Path(sys.argv[1]), int(sys.argv[2])
real, count = os.fsync, 0
def fsync(handle):
    global count
    count += 1
    if count == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
from common.federation.learning import Job
from common.federation.runner import conclude
from server.strategies.choice import strategy_of
from server.study import training
from server.study.checkpoints import FolderCheckpoints
from tests.server.study.quadratic import QuadraticSites, first_weights, network, three_sites
training.initial_weights = first_weights
made = network(strategy="fedadam", server_learning_rate=0.1)
job = training.train_job(
    made, Job("toy", ("t1",), 0), 2, (1.0, 1.0), strategy_of(made.federation), 6, FolderCheckpoints(folder)
)
conclude(QuadraticSites(three_sites()), [job])
"""


@pytest.mark.parametrize("fatal", [1, 4, 7])
def test_a_process_killed_while_it_writes_a_checkpoint_goes_on_with_the_same_bytes(fatal: int, tmp_path: Path) -> None:
    made = network(strategy="fedadam", server_learning_rate=0.1)
    undisturbed = MemoryCheckpoints()
    _train(QuadraticSites(three_sites()), made, JOB, 6, undisturbed)
    command = [sys.executable, "-c", textwrap.dedent(DOOMED), str(tmp_path / "kept"), str(fatal)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    kept = FolderCheckpoints(tmp_path / "kept")
    _train(QuadraticSites(three_sites()), made, JOB, 6, kept)
    assert finished_weights(kept, JOB).tobytes() == finished_weights(undisturbed, JOB).tobytes()


def test_a_finished_training_asks_nothing(tmp_path: Path) -> None:
    kept = FolderCheckpoints(tmp_path)
    first = _train(QuadraticSites(three_sites()), network(), JOB, 4, kept)
    silent = QuadraticSites(three_sites())
    assert _train(silent, network(), JOB, 4, kept) == first
    assert silent.asked == []


def test_trainings_in_lock_step_are_those_that_each_is_alone_in_as_many_rounds() -> None:
    made, jobs = network(), [Job("toy", ("t1",), seed) for seed in range(3)]
    sites, kept, strategy = QuadraticSites(three_sites()), MemoryCheckpoints(), strategy_of(made.federation)

    @dataclass
    class Counting:
        rounds: int = 0

        def ask(self, asks: Sequence[Ask]) -> list[Reply]:
            self.rounds += 1
            return sites.ask(asks)

    port = Counting()
    conclude(port, [train_job(made, job, 2, (1.0, 1.0), strategy, 7, kept) for job in jobs])
    assert port.rounds == 7
    for job in jobs:
        alone = MemoryCheckpoints()
        _train(QuadraticSites(three_sites()), made, job, 7, alone)
        assert finished_weights(alone, job).tobytes() == finished_weights(kept, job).tobytes()


def test_a_round_without_patients_is_a_numbered_error() -> None:
    empty = {site: rows[:0] for site, rows in three_sites().items()}
    with pytest.raises(FedmviError) as caught:
        _train(QuadraticSites(empty), network(), JOB, 3, MemoryCheckpoints())
    assert caught.value.number == 681


def test_a_damaged_checkpoint_is_not_taken_for_a_new_training(tmp_path: Path) -> None:
    kept = FolderCheckpoints(tmp_path)
    kept.save(JOB, Progress(strategy_of(network().federation).begin(np.zeros(SIZE, dtype=np.float32))))
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FedmviError) as caught:
        _train(QuadraticSites(three_sites()), network(), JOB, 3, kept)
    assert caught.value.number == 510


@pytest.mark.parametrize(
    "senseless",
    [
        {"best_round": 7},
        {"round": 3},
        {"history": (Measured(1.0, None),)},
        {"history": (Measured(-1.0, None),), "round": 1},
        {"best": np.zeros(SIZE + 1, dtype=np.float32)},
        {"state": State(np.zeros(SIZE + 1, dtype=np.float32))},
        {"state": State(np.zeros(SIZE, dtype=np.float32), 0, {"variate": np.zeros(1)})},
        {"patients": -1},
    ],
)
def test_a_whole_checkpoint_whose_parts_do_not_fit_is_not_gone_on_from(
    senseless: dict[str, object], tmp_path: Path
) -> None:
    kept = FolderCheckpoints(tmp_path)
    sound = Progress(strategy_of(network().federation).begin(np.zeros(SIZE, dtype=np.float32)))
    kept.save(JOB, replace(sound, **senseless))  # type: ignore[arg-type]
    with pytest.raises(FedmviError) as caught:
        _train(QuadraticSites(three_sites()), network(), JOB, 3, kept)
    assert caught.value.number == 510


@pytest.mark.parametrize(
    "told",
    [
        lambda made: made | {"training_loss": LARGEST_LOSS * made["training_patients"]},
        lambda made: made | {"update": np.full(SIZE, -LARGEST_CHANGE)},
        lambda made: made | {"update": made["patients"] * np.full(SIZE, 2 * LARGEST_WEIGHT)},
    ],
)
def test_that_a_training_diverged_is_seen_in_the_sums(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = QuadraticSites._train
    monkeypatch.setattr(QuadraticSites, "_train", lambda *args: told(honest(*args)))
    with pytest.raises(FedmviError) as caught:
        _train(QuadraticSites(three_sites()), network(), JOB, 3, MemoryCheckpoints())
    assert caught.value.number == 680


def test_normalisation_that_stays_at_sites_names_the_round_that_belongs_to_the_weights() -> None:
    made = network(patience=2).model_copy(update={"normalisation": "fedbn"})
    sites = QuadraticSites(three_sites(), rise=0.03)
    trained = _train(sites, made, replace(JOB, fold=0), 30, MemoryCheckpoints())
    digests = list(dict.fromkeys(d for d in sites.asked if (next(iter(sites.targets)), d) in sites.work))
    assert trained.rounds > 0
    assert trained.local == digests[trained.rounds - 1]
    whole = _train(sites, made, JOB, 4, MemoryCheckpoints())
    assert whole.local == [d for d in sites.asked if ("a", d) in sites.work][-1]
    assert JOB.fold == WHOLE
