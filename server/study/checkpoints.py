"""server/study: checkpoints: how far each training of a network is, so that a run that was killed goes on from there.

Rounds of a training are not journaled: their answers are as large as the network. What a round leaves is kept instead,
whole or not at all, before the next one is asked; a server that was killed in between asks again, and the sites
give the bytes that they gave.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from common.errors import FedmviError
from common.federation.codec import STRICT, WeightsField, from_bytes, pack, to_bytes, unpack
from common.federation.learning import Job
from common.files import write_whole
from server.strategies.strategy import State, Weights


@dataclass(frozen=True)
class Measured:
    """Mean losses at the weights that a round began with; `validation` is None where nobody validates."""

    __pydantic_config__ = STRICT
    training: float
    validation: float | None


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes
    ----------
    state
        Of the optimiser, before the next round; of a finished training the weights that are kept, only.
    round
        The next round.
    history
        Losses before each round so far.
    best
        (p,) weights with the lowest validation loss so far; empty where there are none.
    best_round
        Rounds of training behind them.
    before
        Digest of the last round's task; "" at first.
    keep
        Digest of the round whose local state belongs to the best weights; "" for none.
    patients
        Trained on in the last round.
    epsilon_hundredths
        What private training has spent, in the receipts of the site that spent most; 0 where it is not private.
    """

    __pydantic_config__ = STRICT
    state: State
    round: int = 0
    history: tuple[Measured, ...] = ()
    best: WeightsField = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    best_round: int = 0
    before: str = ""
    keep: str = ""
    patients: int = 0
    epsilon_hundredths: int = 0
    finished: bool = False

    @property
    def sound(self) -> bool:
        """Whether the parts fit together, as those of a file that was written here do."""
        measured, size = len(self.history), self.state.weights.size
        losses = [one for each in self.history for one in (each.training, each.validation) if one is not None]
        return (
            measured in ((self.round, self.round + 1) if self.finished else (self.round,))
            and 0 <= self.best_round <= self.round
            and self.best.size in (0, size)
            and (not self.best.size or self.best_round < measured)
            and size > 0
            and all(memory.shape == (size,) for memory in self.state.memory.values())
            and all(math.isfinite(loss) and loss >= 0.0 for loss in losses)
            and min(self.patients, self.epsilon_hundredths) >= 0
        )

    def done(self, *, with_best: bool) -> Progress:
        """The training, finished with its best weights or its last ones."""
        if with_best:
            return replace(self, state=State(self.best), best=np.empty(0, dtype=np.float32), finished=True)
        last = State(self.state.weights)
        return replace(self, state=last, best_round=self.round, keep=self.before, finished=True)


class Checkpoints(Protocol):
    """Where trainings are kept."""

    def load(self, job: Job) -> Progress | None:
        """How far a training is; None before its first round."""

    def save(self, job: Job, progress: Progress) -> None:
        """Keep it; on return it survives a crash."""


@dataclass
class MemoryCheckpoints:
    """Kept as long as the process lives: for simulations and tests."""

    kept: dict[Job, Progress] = field(default_factory=dict)

    def load(self, job: Job) -> Progress | None:
        """See `Checkpoints`."""
        return self.kept.get(job)

    def save(self, job: Job, progress: Progress) -> None:
        """See `Checkpoints`."""
        self.kept[job] = progress


@dataclass(frozen=True)
class FolderCheckpoints:
    """One file a training, in a folder of the run that is the inner circle's; error 510 where one is damaged."""

    folder: Path

    def load(self, job: Job) -> Progress | None:
        """See `Checkpoints`."""
        path = self._path(job)
        if not path.exists():
            return None
        try:
            progress = unpack(from_bytes(path.read_bytes()), Progress)
        except FedmviError as error:
            raise FedmviError(510, f"{path}: {error.local}") from error
        if not progress.sound:
            raise FedmviError(510, f"{path}: its parts do not fit together")
        return progress

    def save(self, job: Job, progress: Progress) -> None:
        """See `Checkpoints`."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._path(job), to_bytes(pack(progress, Progress)))

    def _path(self, job: Job) -> Path:
        return self.folder / f"{pack(job, Job).digest[:32]}.npz"


def finished_weights(checkpoints: Checkpoints, job: Job) -> Weights:
    """(p,) the weights of a finished training; error 510 where its checkpoint is gone."""
    progress = checkpoints.load(job)
    if progress is None or not progress.finished:
        raise FedmviError(510, f"no finished training: {job.words}")
    return progress.state.weights
