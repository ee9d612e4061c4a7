"""server/study: step: the development of networks: all trainings, out-of-fold scores, cut-offs, the choice.

Of the training patients on whom a network's performance is reported none took part in its training or in stopping it:
each is scored by the network that was trained without his outer fold, whose rounds another fold decided; with
`leave-one-centre-out` by that without his hospital, and what a new hospital may expect is measured at each of them.
(The `published` development is the exception, and its results say so.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from common.errors import FedmviError
from common.federation.learning import WHOLE, Job, Member, Part, ScorePatients, left_out_parts
from common.federation.query import Summary, each, total
from common.federation.runner import Conclusion, together
from common.statistics.cutoffs import cutoffs
from common.statistics.grades import GradeCounts
from common.statistics.refinement import Counts
from common.statistics.roc import RocAlone, RocResult
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import Recipe
from common.study.table import FloatArray
from server.strategies.choice import strategy_of
from server.study.centre_areas import Area, told_area
from server.study.checkpoints import Checkpoints, finished_weights
from server.study.network_choice import Combination, Seeds, lowest_loss, one_standard_error, over_seeds
from server.study.network_faults import attempt_unless_mendable
from server.study.network_scores import (
    INFERENCES,
    Frozen,
    Measured,
    areas,
    column_names,
    in_batches,
    measure,
    score,
    scoring,
)
from server.study.steps import COMPARE, score_training, train_on_everybody, train_without
from server.study.training import TrainedJob, train_job

Candidate = tuple[Combination, int]
"""A combination of sequences and a seed."""

Areas = Mapping[str, RocResult]


@dataclass(frozen=True)
class Developed:
    """A network's development: each part is there, or the error that it met.

    Attributes
    ----------
    levels
        (classes,) training patients of each level, over all sites.
    trained
        Every training.
    areas
        Of the out-of-fold scores, by candidate and way of inference.
    measured
        Performance of the first seed's out-of-fold scores, by combination, at its own cut-off.
    frozen
        The networks that are used, one a candidate: of the first seed is the model, the others tell the spread.
    by_loss
        For each part left out the combination whose validation loss, which knows nothing of that part, is lowest.
    out_of_fold
        Digests of what scored the training patients out of fold, first seed, by combination.
    nested
        Areas where each part is scored by the network on that combination; None where no part's choice is known.
    at_centres
        Where hospitals are left out: by hospital the area there of the chosen combination, first seed, without it.
    """

    network: Network
    levels: Counts
    trained: Mapping[Job, TrainedJob | FedmviError]
    areas: Mapping[Candidate, Areas | FedmviError]
    measured: Mapping[Combination, Measured | FedmviError]
    frozen: Mapping[Candidate, Frozen | FedmviError]
    by_loss: Mapping[Part, Combination | None]
    out_of_fold: Mapping[Combination, str]
    nested: Areas | FedmviError | None
    at_centres: Mapping[str, Area | FedmviError] = field(default_factory=dict)

    @property
    def chosen(self) -> Combination | None:
        """The combination that the one-standard-error rule chooses; None where no area is known."""
        return one_standard_error(self.seeds(self.network.inference))

    def seeds(self, inference: str) -> list[Seeds]:
        """The out-of-fold areas of every combination of which every seed has one."""
        found = []
        for combination in self.network.combinations:
            mine = [self.areas[combination, seed] for seed in range(self.network.seeds)]
            known = [a[inference] for a in mine if not isinstance(a, FedmviError)]
            if len(known) == len(mine):
                found.append(over_seeds(combination, known))
        return found

    @property
    def models(self) -> set[str]:
        """Digests of all that may score patients of the cohorts in which the network is evaluated."""
        return {frozen.model for frozen in self.frozen.values() if isinstance(frozen, Frozen)}


def candidates(network: Network) -> list[Candidate]:
    """Every combination with every seed."""
    return [(combination, seed) for combination in network.combinations for seed in range(network.seeds)]


def used(network: Network, candidate: Candidate) -> Job:
    """The training whose weights are used: on everybody; of the published development that on nine tenths."""
    combination, seed = candidate
    return Job(network.name, combination, seed, 0 if network.development == "published" else WHOLE)


def chosen_by_loss(
    network: Network, parts: Sequence[Part], trained: Mapping[Job, TrainedJob | FedmviError], seed: int
) -> dict[Part, Combination | None]:
    """For each part left out the combination with the lowest validation loss among networks that never saw it."""
    chosen: dict[Part, Combination | None] = {}
    for part in parts:
        jobs = {c: trained[Job(network.name, c, seed, *part)] for c in network.combinations}
        losses = {c: job.validation_loss for c, job in jobs.items() if isinstance(job, TrainedJob) and job.rounds}
        chosen[part] = lowest_loss(losses)
    return chosen


def develop_all(
    study: Study, checkpoints: Checkpoints, progress: Callable[[str], None]
) -> Conclusion[list[Developed | FedmviError]]:
    """Develop every network of the study, one after the other: each is as much as the sites can do at once."""
    found: list[Developed | FedmviError] = []
    for network in study.networks:
        found.append((yield from attempt_unless_mendable(_Development(study, network, checkpoints, progress).run())))
    if found:
        progress(COMPARE)  # what is still asked is no training, and no network's
    return found


def class_weights(network: Network, levels: Counts) -> tuple[float, ...]:
    """One a class: n / (classes n_c), so that every class weighs as much as another; or ones.

    Raises
    ------
    FedmviError
        602 a class without patients.
    """
    if int(levels.min()) < 1:
        raise FedmviError(602, endpoint=network.grades, cohort=network.cohort)
    if network.training.class_weights == "none":
        return (1.0,) * levels.size
    return tuple(float(w) for w in levels.sum() / (levels.size * levels))


@dataclass(frozen=True)
class _OutOfFold:
    """What scored each training patient without having seen him, and its areas."""

    model: str
    areas: Areas


@dataclass(frozen=True)
class _Development:
    """The steps of one network's development."""

    study: Study
    network: Network
    checkpoints: Checkpoints
    progress: Callable[[str], None]

    def run(self) -> Conclusion[Developed]:
        """All steps; error 602 for a class without patients."""
        network, everyone = self.network, candidates(self.network)
        jobs = [Job(network.name, c, seed, *part) for c, seed in everyone for part in self._parts]
        self.progress(train_without(network, len(jobs)))
        levels = yield from self._levels()
        weights = class_weights(network, levels)
        trained = yield from self._train(weights, dict.fromkeys(jobs, network.federation.rounds))
        self.progress(score_training(network))
        found = yield from in_batches([partial(self._out_of_fold, one, trained) for one in everyone], self._scorings)
        out_of_fold = dict(zip(everyone, found, strict=True))
        first = [out_of_fold[combination, 0] for combination in network.combinations]
        cuts = yield from together(*(attempt_unless_mendable(self._cutoffs(scores)) for scores in first))
        measured = yield from together(
            *(
                attempt_unless_mendable(self._measured(scores, cut, levels.size))
                for scores, cut in zip(first, cuts, strict=True)
            )
        )
        by_loss = chosen_by_loss(network, self._parts, trained, 0)
        nested = yield from attempt_unless_mendable(self._nested(by_loss, out_of_fold))
        if network.development != "published":
            known = [one for one in everyone if isinstance(out_of_fold[one], _OutOfFold)]
            whole = {used(network, one): self._rounds(one, trained) for one in known}
            self.progress(train_on_everybody(network))
            trained |= yield from self._train(weights, whole)
        of_combination = dict(zip(network.combinations, cuts, strict=True))
        developed = Developed(
            network,
            levels,
            trained,
            {one: s.areas if isinstance(s, _OutOfFold) else s for one, s in out_of_fold.items()},
            dict(zip(network.combinations, measured, strict=True)),
            {one: self._frozen(one, trained, out_of_fold[one], of_combination[one[0]]) for one in everyone},
            by_loss,
            {one[0]: s.model for one, s in out_of_fold.items() if isinstance(s, _OutOfFold) and one[1] == 0},
            nested,
        )
        return replace(developed, at_centres=(yield from self._at_centres(developed)))

    def _at_centres(self, developed: Developed) -> Conclusion[Mapping[str, Area | FedmviError]]:
        """The area at each hospital of the network that never saw it, on the sequences that were chosen.

        Of others a hospital tells none by itself: two guarded curves would tell whom two networks part.
        """
        network, chosen = self.network, developed.chosen
        if not network.by_centre or chosen is None:
            return {}
        recipe, limits = scoring(network, self.study, developed.out_of_fold[chosen]), self.study.limits
        (column,) = column_names(network, (network.inference,))
        least = limits.min_test_class
        told = yield each(
            RocAlone(network.cohort, recipe, network.binary, column, least, min_cell=limits.min_cell)
        )  # fmt: skip
        return {site: told_area(answer, site, least, network.binary) for site, answer in sorted(told.items())}

    @property
    def _parts(self) -> tuple[Part, ...]:
        return left_out_parts(self.network, self.study.cohort(self.network.cohort).sites)

    def _levels(self) -> Conclusion[Counts]:
        classes = len(self.study.endpoint(self.network.grades).level_names)
        sums: Summary = yield total(GradeCounts(self.network.cohort, Recipe(), self.network.grades, classes))
        return sums["levels"]

    def _train(
        self, weights: tuple[float, ...], rounds: Mapping[Job, int]
    ) -> Conclusion[dict[Job, TrainedJob | FedmviError]]:
        network = self.network
        strategy = strategy_of(network.federation)
        makers = [
            partial(train_job, network, job, len(weights), weights, strategy, most, self.checkpoints)
            for job, most in rounds.items()
        ]
        found = yield from in_batches(makers, network.federation.lock_step)
        return dict(zip(rounds, found, strict=True))

    @property
    def _scorings(self) -> int:
        """How many scorings share a message: as many networks travel as in a round of training."""
        return max(1, self.network.federation.lock_step // len(self._parts))

    def _of_folds(
        self, candidate: Candidate, trained: Mapping[Job, TrainedJob | FedmviError]
    ) -> Sequence[TrainedJob | FedmviError]:
        combination, seed = candidate
        return [trained[Job(self.network.name, combination, seed, *part)] for part in self._parts]

    def _out_of_fold(
        self, candidate: Candidate, trained: Mapping[Job, TrainedJob | FedmviError]
    ) -> Conclusion[_OutOfFold]:
        """Score each fold by the network that was trained without it.

        One fold may have been unlucky; where no round of most of them lowered the loss there is nothing to score with,
        and everybody would be trained for no round.
        """
        members = []
        for part, job in zip(self._parts, self._of_folds(candidate, trained), strict=True):
            if isinstance(job, FedmviError):
                raise job
            weights = finished_weights(self.checkpoints, job.job)
            members.append(Member(part.fold, weights, job.local, part.without))
        if self._rounds(candidate, trained) == 0:
            raise FedmviError(682)
        model = yield from score(self.network, *candidate, self.network.cohort, members)
        found = yield from areas(self.study, self.network, self.network.cohort, model)
        if all(_one_score(area) for area in found.values()):
            raise FedmviError(683)
        return _OutOfFold(model, found)

    def _nested(
        self, by_loss: Mapping[Part, Combination | None], out_of_fold: Mapping[Candidate, _OutOfFold | FedmviError]
    ) -> Conclusion[Areas | None]:
        """Areas of the scores that each part has from the combination chosen without it; the choice is tested too."""
        if self.network.development == "published":
            return None
        models = []
        for combination in by_loss.values():
            scores = None if combination is None else out_of_fold[combination, 0]
            if not isinstance(scores, _OutOfFold):
                return None
            models.append(scores.model)
        return (yield from areas(self.study, self.network, self.network.cohort, models[0], tuple(models)))

    def _cutoffs(self, scores: _OutOfFold | FedmviError) -> Conclusion[FloatArray]:
        """(2,) Youden's cut-offs of `mean` and `first` on the out-of-fold scores of the first seed."""
        if isinstance(scores, FedmviError):
            raise scores
        network, recipe = self.network, scoring(self.network, self.study, scores.model)
        names = column_names(network, INFERENCES)
        found = yield from cutoffs(network.cohort, recipe, network.binary, names, min_cell=self.study.limits.min_cell)
        return np.array([cutoff.value_ for cutoff in found])

    def _measured(
        self, scores: _OutOfFold | FedmviError, cut: FloatArray | FedmviError, classes: int
    ) -> Conclusion[Measured]:
        if isinstance(scores, FedmviError):
            raise scores
        frozen = Frozen(scores.model, None if isinstance(cut, FedmviError) else cut)
        return (yield from measure(self.study, self.network, self.network.cohort, frozen, classes))

    def _rounds(self, candidate: Candidate, trained: Mapping[Job, TrainedJob | FedmviError]) -> int:
        """Rounds on everybody: the median of those that the folds kept, rounded down."""
        kept = [job.rounds for job in self._of_folds(candidate, trained) if isinstance(job, TrainedJob)]
        return math.floor(float(np.median(kept)))

    def _frozen(
        self,
        candidate: Candidate,
        trained: Mapping[Job, TrainedJob | FedmviError],
        scores: _OutOfFold | FedmviError,
        cut: FloatArray | FedmviError,
    ) -> Frozen | FedmviError:
        """The network that is used; what has no out-of-fold performance is none."""
        if isinstance(scores, FedmviError):
            return scores
        job = trained[used(self.network, candidate)]
        if isinstance(job, FedmviError):
            return job
        task = ScorePatients("", self.network.name, *candidate, (whole_member(job, self.checkpoints),))
        return Frozen(task.model, None if isinstance(cut, FedmviError) else cut)


def _one_score(area: RocResult) -> bool:
    """Whether all patients have the same score: then the area is that of one tie, which is known without error."""
    return area.std_err_ == 0 and area.auc_ == 0.5


def whole_member(job: TrainedJob, checkpoints: Checkpoints) -> Member:
    """A finished training that scores everybody of a cohort."""
    return Member(WHOLE, finished_weights(checkpoints, job.job), job.local)
