"""client/learning: where a site does the tasks of networks and keeps what they make.

One message is answered with one workbench: patients' stacks are read once for all its trainings. What needs deep
learning is in `performing`, imported only when there is something to train or to score.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from client.learning.work import Works
from common.errors import FedmviError
from common.federation.learning import (
    EPSILON_HUNDREDTHS,
    WHOLE,
    ExplainPatients,
    Job,
    Member,
    Part,
    RoundLoss,
    RoundUpdate,
    ScorePatients,
    TrainRound,
)
from common.federation.query import Query, Receipt, Task, perform
from common.federation.totals import zeros
from common.networks.adapting import ADAPTED, TOLD, UNADAPTED, AdaptNetwork
from common.networks.projection import projected, projected_columns
from common.study.fingerprint import canonical_json
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import SCORE_DECIMALS
from common.study.table import FloatArray

if TYPE_CHECKING:
    from client.learning.dataset import Learners

PUBLISHED_FOLDS = 10
"""The published 9:1 split is the first of ten folds."""

STOPPING = 0
"""The fold that decides when the training without a hospital stops."""

Read = Callable[[str, Network, tuple[str, ...]], "Learners"]
"""The patients of a cohort for a combination of sequences of a network."""

Inspect = Callable[[Task, NDArray[np.int64], NDArray[np.int64]], None]
"""Refuses a training, or a scoring, by the labels and outer folds of all patients who would take part."""


def network_of(study: Study, name: str) -> Network:
    """The network of that name; error 414 for any other."""
    for network in study.networks:
        if network.name == name:
            return network
    raise FedmviError(414, f"network {name}", part="a network")


def dealt_folds(network: Network) -> int:
    """Into how many outer folds the training patients are dealt."""
    return PUBLISHED_FOLDS if network.development == "published" else network.folds


def roles(network: Network, part: Part, folds: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n,) whom a job trains on, and who decides when it stops; the held-out fold is neither.

    With `development = "published"` the fold that is held out also stops the training, as published. Where a hospital
    is left out, the first fold of the others' patients does.
    """
    fold = part.fold
    if part.without:
        return folds != STOPPING, folds == STOPPING
    if fold == WHOLE:
        return np.ones(folds.size, dtype=bool), np.zeros(folds.size, dtype=bool)
    if network.development == "published":
        return folds != fold, folds == fold
    validation = folds == (fold + 1) % network.folds
    return (folds != fold) & ~validation, validation


def shared_size(study: Study, network: Network, combination: tuple[str, ...]) -> int:
    """How many weights a network on a combination of sequences shares."""
    from client.learning import performing

    return performing.size(network, combination, len(study.endpoint(network.endpoint).codes))


def round_key(cohort: str, job: Job, number: int) -> str:
    """Names a round of a job, of which a run has one."""
    parts = [job.network, list(job.combination), job.seed, *job.part]
    return canonical_json(["round", cohort, *parts, number])


def score_key(cohort: str, model: str) -> str:
    """Names what a model made of a cohort."""
    return canonical_json(["scores", cohort, model])


def _facts(task: TrainRound, patients: Sequence[str]) -> dict[str, Any]:
    """What is known of a round that was done, on these patients."""
    job = task.job
    return {
        "task": task.name, "cohort": task.cohort, "network": job.network, "combination": list(job.combination),
        "seed": job.seed, "fold": job.fold, "without": job.without, "round": task.round, "train": task.train,
        "size": task.weights.size, "patients": list(patients),
    }  # fmt: skip


class Workbench:
    """Does tasks, once each, and offers what they made.

    Parameters
    ----------
    study
        The protocol.
    works
        What tasks of the run made.
    learners
        Reads patients. Their folds are dealt in `dealt_folds`, and labels are -1 outside the training cohort.
    secret
        The site's own, from which all that is random in training is drawn: it tells patients apart, and no run.
    inspect
        Called before a training and a scoring; by default nothing is refused.
    site
        Its name, by which it knows that a training leaves it out.
    alone
        Whether a receipt may say what was found of this site alone.
    """

    def __init__(
        self,
        study: Study,
        works: Works,
        learners: Read,
        secret: bytes,
        inspect: Inspect = lambda *_: None,
        *,
        site: str,
        alone: bool = False,
    ) -> None:
        self.works, self._site, self._alone = works, site, alone
        self._study, self._read, self._secret, self._inspect = study, learners, secret, inspect
        self._known: dict[tuple[str, str, tuple[str, ...]], Learners] = {}

    def perform(self, task: Task) -> Receipt:
        """Do a task unless it is done, keep what it makes, and tell its digest.

        The receipt also says what private training has spent, and, if the site tells of itself alone, whether a network
        was adapted.

        Raises
        ------
        FedmviError
            403, 405 too few patients, 414 a network that the study does not have, 511 an earlier task's work is gone,
            390-399 from training and for want of room.
        """
        digest = perform(task).digest
        if not self.works.done(digest):
            if isinstance(task, TrainRound):
                self._train(task, digest)
            elif isinstance(task, ScorePatients):
                self._score(task, digest)
            elif isinstance(task, ExplainPatients):
                self._explain(task, digest)
            elif isinstance(task, AdaptNetwork):
                self._adapt(task, digest)
            else:
                raise FedmviError(501, f"task {task.name}")
        # Again after a crash between the work and this: both may be done twice.
        if isinstance(task, TrainRound):
            self._strip(task)
        elif isinstance(task, ScorePatients | AdaptNetwork):
            self.works.claim(score_key(task.cohort, task.model), digest)
        facts = self.works.facts(digest)
        spent = {EPSILON_HUNDREDTHS: int(facts[EPSILON_HUNDREDTHS])} if EPSILON_HUNDREDTHS in facts else {}
        verdict = {TOLD: str(facts[TOLD])} if self._alone and TOLD in facts else {}
        return {"work": digest, **spent, **verdict}

    def work(self, task: str) -> Mapping[str, NDArray[Any]]:
        """What a task made for queries; error 511 if there is none, or no longer."""
        return self.works.arrays(task)

    def columns(self, cohort: str, model: str, patients: Sequence[str]) -> dict[str, FloatArray]:
        """(n,) the scores that a model gave these patients of a cohort, NaN where none; error 511 if it never did."""
        task = self.works.claimed(score_key(cohort, model))
        scored = {patient: i for i, patient in enumerate(self.works.facts(task)["patients"])}
        rows = np.array([scored.get(patient, -1) for patient in patients], dtype=np.int64)
        return {
            name: np.where(rows >= 0, np.append(values, np.nan)[rows], np.nan)
            for name, values in self.works.arrays(task).items()
        }

    def _learners(self, cohort: str, network: Network, combination: tuple[str, ...]) -> Learners:
        key = (cohort, network.name, combination)
        if key not in self._known:
            self._known[key] = self._read(cohort, network, combination)
        return self._known[key]

    def _train(self, task: TrainRound, digest: str) -> None:
        from client.learning import performing

        network, job = network_of(self._study, task.job.network), task.job
        if job.without == self._site:
            self._stand_aside(network, task, digest)
            return
        everybody = self._learners(task.cohort, network, job.combination)
        known = everybody.keep(everybody.labels >= 0)
        training, validation = (known.keep(rows) for rows in roles(network, job.part, known.folds))
        self._inspect(task, known.labels, known.folds)
        local = self.works.local(task.before) if task.before else {}
        named = ["train", network.name, list(job.combination), job.seed, job.fold, task.round]
        named += [job.without] if job.without else []
        seed = hmac.digest(self._secret, canonical_json(named).encode(), hashlib.sha256)
        made, left = performing.round_of(network, task, training, validation, local, seed)
        facts = _facts(task, known.ids)
        if network.privacy is not None:
            facts[EPSILON_HUNDREDTHS] = performing.epsilon_hundredths(network, training.labels.size, left)
        self.works.keep(digest, facts, made, left)
        self.works.claim(round_key(task.cohort, job, task.round), digest)

    def _stand_aside(self, network: Network, task: TrainRound, digest: str) -> None:
        """A round of a training that leaves this hospital out: no image is read, and what it adds is zero."""
        job, size = task.job, task.weights.size
        asked: list[Query] = [RoundLoss(task.cohort, job.summed, job, task.round, digest)]
        if task.train:
            variates = bool(task.variate.size)
            asked.append(RoundUpdate(task.cohort, job.summed, job, task.round, digest, size, variates))
        made = {name: array for query in asked for name, array in zeros(query).items()}
        facts = _facts(task, ())
        if network.privacy is not None:
            facts[EPSILON_HUNDREDTHS] = 0
        self.works.keep(digest, facts, made, {})
        self.works.claim(round_key(task.cohort, job, task.round), digest)

    def _strip(self, task: TrainRound) -> None:
        """Of a job the last two rounds are kept, and what belongs to its best weights so far."""
        for number in range(task.round - 1):
            earlier = self.works.claimed(round_key(task.cohort, task.job, number))
            self.works.strip(earlier, but_local=earlier == task.keep)

    def _score(self, task: ScorePatients, digest: str) -> None:
        from client.learning import performing

        network = network_of(self._study, task.network)
        everybody = self._learners(task.cohort, network, task.combination)
        self._inspect(task, everybody.labels, everybody.folds)
        columns = {
            name: np.full(everybody.labels.size, np.nan) for name in ("mean", "first", "mean.grade", "first.grade")
        }
        mixed = everybody.folds.astype(np.float64)
        for place, member in enumerate(task.members):
            rows = everybody.folds == member.fold if member.fold != WHOLE else np.ones(everybody.labels.size, bool)
            if member.without:
                rows = rows & (member.without == self._site)
                mixed[rows] = place
            if not rows.any():
                continue
            state = performing.state_for(network, everybody, member.weights, self._local(member))
            scored = performing.scores_of(network, everybody.keep(rows), member.weights, state)
            for name, given in scored.items():
                # Rounded for the reason that `Score` is: digits must not carry more than a decision needs.
                columns[name][rows] = np.round(np.clip(given[:, 1:].sum(axis=1), 0.0, 1.0), SCORE_DECIMALS)
                columns[f"{name}.grade"][rows] = given.argmax(axis=1)
        columns["fold"] = mixed  # for `Made.by_fold`; no question reads it
        if task.project:
            columns |= self._projected(network, task, everybody)
        facts = {"task": task.name, "cohort": task.cohort, "patients": [str(patient) for patient in everybody.ids]}
        self.works.keep(digest, facts, columns)

    def _adapt(self, task: AdaptNetwork, digest: str) -> None:
        """Statistics and scores are kept as one, so that no score can be of other statistics than are kept."""
        from client.learning import performing

        network = network_of(self._study, task.network)
        everybody = self._learners(task.cohort, network, task.combination)
        named = ["adapt", network.name, list(task.combination), task.seed]
        seed = hmac.digest(self._secret, canonical_json(named).encode(), hashlib.sha256)
        found = performing.adapted(network, everybody, task, seed)
        facts = {
            "task": task.name, "cohort": task.cohort, TOLD: found.verdict.value,
            "patients": [str(patient) for patient in everybody.ids],
        }  # fmt: skip
        self.works.keep(digest, facts, {ADAPTED: found.after, UNADAPTED: found.before}, found.statistics)

    def _projected(self, network: Network, task: ScorePatients, patients: Learners) -> dict[str, FloatArray]:
        """The projections of the patients' vectors by the one network that scores everybody; see `Admission`."""
        from client.learning import performing

        member, projection = task.members[0], network.projection
        if projection is None:
            raise FedmviError(414, "no projection", part="a projection")
        state = performing.state_for(network, patients, member.weights, self._local(member))
        vectors = performing.vectors_of(network, patients, member.weights, state)
        columns: dict[str, FloatArray] = {}
        for at, sequence in enumerate(task.combination):
            numbers = projected(vectors[:, at], task.model, sequence, projection.dimensions)
            numbers[~patients.present[:, at]] = np.nan
            columns |= dict(zip(projected_columns(sequence, projection.dimensions), numbers.T, strict=True))
        return columns

    def _local(self, member: Member) -> dict[str, NDArray[Any]] | None:
        """The site's own state that goes with a member's weights; None where this site took no part in training."""
        known = member.local and self.works.done(member.local) and member.without != self._site
        return self.works.local(member.local) if known else None

    def _explain(self, task: ExplainPatients, digest: str) -> None:
        from client.learning import performing

        network = network_of(self._study, task.network)
        everybody, weights = self._learners(task.cohort, network, task.combination), task.member.weights
        state = performing.state_for(network, everybody, weights, self._local(task.member))
        fold = task.member.fold
        patients = everybody if fold == WHOLE else everybody.keep(everybody.folds == fold)
        title = f"{network.title}, cohort {task.cohort}"

        def draw(folder: Path) -> None:
            performing.explain(network, patients, weights, state, folder, title, simulated=self._study.study.simulated)

        self.works.keep(digest, {"task": task.name, "cohort": task.cohort}, {}, add=draw)
