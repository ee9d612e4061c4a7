"""client/learning: which tasks and model questions a site takes, decided before anything is trained or read.

A training is what the approved study declares, on the patients it says, with weights of the right number and of a
size that networks have, one round after the other; a round of it has one set of weights. What made the weights a site
cannot know: the coordinator may send any numbers, and what a site's update tells of its patients then is bounded by
the sum over the roster and by `max_update_bytes` and `max_rounds` alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from client.cohort.site import Policy
from client.learning.work import Works
from client.learning.workbench import STOPPING, network_of, roles, round_key, shared_size
from client.release.centre_scope import consenting, summed_over
from client.release.gate import Gate
from common.errors import FedmviError
from common.federation.learning import (
    LARGEST_WEIGHT,
    WHOLE,
    ExplainPatients,
    Job,
    Member,
    Part,
    RoundLoss,
    RoundUpdate,
    ScorePatients,
    TrainRound,
    left_out_parts,
)
from common.federation.query import Ask, Mode, Risk, Task
from common.networks.adapting import AdaptNetwork
from common.study.fingerprint import canonical_json
from common.study.networks import Network
from common.study.protocol import Limits, Study
from common.study.scores import scored_cohorts

CLASS_WEIGHTS = (0.01, 100.0)
"""Smallest and largest weight of a class: a weight of nearly nothing would ask about the other classes alone."""


@dataclass(frozen=True)
class Admission:
    """The rules for networks in one message of a run at one site.

    Attributes
    ----------
    site
        Its name.
    works
        The run's.
    frozen
        Digests of what may be looked at in closed cohorts; empty until the freeze.
    signed
        The other sites whose own sums may be told; None where nothing is masked (`consenting`).
    trained
        The trainings of which the message has had a round.
    """

    site: str
    gate: Gate
    works: Works
    frozen: frozenset[str] = frozenset()
    signed: Collection[str] | None = None
    trained: set[Job] = field(default_factory=set)

    @property
    def study(self) -> Study:
        """The approved one."""
        return self.gate.study

    @property
    def policy(self) -> Policy:
        """The site's."""
        return self.gate.policy

    @property
    def limits(self) -> Limits:
        """The stricter of study and policy."""
        return self.gate.limits

    def task(self, ask: Ask, roster: tuple[str, ...]) -> None:
        """Refuse a task, or remember it as the one that its round, or its cohort, may have.

        Raises
        ------
        FedmviError
            402 the site's policy, 406 too few sites to sum over, 407 a model that is not frozen, 408 and 423 updates of
            this site alone, 414 something that is not in the study or a second one, 424 too many rounds, 432 a site
            must not be left out, 511 the work of an earlier round is gone.
        """
        task = ask.question
        if not isinstance(task, TrainRound | ScorePatients | ExplainPatients | AdaptNetwork):
            raise FedmviError(501, f"task {ask.question.name}")
        if task.name in self.policy.refused_queries or Risk.MODEL.value not in self.policy.risks:
            raise FedmviError(402, query=task.name)
        if isinstance(task, TrainRound):
            self._round(ask, task, roster)
        elif isinstance(task, ScorePatients):
            self._scores(task, roster)
        elif isinstance(task, AdaptNetwork):
            self._adapts(task)
        else:
            self._pictures(task, ask.digest, roster)

    def query(self, ask: Ask, roster: tuple[str, ...]) -> None:
        """Refuse a model question unless it asks for what a round of this run made here.

        Raises
        ------
        FedmviError
            402, 406, 408, 414, 423 as for tasks, 511 there is no such work.
        """
        query = ask.question
        if not isinstance(query, RoundUpdate | RoundLoss):
            raise FedmviError(501, f"query {ask.question.name}")
        network = self._network(query.job.network, query.job.combination, query.job.seed)
        self._counts(query.round, train=isinstance(query, RoundUpdate))
        if ask.mode is Mode.EACH:
            _need(isinstance(query, RoundUpdate) and network.federation.strategy == "trimmed-mean", "a single update")
            self._single_updates()
        elif len(summed_over(query, roster)) < self.limits.min_sites:
            raise FedmviError(406, limit=self.limits.min_sites)
        _need(query.recipe == query.job.summed, "a step")
        facts = self.works.facts(query.task)
        _need(facts.get("task") == TrainRound.name and facts["cohort"] == query.cohort, "another task's work")
        _need(_job(facts) == query.job and facts["round"] == query.round, "another round's work")
        if isinstance(query, RoundUpdate):
            scaffold = network.federation.strategy == "scaffold"
            _need(facts["train"] and facts["size"] == query.size and query.variates == scaffold, "another round's work")

    def inspect(self, task: Task, labels: NDArray[np.int64], folds: NDArray[np.int64]) -> None:
        """Refuse a training on too few patients, or a scoring of them by fold: see `Inspect`."""
        if isinstance(task, TrainRound):
            self._trainable(task, labels, folds)
        elif isinstance(task, ScorePatients):
            network = network_of(self.study, task.network)
            if task.cohort == network.cohort and not network.by_centre:
                self._folds_hold(network, task.cohort, folds)

    def _bare(self, network: Network) -> bool:
        """Whether what this site adds is told: no mask hides it, or sums without this site do not."""
        return self.policy.masks == "off" or network.by_centre

    def _folds_hold(self, network: Network, cohort: str, folds: NDArray[np.int64]) -> None:
        """Error 403 where a fold here is less than a cell, and no mask covers what differs by a fold."""
        asked = (STOPPING,) if network.by_centre else network.held_out
        smallest = min(int(np.count_nonzero(folds == fold)) for fold in asked)
        if self._bare(network) and smallest < self.limits.min_cell:
            raise FedmviError(403, cohort=cohort, limit=self.limits.min_patients)

    def _trainable(self, task: TrainRound, known: NDArray[np.int64], folds: NDArray[np.int64]) -> None:
        """Refuse a training by the labels and outer folds of all patients with images and label.

        A site may lack a grade, as long as it has two to train on. Without masks, and where hospitals are left out,
        what leaves is of this site's part alone: each grade in the part that is trained on must reach `min_class`, and
        every fold must be enough for a cell, because losses of those who validate, and of all, are told too. Under
        masks the part of a sum is the whole roster's, as for the folds of other queries (see `Gate.inspect`): each
        grade must reach `min_class` among all patients whom the folds are dealt from, and in the part only so much of
        it that the parts of `min_sites` such sites reach it together.

        Raises
        ------
        FedmviError
            403, 405.
        """
        network = network_of(self.study, task.job.network)
        training = known[roles(network, task.job.part, folds)[0]]
        if known.size < self.limits.min_patients or training.size < self.limits.min_cell:
            raise FedmviError(403, cohort=task.cohort, limit=self.limits.min_patients)
        self._folds_hold(network, task.cohort, folds)
        least = self.limits.min_class
        share = least if self._bare(network) else -(-least // self.limits.min_sites)
        grades = np.unique(training)
        if grades.size < 2 or _rarest(training) < share or _rarest(known) < least:
            raise FedmviError(405, endpoint=network.endpoint, cohort=task.cohort, limit=self.limits.min_class)

    def _network(self, name: str, combination: tuple[str, ...], seed: int) -> Network:
        network = network_of(self.study, name)
        _need(combination in network.combinations, "a combination of sequences")
        _need(0 <= seed < network.seeds, "a seed")
        return network

    def _round(self, ask: Ask, task: TrainRound, roster: tuple[str, ...]) -> None:
        job, network = task.job, self._network(task.job.network, task.job.combination, task.job.seed)
        whole = () if network.development == "published" else (Part(),)
        _need(task.cohort == network.cohort, "a cohort")
        _need(job.part in (*whole, *left_out_parts(network, roster)), "a fold")
        # After the last round of training, and then only, the losses of its weights are measured.
        most = network.federation.rounds
        _need(0 <= task.round < most if task.train else task.round == most, "a round")
        self._counts(task.round, train=task.train)
        # Honest trainings advance together: nobody needs two rounds of one, or more trainings than share a round.
        _need(job not in self.trained and len(self.trained) < network.federation.lock_step, "a training")
        self.trained.add(job)
        if len(roster) - bool(job.without) < self.limits.min_sites:
            raise FedmviError(406, limit=self.limits.min_sites)
        self._left_out(network, roster)
        if network.federation.strategy == "trimmed-mean":
            self._single_updates()
        self._weights(network, task)
        _need(bool(task.before) == (task.round > 0), "an earlier round")
        for earlier in (task.before, task.keep):
            if earlier:
                facts = self.works.facts(earlier)
                sound = facts.get("task") == TrainRound.name and _job(facts) == job and facts["cohort"] == task.cohort
                latest = task.round - 1
                sound = sound and facts["train"]
                _need(
                    sound and (facts["round"] == latest if earlier == task.before else facts["round"] <= latest),
                    "an earlier round",
                )
        claimed = self.works.claim(round_key(task.cohort, job, task.round), ask.digest)
        _need(claimed == ask.digest, "a second set of weights for a round")

    def _left_out(self, network: Network, roster: tuple[str, ...]) -> None:
        """Error 432 unless all sites have signed that they may be left out, where a network leaves out each of them.

        One of them is refused before anybody trains for days, and by this site also where it is scored: a server that
        sends weights of nothing for all other hospitals would have the area of one alone from a sum.
        """
        if not network.by_centre:
            return
        consent = consenting(self.site, self.policy, self.signed, roster)
        for site in (site for site in roster if site not in consent):
            raise FedmviError(432, site=site, cohort=network.cohort)

    def _weights(self, network: Network, task: TrainRound) -> None:
        size = shared_size(self.study, network, task.job.combination)
        variates = size if network.federation.strategy == "scaffold" else 0
        _need(task.weights.size == size, "a number of weights")
        _need(task.variate.size == variates or not (task.train or task.variate.size), "a number of variates")
        _need(_usual(task.weights) and _usual(task.variate), "a weight")
        classes = len(self.study.endpoint(network.endpoint).codes)
        low, high = CLASS_WEIGHTS
        if network.training.class_weights == "none":
            low = high = 1.0
        _need(len(task.class_weights) == classes and all(low <= w <= high for w in task.class_weights), "a weight")
        # Losses of the same weights under two weightings would be those of the classes.
        named = canonical_json(["class weights", network.name])
        mine = canonical_json(list(task.class_weights))
        _need(self.works.claim(named, mine) == mine, "a second weighting of the classes")

    def _counts(self, number: int, *, train: bool) -> None:
        """Error 424 for a round beyond the policy's most; after the last one its weights may be measured."""
        most = self.policy.max_rounds
        if number >= most + (0 if train or not most else 1):
            raise FedmviError(424, f"round {number}", limit=most)

    def _single_updates(self) -> None:
        """Trimmed means need every site's own update, which no mask can cover."""
        if self.policy.masks == "required":
            raise FedmviError(423)
        if not self.policy.release_alone:
            raise FedmviError(408)

    def _scores(self, task: ScorePatients, roster: tuple[str, ...]) -> None:
        network = self._network(task.network, task.combination, task.seed)
        parts = [member.part for member in task.members]
        training = task.cohort == network.cohort
        # Training patients are scored out of fold only, each once; those of other cohorts have no folds.
        _need(sorted(parts) == (list(left_out_parts(network, roster)) if training else [Part()]), "a fold")
        if training:
            self._left_out(network, roster)
        for member in task.members:
            self._member(task, network, member)
        if task.project:
            self._projects(task, network)
        if self.study.cohort(task.cohort).role in self.study.closed_roles:
            if task.model not in self.frozen:
                raise FedmviError(407, cohort=task.cohort)
        else:
            # A server could score until the scores, which may be any function of the images, have told of everybody.
            self._once("model", task, task.model)

    def _projects(self, task: ScorePatients, network: Network) -> None:
        """Projections are of the one frozen model of a run, in the cohorts that the study compares by them.

        Several models' projections would be as many numbers of a patient as a server likes.
        """
        declared = network.projection is not None and task.cohort in network.projection.cohorts
        _need(declared and task.cohort != network.cohort, "a projection")
        if task.model not in self.frozen:
            raise FedmviError(407, cohort=task.cohort)
        key = canonical_json(["projection", network.name])
        _need(self.works.claim(key, task.model) == task.model, "a second projection of the same network")

    def _adapts(self, task: AdaptNetwork) -> None:
        """One frozen network of a run, by the study's shrinkage, where the study says so.

        A site's verdict, and its scores, depend on the reference: of several references they would tell in the end how
        its scores are distributed.
        """
        network = self._network(task.network, task.combination, task.seed)
        adaptation = network.adaptation
        _need(adaptation is not None and task.cohort in adaptation.cohorts, "an adaptation")
        _need(adaptation is not None and task.patients == adaptation.patients, "a number of patients")
        _need(task.reference.sound, "a reference")
        _need(task.member.part == Part() and not task.member.local, "a fold")
        self._member(task, network, task.member)
        if task.model not in self.frozen:
            raise FedmviError(407, cohort=task.cohort)
        key = canonical_json(["adaptation", network.name])
        _need(self.works.claim(key, task.model) == task.model, "a second adaptation of the same network")

    def _pictures(self, task: ExplainPatients, digest: str, roster: tuple[str, ...]) -> None:
        """Pictures stay, but a site works for what the study declares: a frozen model, or an outer fold's."""
        network = self._network(task.network, task.combination, task.seed)
        whole, training = task.member.part == Part(), task.cohort == network.cohort
        # Of training patients those of one fold; of hospitals that are left out one alone would have something to see.
        folds = () if network.by_centre else left_out_parts(network, roster)
        _need(task.member.part in folds if training else whole, "a fold")
        self._member(task, network, task.member)
        model = ScorePatients("", network.name, task.combination, task.seed, (task.member,)).model
        if whole and model not in self.frozen:
            raise FedmviError(407, cohort=task.cohort)
        self._once("pictures", task, digest)

    def _once(self, what: str, task: ScorePatients | ExplainPatients, value: str) -> None:
        key = canonical_json([what, task.cohort, task.network, list(task.combination), task.seed])
        _need(self.works.claim(key, value) == value, f"a second {what} of the same network")

    def _member(self, task: ScorePatients | ExplainPatients | AdaptNetwork, network: Network, member: Member) -> None:
        scores = isinstance(task, ScorePatients)
        places = scored_cohorts(self.study, network) if scores else (network.cohort, *network.evaluate)
        _need(task.cohort in places, "a cohort")
        _need(member.weights.size == shared_size(self.study, network, task.combination), "weights")
        _need(_usual(member.weights), "a weight")
        if not member.local:
            return
        if not self.works.done(member.local):
            # A site that took no part in training has no state of its own, and estimates it; another has lost it.
            if self.site in self.study.cohort(network.cohort).sites:
                raise FedmviError(511, f"no task {member.local}")
            return
        facts = self.works.facts(member.local)
        trained = Part(0) if network.development == "published" and member.fold == WHOLE else member.part
        _need(facts.get("task") == TrainRound.name, "another task's work")
        _need(_job(facts) == Job(network.name, task.combination, task.seed, *trained), "another training's state")


def _usual(weights: NDArray[np.float32]) -> bool:
    """Whether weights are of a size with which a network still computes numbers."""
    return bool(np.all(np.abs(weights) <= LARGEST_WEIGHT))


def _rarest(labels: NDArray[np.int64]) -> int:
    """Patients of the rarest grade that there is."""
    return int(np.unique(labels, return_counts=True)[1].min(initial=labels.size))


def _job(facts: dict[str, object]) -> Job:
    """The job of a round from its facts; of other tasks a job that nobody asks for."""
    combination = facts.get("combination")
    named = tuple(str(part) for part in combination) if isinstance(combination, list) else ()
    numbers = [facts.get(name) for name in ("seed", "fold")]
    seed, fold = (number if isinstance(number, int) else WHOLE - 1 for number in numbers)
    return Job(str(facts.get("network", "")), named, seed, fold, str(facts.get("without", "")))


def _need(sound: bool, part: str) -> None:
    if not sound:
        raise FedmviError(414, part, part=part)
