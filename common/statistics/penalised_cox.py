"""common/statistics: Cox models under an elastic-net penalty, many at once, by proximal Newton on summed scores.

A problem is one penalty on one training set: all patients, or all but one fold. All problems advance in lock-step, so
a cross-validated path costs the rounds of its slowest problem. Each site compares its own patients only, as in `cox`,
and sends score, information and log partial likelihood of every problem; their sums are those of the pooled rows
stratified by site, so the fixed point is the pooled one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField, KeyField
from common.federation.query import Ask, Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.censoring import survival_outcome
from common.statistics.cox import lower_triangle, standardised
from common.statistics.newton import symmetric
from common.statistics.partial_likelihood import PartialLikelihood, Ties, share_of_hazard
from common.statistics.penalty import elastic_weights, penalty_value, proximal_newton_step, violations
from common.statistics.training_sets import ANSWER_SIZE, training_sets
from common.study.recipe import Fold, Frame, Recipe
from common.study.table import FloatArray

MAX_ROUNDS = 60
KKT_TOLERANCE = 1e-11
SLACK = 1e-12
MAX_SETS = 21
_CELLS = 1 << 22
"""Numbers of one array that a site holds at once."""

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class OnTrainingSets(Query):
    """What queries about Cox models on training sets share: the sets are all but each fold, and then everybody."""

    endpoint: str
    columns: tuple[str, ...]
    sets: int

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictors."""
        return self.columns

    @property
    def parameters(self) -> int:
        """Coefficients of one model."""
        return len(self.columns)

    @property
    def folds(self) -> int:
        """See `Query`."""
        return self.sets - 1

    @property
    def classes_of(self) -> str:
        """Events, where folds tell some of them apart."""
        return f"{self.endpoint}.event" if self.folds else ""

    def consistent(self) -> bool:
        """See `Query`."""
        drawn = [step.folds for step in self.recipe.steps if isinstance(step, Fold)]
        sets = 1 <= self.sets <= MAX_SETS and self.sets != 2 and (self.folds == 0 or drawn in ([], [self.folds]))
        return sets and len(self.columns) > 0

    def members(self, frame: Frame) -> NDArray[np.bool_]:
        """(sets, n) who trains in which set."""
        return training_sets(frame, f"{self.endpoint}.event", "folds", self.sets)


@dataclass(frozen=True)
class TrainingSets(OnTrainingSets):
    """Patients, events, and sums and squares of the predictors of each training set."""

    name: ClassVar[str] = "query.cox_sets"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `events` (sets,); `sum`, `square` (sets, p)."""
        counts, sums = Block((self.sets,), Kind.COUNT), Block((self.sets, len(self.columns)), Kind.REAL)
        return {"n": counts, "events": counts, "sum": sums, "square": sums}

    def words(self) -> str:
        """See `Query`."""
        return f"sums of {len(self.columns)} columns and events of {self.endpoint} in {self.sets} training sets"

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        X, (_, event), members = frame.matrix(self.columns), survival_outcome(frame, self.endpoint), self.members(frame)
        return {
            "n": np.count_nonzero(members, axis=1).astype(np.int64),
            "events": np.count_nonzero(members & (event == 1.0), axis=1).astype(np.int64),
            "sum": members.astype(np.float64) @ X,
            "square": members.astype(np.float64) @ np.square(X),
        }


@dataclass(frozen=True)
class CoxPath(OnTrainingSets):
    """Log partial likelihoods inside each site, each of some coefficients on one training set.

    Attributes
    ----------
    which
        (problems,) the training set of each problem, in rising order.
    coefficients
        (problems, p)
    derivatives
        Whether scores and informations are asked, too.
    """

    name: ClassVar[str] = "query.cox_path"
    risk: ClassVar[Risk] = Risk.SUM

    ties: Ties
    which: KeyField
    coefficients: FloatField
    derivatives: bool

    def blocks(self) -> Mapping[str, Block]:
        """`log_likelihood` (problems,); `score` (problems, p), `information` (problems, p(p+1)/2)."""
        problems, p = self.which.size, len(self.columns)
        likelihood = {"log_likelihood": Block((problems,), Kind.REAL)}
        if not self.derivatives:
            return likelihood
        information = Block((problems, p * (p + 1) // 2), Kind.REAL)
        return {**likelihood, "score": Block((problems, p), Kind.REAL), "information": information}

    def words(self) -> str:
        """See `Query`."""
        return (
            f"one step of {self.which.size} penalised Cox regressions of {self.endpoint} on {len(self.columns)} "
            f"columns inside the site, in {self.sets} training sets"
        )

    def consistent(self) -> bool:
        """See `Query`."""
        rising = self.which.size > 0 and bool(np.all(self.which[1:] >= self.which[:-1]))
        shape = self.coefficients.shape == (self.which.size, len(self.columns))
        return rising and shape and int(self.which[-1]) < self.sets and super().consistent()

    def influence(self, frame: Frame) -> FloatArray:
        """(problems, n) the share of the hazard of those who train."""
        linear = self.coefficients @ frame.matrix(self.columns).T
        relative = np.exp(linear - np.max(linear, axis=1, initial=-np.inf, keepdims=True))
        trains = self.members(frame)[self.which.astype(np.intp)]
        return share_of_hazard(np.where(trains, relative, 0.0).T).T

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        X, (time, event), members = (
            frame.matrix(self.columns),
            survival_outcome(frame, self.endpoint),
            self.members(frame),
        )
        problems, p = self.which.size, len(self.columns)
        likelihood, score, information = np.zeros(problems), np.zeros((problems, p)), np.zeros((problems, p, p))
        for own in self._batches(frame.n):
            rows = members[int(self.which[own.start])]
            part = PartialLikelihood.of(time[rows], event[rows], X[rows], self.coefficients[own], self.ties)
            likelihood[own] = part.log_likelihood
            if self.derivatives:
                score[own], information[own] = part.score(), part.information()
        answer = {"log_likelihood": likelihood}
        return {**answer, "score": score, "information": lower_triangle(information)} if self.derivatives else answer

    def _batches(self, n: int) -> Iterator[slice]:
        """Problems of one training set that are not too many to be held at once."""
        most = max(1, _CELLS // max(1, n * len(self.columns)))
        ends = np.searchsorted(self.which, np.arange(self.sets, dtype=np.uint64), side="right").tolist()
        for start, end in zip([0, *ends], ends, strict=False):
            for first in range(start, end, most):
                yield slice(first, min(first + most, end))


@dataclass(frozen=True)
class CoxDesign:
    """What the problems have in common.

    Attributes
    ----------
    recipe
        With the predictors standardised by the moments of all patients, `own_scale` (p,) their standard deviations.
    n, events
        (sets,) patients, and those with the event.
    scale
        (sets, p) standard deviation of each standardised predictor in each training set, n in its denominator.
    """

    cohort: str
    recipe: Recipe
    endpoint: str
    columns: tuple[str, ...]
    sets: int
    ties: Ties
    model: str
    own_scale: FloatArray
    n: NDArray[np.int64]
    events: NDArray[np.int64]
    scale: FloatArray

    def question(self, which: Indices, coefficients: FloatArray, *, derivatives: bool) -> CoxPath:
        """The question about some problems, in rising order of their training sets."""
        asked = (self.cohort, self.recipe, self.endpoint, self.columns, self.sets, self.ties)
        return CoxPath(*asked, which.astype(np.uint64), coefficients, derivatives)


def prepare(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], sets: int, ties: Ties, model: str
) -> Conclusion[CoxDesign]:
    """Moments of all patients and of each training set; three rounds.

    Raises
    ------
    FedmviError
        601 no patients, 602 no events, 603 a constant predictor, 651 a fold without events or without the rest's.
    """
    standard, scale = yield from standardised(cohort, recipe, columns, model)
    sums = yield total(TrainingSets(cohort, standard, endpoint, columns, sets))
    n, events = sums["n"], sums["events"]
    if int(events[-1]) == 0:
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    if bool(np.any(events[:-1] == 0) or np.any(events[:-1] == events[-1])):
        raise FedmviError(651, cohort=cohort, endpoint=endpoint)
    mean = sums["sum"] / n[:, np.newaxis]
    variance = sums["square"] / n[:, np.newaxis] - np.square(mean)
    # A predictor that is constant in a training set has rounding for its variance; there it is left out.
    spread = np.sqrt(np.where(variance > 1e-12, variance, 0.0))
    return CoxDesign(cohort, standard, endpoint, columns, sets, ties, model, scale.std_, n, events, spread)


@dataclass(frozen=True)
class Fitted:
    """Converged problems.

    Attributes
    ----------
    coefficients
        (penalties, sets, p) on the scale of the standardised predictors.
    log_likelihood
        (penalties, sets)
    kkt
        The largest violation of an optimality condition.
    rounds
        Rounds, with that of the closing questions.
    closing
        The replies to the closing questions.
    """

    coefficients: FloatArray
    log_likelihood: FloatArray
    kkt: float
    rounds: int
    closing: tuple[Summary, ...]


def fit(
    design: CoxDesign,
    penalties: Callable[[FloatArray], FloatArray],
    alpha: float,
    closing: Callable[[FloatArray], tuple[Ask, ...]],
) -> Conclusion[tuple[FloatArray, Fitted]]:
    """Fit every penalty on every training set; the penalties are made of the score per patient at zero (p,), of
    predictors in standard deviations. `closing` makes questions of the final coefficients.

    Raises
    ------
    FedmviError
        604 no convergence.
    """
    p, every = len(design.columns), np.arange(design.sets)
    first = yield total(design.question(every, np.zeros((design.sets, p)), derivatives=True))
    at_zero = np.where(
        design.scale[-1] > 0, first["score"][-1] / np.where(design.scale[-1] > 0, design.scale[-1], 1), 0
    )
    penalty = penalties(at_zero / design.n[-1])
    problems = _Problems(design, penalty, alpha)
    problems.receive(np.arange(problems.which.size), {k: np.repeat(v, penalty.size, axis=0) for k, v in first.items()})
    for rounds in range(2, MAX_ROUNDS + 2):
        live = np.flatnonzero(problems.kkt > KKT_TOLERANCE)
        if not live.size:
            final = problems.by_penalty(problems.beta)
            asks = closing(final)
            replies = (yield asks) if asks else ()
            likelihood, kkt = problems.by_penalty(problems.log_likelihood), float(problems.kkt.max())
            return penalty, Fitted(final, likelihood, kkt, rounds - 1 + bool(asks), replies)
        parts = np.array_split(live, -(-live.size * (p + 2) * (p + 1) // 2 // ANSWER_SIZE))
        questions = [design.question(problems.which[part], problems.beta[part], derivatives=True) for part in parts]
        replies = yield tuple(total(question) for question in questions)
        problems.receive(live, {name: np.concatenate([reply[name] for reply in replies]) for name in first})
    raise FedmviError(604, model=design.model)


class _Problems:
    """The state of all problems; problem r has penalty `level[r]` and training set `which[r]`, sets rising."""

    def __init__(self, design: CoxDesign, penalty: FloatArray, alpha: float) -> None:
        self.penalties, self.n = penalty.size, design.n.astype(np.float64)
        self.which = np.repeat(np.arange(design.sets), penalty.size)
        level, p = np.tile(np.arange(penalty.size), design.sets), len(design.columns)
        self.scale = design.scale[self.which]
        self.lasso, self.ridge = elastic_weights(penalty[level], alpha, self.scale)
        self.beta, self.base = np.zeros((self.which.size, p)), np.zeros((self.which.size, p))
        self.value, self.kkt = np.full(self.which.size, np.inf), np.full(self.which.size, np.inf)
        self.log_likelihood = np.zeros(self.which.size)

    def by_penalty(self, values: FloatArray) -> FloatArray:
        """(penalties, sets, ...) of (problems, ...)."""
        return np.swapaxes(values.reshape(-1, self.penalties, *values.shape[1:]), 0, 1)

    def receive(self, live: Indices, sums: Summary) -> None:
        """Take the sums at the current coefficients, and go on from there, or back half a step."""
        n = self.n[self.which[live]]
        value = penalty_value(self.beta[live], self.lasso[live], self.ridge[live]) - sums["log_likelihood"] / n
        worse = value > self.value[live] + SLACK * (1.0 + np.abs(value))
        back, good = live[worse], live[~worse]
        self.beta[back] = 0.5 * (self.beta[back] + self.base[back])
        self.base[good], self.value[good] = self.beta[good], value[~worse]
        self.log_likelihood[good] = sums["log_likelihood"][~worse]
        gradient = -sums["score"][~worse] / n[~worse, np.newaxis]
        hessian = symmetric(sums["information"][~worse] / n[~worse, np.newaxis], gradient.shape[1])
        missed = violations(gradient, self.beta[good], self.lasso[good], self.ridge[good])
        with np.errstate(divide="ignore", invalid="ignore"):
            self.kkt[good] = np.where(missed > 0, missed / self.scale[good], 0.0).max(axis=1)
        going = self.kkt[good] > KKT_TOLERANCE
        rows = good[going]
        if rows.size:
            steps = gradient[going], hessian[going], self.beta[rows], self.lasso[rows], self.ridge[rows]
            self.beta[rows] = proximal_newton_step(*steps)
