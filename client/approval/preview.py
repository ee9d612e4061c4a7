"""client/approval: a preview of a study at this site: what could leave, computed here, before anything does.

Every question that the study's parts may ask is put, as an example, to the gate that will stand before the real one:
by kind, and by the site's prepared data where there are some. Nothing leaves, nothing is recorded. The examples have
no fitted numbers, so what the gate refuses for such numbers (416), for an earlier run (420, 421) or for a closed
network (404, 407) cannot be foreseen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

import common.statistics  # noqa: F401 - registers every query
from client.approval.examples import CHOSEN, example, modes_of
from client.approval.subject import Subject
from client.approval.subjects import NO_PART, always_admitted, subjects_of
from client.cohort.membership import members
from client.cohort.site import Site
from client.cohort.store import load_prepared, store_digest
from client.release.centre_scope import centre_words
from client.release.gate import Gate
from client.run import OpenRun
from client.view import GatedView
from common.errors import FedmviError
from common.federation.learning import ExplainPatients, RoundLoss, RoundUpdate, ScorePatients, TrainRound
from common.federation.query import Ask, Kind, Mode, Query, Risk
from common.federation.tasks import Freeze, FreezeCorrections
from common.networks.adapting import AdaptNetwork
from common.study.centres import silent
from common.study.comparing import frozen_names
from common.study.correcting import Correction, declared_recalibration
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import Cut, Recipe, Score
from common.study.scores import scored_cohorts

_BYTES = {Kind.COUNT: 8, Kind.REAL: 16, Kind.UPDATE: 4}
"""Bytes of one number as it travels; a weight has 8 under masks."""
_LATER = frozenset({404, 439})
"""Refusals that depend on what the other sites of a masked sum sign for."""


@dataclass(frozen=True)
class Release:
    """One kind of answer that the site would give for one part of a study.

    Attributes
    ----------
    query, risk, mode, cohort
        Of the question; `mode` total or each, or perform for a task.
    part
        The part of the study that asks: "model clinical".
    words
        What the answer is, as the ledger will say it.
    numbers, nbytes
        In one answer, at most, unless it `grows`; 0 where it follows from what is asked.
    grows
        Whether the coordinator may ask for more of it at once.
    closed
        Whether the cohort's endpoints are closed until the models are frozen.
    refused
        The number of the error that this site would answer with now; 0 where it would answer.
    why
        The error in words, for this machine only.
    """

    query: str
    risk: str
    mode: str
    cohort: str
    part: str
    words: str
    numbers: int = 0
    nbytes: int = 0
    grows: bool = False
    closed: bool = False
    refused: int = 0
    why: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the gate tells answers apart by: kind, cohort, how it is used, risk."""
        return self.query, self.cohort, self.mode, self.risk

    @property
    def declared(self) -> bool:
        """Whether a part of the study asks it; otherwise the gate would take it in any study."""
        return self.part != NO_PART


_ANYWHERE = {
    "query.flow": "patients by step on the way into the cohort",
    "query.classes": "patients by class of an endpoint",
    "query.missing": "missing values of the study's variables",
    "query.deviations": "means and spreads of the study's columns",
    "query.logistic": "steps of a logistic regression on the study's columns",
    "query.score_counts": "the order of patients by a column or score",
    "query.roc_alone": "this site's own area under a ROC curve",
    "query.life_table": "events by time",
    "query.survival_alone": "this site's own survival curves",
}
"""What every study may ask, in words: `common/study/analyses.py` has the list."""


@dataclass(frozen=True)
class CohortHere:
    """A cohort that the site is in: its role and sites, and its patients here, None before `prepare`."""

    name: str
    role: str
    sites: int
    patients: int | None
    closed: bool


@dataclass(frozen=True)
class Preview:
    """What a study could be told by this site.

    Attributes
    ----------
    cohorts
        That the site is in.
    releases
        Every kind of answer, in the study's order.
    unprepared
        Why the data could not be looked at; "" where they could.
    """

    cohorts: tuple[CohortHere, ...]
    releases: tuple[Release, ...]
    unprepared: str

    @property
    def keys(self) -> frozenset[tuple[str, str, str, str]]:
        """Of all that could be answered."""
        return frozenset(release.key for release in self.releases)


def preview(site: Site, study: Study) -> Preview:
    """Foresee what the site would answer.

    Raises
    ------
    FedmviError
        209 the site is in no cohort of the study.
    """
    own = [cohort for cohort in study.cohorts if site.name in cohort.sites]
    if not own:
        raise FedmviError(209, f"the study's sites are {', '.join(study.sites())}", site=site.name)
    trial = _Trial(site, study)
    names = {cohort.name for cohort in own}
    releases = [release for subject in subjects_of(study) if subject.cohort in names for release in trial.of(subject)]
    declared = {(release.query, release.cohort) for release in releases}
    for query, cohort in always_admitted(study):
        if cohort in names and (query, cohort) not in declared:
            releases += trial.unasked(query, cohort)
    for network in study.networks:
        releases += [release for release in trial.network(network) if release.cohort in names]
    here = tuple(
        CohortHere(c.name, c.role, len(c.sites), trial.patients(c.name), c.role in study.closed_roles) for c in own
    )
    return Preview(here, tuple(releases), trial.unprepared)


class _Trial:
    """Puts examples to the gate of the site, as a run that is open and frozen would."""

    def __init__(self, site: Site, study: Study) -> None:
        self._site, self._study = site, study
        self._gate = Gate.of(site.policy, study)
        self.unprepared = ""
        try:
            load_prepared(site, study)
        except FedmviError as error:
            self.unprepared = f"{error.code} {error.what} {error.do}"

    def patients(self, cohort: str) -> int | None:
        """Patients of a cohort here, if they are prepared."""
        if self.unprepared:
            return None
        table = load_prepared(self._site, self._study)
        return int(np.count_nonzero(members(self._site, table, self._study, self._study.cohort(cohort))))

    def of(self, subject: Subject) -> Iterator[Release]:
        """Every kind of answer for a part of the study in one cohort."""
        for name in sorted(subject.questions):
            for mode in (mode for mode in modes_of(name) if mode in subject.modes):
                ask = example(name, mode, subject, self._study)
                if isinstance(ask.question, Query) and self._meant(ask, ask.question):
                    yield self._release(ask, ask.question, subject)

    def _meant(self, ask: Ask, query: Query) -> bool:
        """Totals are for cohorts of enough sites, answers of sites alone for all; other ways do not exist. To what is
        asked without this site, or of another alone, it has nothing to say."""
        if silent(query.recipe, self._site.name):
            return False
        roster = self._study.cohort(ask.cohort).sites
        return ask.mode is Mode.EACH or len(roster) >= self._gate.limits.min_sites

    def _release(self, ask: Ask, query: Query, subject: Subject) -> Release:
        blocks = query.blocks().values()
        error = self._refusal(ask, query, subject)
        return Release(
            query.name,
            query.risk.value,
            ask.mode.value,
            query.cohort,
            subject.part,
            query.words() + centre_words(query),
            sum(math.prod(block.shape) for block in blocks),
            sum(math.prod(block.shape) * _BYTES[block.kind] for block in blocks),
            query.name in CHOSEN,
            self._closed(query.cohort),
            error.number if error is not None else 0,
            "" if error is None else error.what,
        )

    def _closed(self, cohort: str) -> bool:
        return self._study.cohort(cohort).role in self._study.closed_roles

    def _refusal(self, ask: Ask, query: Query, subject: Subject) -> FedmviError | None:
        """What the gate says of an example: by kind, and by the data, if they are prepared and it can be tried."""
        try:
            self._gate.admit(ask, self._study.cohort(ask.cohort).sites)
            if subject.computed and not self.unprepared and query.recipe.steps:
                # The real question has a recipe of its own fitted numbers: what is frozen here is this example.
                self._view(query.recipe).frame(query)
        except FedmviError as error:
            masked_sum = ask.mode is Mode.TOTAL and self._site.policy.masks == "required"
            return None if masked_sum and error.number in _LATER else error
        return None

    def _view(self, recipe: Recipe) -> GatedView:
        scoring = [
            Recipe(recipe.steps[: i + 1]).digest for i, step in enumerate(recipe.steps) if isinstance(step, Score | Cut)
        ]
        compared = (*(comparison.name for comparison in self._study.comparisons), *frozen_names(self._study))
        frozen = Freeze(tuple(scoring), compared)
        steps = enumerate(recipe.steps)
        corrections = tuple(
            Correction(step.model, Recipe(recipe.steps[:i]), 0.0, 1.0)
            for i, step in steps
            if isinstance(step, Score) and declared_recalibration(self._study, step.model) is not None
        )
        run = replace(self._run, frozen=frozen, corrections=FreezeCorrections("", corrections))
        return GatedView(self._site, run, self._gate)

    @cached_property
    def _run(self) -> OpenRun:
        rosters = {cohort.name: tuple(sorted(cohort.sites)) for cohort in self._study.cohorts}
        store = store_digest(self._site, self._study)
        masks = self._site.policy.masks == "required"
        return OpenRun(Path(), self._study, rosters, store, None, masks)

    def unasked(self, query: str, cohort: str) -> Iterator[Release]:
        """What no part needs in a cohort, and a server might ask there all the same."""
        kind, words = Query.registry[query], _ANYWHERE[query]
        for mode in modes_of(query):
            roster = self._study.cohort(cohort).sites
            if mode is Mode.TOTAL and len(roster) < self._gate.limits.min_sites:
                continue
            refused = 0
            if query in self._site.policy.refused_queries or kind.risk.value not in self._site.policy.risks:
                refused = 402
            elif mode is Mode.EACH and Mode.TOTAL not in modes_of(query) and not self._site.policy.release_alone:
                refused = 408
            elif kind.risk is Risk.RANK and self._site.policy.pooled_detail == "binned":
                refused = 402
            why = FedmviError(refused, query=query).what if refused else ""
            yield Release(query, kind.risk.value, mode.value, cohort, NO_PART, words,
                          grows=True, closed=self._closed(cohort), refused=refused, why=why)  # fmt: skip

    def network(self, network: Network) -> Iterator[Release]:
        """Tasks of a network, whose results stay, and the changes of its weights."""
        title, rounds = network.title, network.federation.rounds
        also = "and, where cohorts are compared, projections " if network.projection is not None else ""
        everywhere = tuple(dict.fromkeys((network.cohort, *network.evaluate)))
        tasks: tuple[tuple[str, tuple[str, ...], str], ...] = (
            (
                TrainRound.name,
                (network.cohort,),
                f"train {title}: at most {rounds} rounds a training; the result stays",
            ),
            (
                ScorePatients.name,
                scored_cohorts(self._study, network),
                f"score patients by {title}; the scores {also}stay",
            ),
            (ExplainPatients.name, everywhere, f"make pictures of what {title} looks at; they stay"),
        )
        if network.adaptation is not None:
            words = f"adapt {title} to this site's own images, and score with it; statistics and scores stay"
            tasks = (*tasks, (AdaptNetwork.name, network.adaptation.cohorts, words))
        for name, cohorts, words in tasks:
            refusal = self._training(network) if name == TrainRound.name else self._kind(name, Risk.MODEL)
            for cohort in cohorts:
                yield self._of_network(network, name, Risk.MODEL, Mode.PERFORM, cohort, words, refusal)
        weights = max(_weights(self._study, network, combination) for combination in network.combinations)
        numbers = weights * (2 if network.federation.strategy == "scaffold" else 1)
        width = 8 if self._site.policy.masks == "required" else 4
        words = f"change of at most {weights} weights of {title} in one round of one training"
        mode = Mode.EACH if network.federation.strategy == "trimmed-mean" else Mode.TOTAL
        update = self._of_network(
            network, RoundUpdate.name, Risk.MODEL, mode, network.cohort, words, self._training(network)
        )
        yield replace(update, numbers=numbers + 1, nbytes=numbers * width + 8)
        words = "sums of the loss before a round over training and validation patients"
        loss = self._of_network(
            network, RoundLoss.name, Risk.SUM, Mode.TOTAL, network.cohort, words, self._training(network)
        )
        yield replace(loss, numbers=4, nbytes=48)

    def _kind(self, name: str, risk: Risk) -> FedmviError | None:
        policy = self._site.policy
        refused = name in policy.refused_queries or risk.value not in policy.risks
        return FedmviError(402, query=name) if refused else None

    def _training(self, network: Network) -> FedmviError | None:
        """Why a network would not be trained here, as far as it is known before its first round."""
        policy = self._site.policy
        refusal = self._kind(TrainRound.name, Risk.MODEL)
        if refusal is None and network.federation.strategy == "trimmed-mean":
            if policy.masks == "required":
                refusal = FedmviError(423)
            elif not policy.release_alone:
                refusal = FedmviError(408)
        if refusal is None and policy.max_rounds < network.federation.rounds:
            refusal = FedmviError(424, limit=policy.max_rounds)
        if refusal is None and network.by_centre and not policy.may_be_left_out:
            refusal = FedmviError(432, site=self._site.name, cohort=network.cohort)
        try:
            self._gate.admit_training(network.name)
        except FedmviError as error:
            return refusal or error
        return refusal

    def _of_network(
        self, network: Network, name: str, risk: Risk, mode: Mode, cohort: str, words: str, refusal: FedmviError | None
    ) -> Release:
        part, closed = f"network {network.name}", self._closed(cohort)
        number, why = (refusal.number, refusal.what) if refusal is not None else (0, "")
        return Release(name, risk.value, mode.value, cohort, part, words, closed=closed, refused=number, why=why)


def _weights(study: Study, network: Network, combination: tuple[str, ...]) -> int:
    """How many weights a network shares; 0 where what computes it is not installed."""
    try:
        from client.learning.workbench import shared_size

        return shared_size(study, network, combination)
    except ImportError:
        return 0
