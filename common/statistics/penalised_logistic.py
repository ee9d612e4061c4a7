"""common/statistics: logistic models under an elastic-net penalty, many at once, by proximal Newton on summed scores.

A problem is one penalty on one training set: all patients, all but one fold, or a half-sample. All problems advance
in lock-step, so a cross-validated path costs the rounds of its slowest problem. Each site sends X'(y - mu) of every
problem, and X'WX of the predictors that the problem uses or is about to use; their sums are those of the pooled rows,
so the fixed point is the pooled one.

Predictors are standardised by their pooled moments for the iteration. That each training set is standardised by its
own is a matter of its penalty weights (`elastic_weights`), which no site sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField, KeyField
from common.federation.query import Ask, Block, Kind, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.logistic import logistic_weight
from common.statistics.newton import VANISHING_WEIGHT, symmetric
from common.statistics.penalty import (
    BARRED,
    elastic_weights,
    penalty_value,
    proximal_newton_step,
    violations,
    working_sets,
)
from common.statistics.training_sets import ANSWER_SIZE, Design, OnSets, training_sets, weighted_products
from common.study.recipe import Frame, logistic_function
from common.study.table import FloatArray

MAX_ROUNDS = 60
KKT_TOLERANCE = 1e-11
CHORD_STEP = 1e-4
"""Steps below it move the Hessian too little for sending it again."""
SHARE_STEP = 0.1
"""Steps above it are far from the solution, where the Hessian of everybody is as good for a fold as its own."""
ROOM = 12
"""Fewest predictors that may join a working set in one round, if there are more than that."""
NEAR = 0.9
"""Share of its penalty that the gradient of a predictor reaches if the predictor is likely to be used soon."""
BATCH = 128
"""Problems that are worked on at once."""
SLACK = 1e-12

Indices = NDArray[np.intp]


MAX_PROBLEMS = 10_000
"""Most models of one question: a site has a number for each of them and each patient in memory."""


@dataclass(frozen=True)
class PenalisedSums(OnSets):
    """Score, part of the information, and log-likelihood of logistic models, each on one training set.

    Attributes
    ----------
    which
        The training set of each problem.
    coefficients
        (problems, p + 1), intercept first.
    working, sizes
        The coefficients whose information is asked, problem after problem in rising order, and how many of each.
    """

    name: ClassVar[str] = "query.penalised"
    risk: ClassVar[Risk] = Risk.SUM

    which: KeyField
    coefficients: FloatField
    working: KeyField
    sizes: KeyField

    def blocks(self) -> Mapping[str, Block]:
        """`score` (problems, p + 1); `information`: the lower triangles on end; `log_likelihood` (problems,)."""
        problems, sizes = self.which.size, self.sizes.astype(np.int64)
        return {
            "score": Block((problems, len(self.columns) + 1), Kind.REAL),
            "information": Block((int(np.sum(sizes * (sizes + 1) // 2)),), Kind.REAL),
            "log_likelihood": Block((problems,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"one step of {self.which.size} penalised logistic regressions of {self.endpoint} on "
            f"{len(self.columns)} columns, at most {self.parameters} coefficients each, cohort {self.cohort}"
        )

    @property
    def parameters(self) -> int:
        """The largest working set."""
        return int(self.sizes.max(initial=0))

    def consistent(self) -> bool:
        """See `Query`."""
        problems, p = self.which.size, len(self.columns)
        if not super().consistent() or not 0 < problems <= MAX_PROBLEMS or self.coefficients.shape != (problems, p + 1):
            return False
        if self.sizes.size != problems or int(self.sizes.max()) > p + 1 or int(self.which.max()) >= self.sets:
            return False
        if int(self.sizes.sum()) != self.working.size or int(self.working.max(initial=0)) > p:
            return False
        return all(bool(np.all(own[1:] > own[:-1])) for own in self._working())

    def influence(self, frame: Frame) -> FloatArray:
        """(problems, n) 4 mu (1 - mu) of those who train."""
        members = training_sets(frame, self.endpoint, self.sampling, self.sets)[self.which.astype(np.intp)]
        return np.where(members, logistic_weight(self.coefficients @ _design(self, frame).T), 0.0)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        X, y = _design(self, frame), frame.endpoints[self.endpoint]
        linear = self.coefficients @ X.T
        members = training_sets(frame, self.endpoint, self.sampling, self.sets)[self.which.astype(np.intp)]
        small = np.exp(-np.abs(linear))
        loss = np.log1p(small) + np.maximum(np.where(y == 1.0, -linear, linear), 0.0)
        residual = np.where(members, y - logistic_function(linear), 0.0)
        weight = np.where(members, small / np.square(1.0 + small), 0.0)
        return {
            "score": residual @ X,
            "information": self._information(X, weight),
            "log_likelihood": -np.sum(loss, axis=1, where=members),
        }

    def _information(self, X: FloatArray, weight: FloatArray) -> FloatArray:
        """The triangles on end; problems are taken some at a time, as neighbours use much the same predictors."""
        triangles = [np.empty(0)]
        width, working = X.shape[1], self._working()
        for start in range(0, len(working), BATCH):
            pairs = [own[rows] * width + own[columns] for own in working[start : start + BATCH]
                     for rows, columns in (_lower(own.size),)]  # fmt: skip
            used = np.zeros(width * width, dtype=bool)
            for own in pairs:
                used[own] = True
            sums = weighted_products(X, weight[start : start + BATCH], *np.divmod(np.flatnonzero(used), width))
            place = np.cumsum(used) - 1
            triangles += [row[place[own]] for row, own in zip(sums, pairs, strict=True)]
        return np.concatenate(triangles)

    def _working(self) -> list[Indices]:
        ends = np.cumsum(self.sizes.astype(np.intp)).tolist()
        working = self.working.astype(np.intp)
        return [working[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@cache
def _lower(size: int) -> tuple[Indices, Indices]:
    """Rows and columns of the lower triangle of a square matrix."""
    return np.tril_indices(size)


def _design(query: OnSets, frame: Frame) -> FloatArray:
    return np.column_stack([np.ones(frame.n), frame.matrix(query.columns)])


@dataclass(frozen=True)
class Fitted:
    """Converged problems.

    Attributes
    ----------
    coefficients
        (penalties, sets, p + 1) on the scale of the standardised predictors.
    kkt
        (penalties, sets) the largest violation of an optimality condition, of the predictors in standard deviations.
    closing
        The replies to the closing questions.
    rounds
        Rounds, without those of `prepare`.
    stopped
        Why the smallest penalties are left out, or None.
    """

    coefficients: FloatArray
    kkt: FloatArray
    closing: tuple[Any, ...]
    rounds: int
    stopped: FedmviError | None


def fit(
    design: Design, penalty: FloatArray, alpha: float, closing: Callable[[FloatArray], tuple[Ask, ...]]
) -> Conclusion[Fitted]:
    """Fit every penalty, in falling order, on every training set.

    `closing` makes of the final coefficients (penalties, sets, p + 1) the questions of a last round: not earlier,
    because sites answer of one value of them only. A penalty for which some training set would need more coefficients
    than patients allow (631), or at which hardly a patient of some site has weight left (416), ends the path before it.

    Raises
    ------
    FedmviError
        604 no convergence; 416 or 631 where not even the largest penalty can be fitted.
    """
    problems = _Problems(design, penalty, alpha)
    for rounds in range(1, MAX_ROUNDS + 1):
        live = problems.live()
        last = not live.size
        steps = tuple(total(query) for query in problems.queries(live))
        asks = (*steps, *(closing(problems.coefficients()) if last else ()))
        if not asks:
            return Fitted(problems.coefficients(), problems.violation(), (), rounds - 1, problems.stopped)
        try:
            replies = yield asks
        except FedmviError as error:
            if error.number != VANISHING_WEIGHT:
                raise
            # Which problem it was is not told; those of smaller penalties are likelier, and of the last round any.
            levels = np.arange(problems.levels) if last else np.unique(problems.level[live])
            problems.shorten(int(levels[levels.size // 2]), error)
            continue
        problems.receive(live, replies[: len(steps)])
        if last:
            return Fitted(problems.coefficients(), problems.violation(), replies, rounds, problems.stopped)
    raise FedmviError(604, model=design.model)


class _Problems:
    """The state of all problems; problem r has penalty `level[r]` and training set `which[r]`."""

    def __init__(self, design: Design, penalty: FloatArray, alpha: float) -> None:
        self.design, self.levels = design, penalty.size
        self.stopped: FedmviError | None = None
        p, sets = len(design.columns), design.sets
        self.which, self.level = np.tile(np.arange(sets), penalty.size), np.repeat(np.arange(penalty.size), sets)
        self.scale = np.column_stack([np.ones(sets), design.scale])[self.which]
        lasso, ridge = elastic_weights(penalty[self.level], alpha, self.scale)
        lasso[:, 0] = ridge[:, 0] = 0.0
        self.lasso, self.ridge = lasso, ridge
        prevalence = (design.events / design.n)[self.which]
        self.beta = np.zeros((self.which.size, p + 1))
        self.beta[:, 0] = np.log(prevalence / (1.0 - prevalence))
        self.value = -prevalence * np.log(prevalence) - (1.0 - prevalence) * np.log1p(-prevalence)
        self.base, self.gradient = self.beta.copy(), design.slope[self.which]
        self.kkt, self.step = np.full(self.which.size, np.inf), np.full(self.which.size, np.inf)
        self.held, self.asked = np.zeros(self.beta.shape, dtype=bool), np.zeros(self.beta.shape, dtype=bool)
        # Far from its solution, a fold makes do with the Hessian of everybody at the same penalty.
        self.lender = self.level * sets + sets - 1
        self.wanted, self.borrowed = np.zeros(self.beta.shape, dtype=bool), np.zeros(self.which.size, dtype=bool)
        self.hessian: list[FloatArray] = [np.empty((0, 0))] * self.which.size
        everyone = np.arange(self.which.size)
        if design.curvature is None:
            self._ask(everyone, self.gradient)
        else:
            self.held[:] = True
            self.hessian = [design.curvature[s] for s in self.which]
            self._move(everyone)

    def live(self) -> Indices:
        """The problems that have not converged."""
        return np.flatnonzero((self.kkt > KKT_TOLERANCE) & (self.level < self.levels))

    def coefficients(self) -> FloatArray:
        """(penalties, sets, p + 1)."""
        return self.beta.reshape(-1, self.design.sets, self.beta.shape[1])[: self.levels]

    def violation(self) -> FloatArray:
        """(penalties, sets)."""
        return self.kkt.reshape(-1, self.design.sets)[: self.levels]

    def shorten(self, levels: int, why: FedmviError) -> None:
        """End the path before a penalty; the reason is an error where nothing is left of it."""
        if levels == 0:
            raise why
        self.levels, self.stopped = min(levels, self.levels), why

    def queries(self, live: Indices) -> Iterator[PenalisedSums]:
        """The questions of one round about these problems, none too large for one answer."""
        d, size = self.design, self.asked[live].sum(axis=1)
        place = np.cumsum(size * (size + 1) // 2 + len(d.columns) + 2) // ANSWER_SIZE
        for part in np.unique(place):
            own = live[place == part]
            working = np.nonzero(self.asked[own])[1].astype(np.uint64)
            yield PenalisedSums(
                d.cohort, d.recipe, d.endpoint, d.columns, d.sampling, d.sets, self.which[own].astype(np.uint64),
                self.beta[own], working, size[place == part].astype(np.uint64),
            )  # fmt: skip

    def receive(self, live: Indices, replies: tuple[Summary, ...]) -> None:
        """Take the sums at the current coefficients, and go on from there, or back half a step."""
        if not live.size:
            return
        n = self.design.n[self.which[live]]
        gradient = -np.concatenate([reply["score"] for reply in replies]) / n[:, np.newaxis]
        loss = -np.concatenate([reply["log_likelihood"] for reply in replies]) / n
        value = loss + penalty_value(self.beta[live], self.lasso[live], self.ridge[live])
        worse = value > self.value[live] + SLACK * (1.0 + np.abs(value))
        self._store(live, np.concatenate([reply["information"] for reply in replies]))
        back, good = live[worse], live[~worse]
        self.beta[back] = 0.5 * (self.beta[back] + self.base[back])
        self.asked[back] |= self.wanted[back]
        self.asked[back] |= (self.beta[back] != 0.0) & self.asked[back].any(axis=1, keepdims=True)
        self.wanted[back] = False
        self.step[back] *= 0.5
        self.base[good], self.value[good], self.gradient[good] = self.beta[good], value[~worse], gradient[~worse]
        missed = violations(gradient[~worse], self.beta[good], self.lasso[good], self.ridge[good])
        with np.errstate(divide="ignore", invalid="ignore"):
            self.kkt[good] = np.where(missed > 0, missed / self.scale[good], 0.0).max(axis=1)
        self._move(good[self.kkt[good] > KKT_TOLERANCE])

    def _store(self, live: Indices, information: FloatArray) -> None:
        """Keep the Hessians that came, each over the coefficients that were asked, and lend them."""
        sizes = self.asked[live].sum(axis=1)
        ends = np.cumsum(sizes * (sizes + 1) // 2)
        for size in np.unique(sizes[sizes > 0]):
            chosen = np.flatnonzero(sizes == size)
            first = (ends - sizes * (sizes + 1) // 2)[chosen]
            lower = information[first[:, np.newaxis] + np.arange(size * (size + 1) // 2)]
            rows = live[chosen]
            full = symmetric(lower / self.design.n[self.which[rows], np.newaxis], int(size))
            self.held[rows], self.borrowed[rows] = self.asked[rows], False
            for r, hessian in zip(rows, full, strict=True):
                self.hessian[r] = hessian
        for r in live[self.wanted[live].any(axis=1)]:
            place = np.cumsum(self.held[self.lender[r]])[self.wanted[r]] - 1
            self.hessian[r] = self.hessian[self.lender[r]][np.ix_(place, place)]
            self.held[r], self.borrowed[r] = self.wanted[r], True

    def _move(self, rows: Indices) -> None:
        """One proximal Newton step over the coefficients whose Hessian is held."""
        predicted = self.gradient[rows].copy()
        order = np.argsort(self.held[rows].sum(axis=1), kind="stable")
        for start in range(0, order.size, BATCH):
            batch = order[start : start + BATCH]
            own = rows[batch]
            size = self.held[own].sum(axis=1)
            widest = int(size.max())
            place = np.argsort(~self.held[own], axis=1, kind="stable")[:, :widest]
            real = np.arange(widest) < size[:, np.newaxis]
            hessian = np.zeros((own.size, widest, widest))
            hessian[:, np.arange(widest), np.arange(widest)] = 1.0
            for i, r in enumerate(own):
                hessian[i, : size[i], : size[i]] = self.hessian[r]
            here = own[:, np.newaxis], place
            old = np.where(real, self.beta[here], 0.0)
            new = proximal_newton_step(
                np.where(real, self.gradient[here], 0.0), hessian, old,
                np.where(real, self.lasso[here], BARRED), np.where(real, self.ridge[here], 0.0),
            )  # fmt: skip
            change = (hessian @ (new - old)[:, :, np.newaxis])[:, :, 0]
            self.beta[here] = np.where(real, new, self.beta[here])
            predicted[batch[:, np.newaxis], place] += np.where(real, change, 0.0)
        self.step[rows] = np.abs(self.beta[rows] - self.base[rows]).max(axis=1, initial=0.0)
        self._ask(rows, predicted)

    def _ask(self, rows: Indices, predicted: FloatArray) -> None:
        """Choose whose information the next round asks, given the gradients that are expected there."""
        beta, lasso, ridge = self.beta[rows], self.lasso[rows], self.ridge[rows]
        active = ((beta != 0.0) | (lasso == 0.0)).sum(axis=1)
        most = max(self.design.room, 1)
        room = np.full(rows.size, beta.shape[1])
        if self.design.curvature is None:
            room = np.minimum(np.maximum(ROOM, active), most - active)
        asked = working_sets(predicted, beta, lasso, ridge, room, NEAR)
        joins = (violations(predicted, beta, lasso, ridge) > 0.0) & (beta == 0.0) & ~self.held[rows]
        same = (self.step[rows] < CHORD_STEP) & ~joins.any(axis=1) & ~self.borrowed[rows]
        asked[same] = False
        self._share(rows, asked)
        beyond = (active > most) | ((active == most) & joins.any(axis=1))
        if bool(beyond.any()):
            self.shorten(int(self.level[rows[beyond]].min()), FedmviError(631, model=self.design.model, limit=most))

    def _share(self, rows: Indices, asked: NDArray[np.bool_]) -> None:
        """Ask what is needed, or the same of the lender, who then asks what all its borrowers need."""
        lender, lends = self.lender[rows], np.zeros(self.which.size, dtype=bool)
        if self.design.sampling == "folds" and self.design.curvature is not None:
            lends[rows] = asked.any(axis=1)
        borrows = (self.step[rows] > SHARE_STEP) & (rows != lender) & lends[lender]
        self.asked[rows], self.wanted[rows] = asked & ~borrows[:, np.newaxis], asked & borrows[:, np.newaxis]
        np.logical_or.at(self.asked, lender[borrows], asked[borrows])
