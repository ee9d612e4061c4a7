"""common/statistics: the LASSO and elastic-net path of a logistic model, and the choice of its penalty by
cross-validation.

Minimises, for each penalty lambda, -(log-likelihood)/n + lambda (alpha |b|_1 + (1 - alpha) |b|_2^2 / 2) over the
coefficients b of standardised predictors (n in the denominator of their variance), the intercept free (Friedman,
Hastie & Tibshirani, J Stat Softw 2010;33(1), eq. 14). Cross-validation follows their `cv.glmnet`: each training set is
standardised by its own moments, the held-out deviance is clipped, folds are weighted by their patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Ask, Block, Kind, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.logistic import logistic_weight
from common.statistics.penalised_logistic import Fitted, fit
from common.statistics.penalty import best_penalties, cross_validation_curve, penalties
from common.statistics.training_sets import Design, OnSets, prepare
from common.study.recipe import Frame, Recipe, logistic_function
from common.study.table import FloatArray

MAX_PENALTIES = 1000
CLIP = 1e-5
"""Held-out probabilities are kept this far from 0 and 1."""


@dataclass(frozen=True)
class HeldOut(OnSets):
    """Deviance of the patients of each fold under models that were fitted without it.

    `coefficients` are (penalties, folds, p + 1), intercept first.
    """

    name: ClassVar[str] = "query.held_out"
    risk: ClassVar[Risk] = Risk.SUM

    coefficients: FloatField

    @property
    def once_by_row(self) -> tuple[str, ...]:
        """See `Query`: a path ends earlier where a site refuses its last penalties."""
        return ("coefficients",)

    def blocks(self) -> Mapping[str, Block]:
        """`deviance` (penalties, folds)."""
        return {"deviance": Block(self.coefficients.shape[:2], Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        penalties_ = self.coefficients.shape[0] if self.coefficients.ndim else 0
        return f"deviance of {self.endpoint} in {self.folds} folds at {penalties_} penalties, cohort {self.cohort}"

    def consistent(self) -> bool:
        """See `Query`."""
        shape = self.coefficients.shape
        sized = len(shape) == 3 and shape[0] <= MAX_PENALTIES
        return sized and super().consistent() and self.folds > 0 and shape[1:] == (self.folds, len(self.columns) + 1)

    def influence(self, frame: Frame) -> FloatArray:
        """(penalties, folds, n) 4 mu (1 - mu) of each patient of a fold under its models."""
        weight = np.zeros((*self.coefficients.shape[:2], frame.n))
        for k, out in enumerate(self._out(frame)):
            weight[:, k, out] = logistic_weight(self._linear(frame, k, out))
        return weight

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        y = frame.endpoints[self.endpoint]
        deviance = np.zeros(self.coefficients.shape[:2])
        for k, out in enumerate(self._out(frame)):
            chance = np.clip(logistic_function(self._linear(frame, k, out)), CLIP, 1.0 - CLIP)
            deviance[:, k] = -2.0 * np.log(np.where(y[out] == 1.0, chance, 1.0 - chance)).sum(axis=1)
        return {"deviance": deviance}

    def _out(self, frame: Frame) -> list[NDArray[np.intp]]:
        return [np.flatnonzero(frame.columns["fold"] == k) for k in range(self.folds)]

    def _linear(self, frame: Frame, k: int, rows: NDArray[np.intp]) -> FloatArray:
        linear: FloatArray = self.coefficients[:, k, 1:] @ frame.matrix(self.columns)[rows].T
        return linear + self.coefficients[:, k, :1]


@dataclass(frozen=True)
class ElasticNetPath:
    """Coefficients at falling penalties.

    Attributes
    ----------
    columns
        Names of the coefficients, `intercept` first.
    alpha_
        Share of the L1 norm.
    lambda_
        (penalties,).
    coef_path_
        (penalties, p + 1) on the predictors' own scale.
    kkt_
        The largest violation of an optimality condition by any model, for standardised predictors.
    n_, events_, rounds_
        Patients, patients with the endpoint, and rounds.
    stopped_
        Number of the error for which smaller penalties were left out, or 0.
    mean_, std_
        (p,) of each predictor, over all patients.
    """

    columns: tuple[str, ...]
    alpha_: float
    lambda_: FloatArray
    coef_path_: FloatArray
    kkt_: float
    n_: int
    events_: int
    rounds_: int
    stopped_: int
    mean_: FloatArray = field(default_factory=lambda: np.empty(0))
    std_: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def degrees(self) -> tuple[int, ...]:
        """Predictors in the model at each penalty."""
        return tuple(np.count_nonzero(self.coef_path_[:, 1:], axis=1).tolist())

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a penalty: predictors in the model, and the coefficient of each."""
        rows = zip(self.lambda_.tolist(), self.degrees, self.coef_path_.tolist(), strict=True)
        return [
            {"lambda": penalty, "degrees": degrees, **dict(zip(self.columns, coef, strict=True))}
            for penalty, degrees, coef in rows
        ]


@dataclass(frozen=True)
class ElasticNetResult:
    """A path with the penalties that cross-validation chooses.

    Attributes
    ----------
    path
        Fitted on all patients.
    cvm_, cvsd_
        (penalties,) mean held-out deviance per patient, and its standard error.
    lambda_min_, lambda_1se_
        The penalty of least deviance, and the largest within one standard error of it.
    coef_min_, coef_1se_
        (p + 1,) there.
    folds_
        Number of folds.
    """

    path: ElasticNetPath
    cvm_: FloatArray
    cvsd_: FloatArray
    lambda_min_: float
    lambda_1se_: float
    coef_min_: FloatArray
    coef_1se_: FloatArray
    folds_: int

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a predictor: its coefficients at both penalties, 0 where it is left out."""
        rows = zip(self.path.columns, self.coef_min_, self.coef_1se_, strict=True)
        return [{"term": term, "coef_min": float(a), "coef_1se": float(b)} for term, a, b in rows]


def elastic_net(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    *,
    alpha: float = 1.0,
    lambdas: tuple[float, ...] = (),
    count: int = 60,
    ratio: float = 0.01,
    model: str = "",
) -> Conclusion[ElasticNetPath]:
    """The path on all patients; the recipe must leave complete cases.

    Penalties are `lambdas`, or `count` of them from the smallest that leaves all predictors out down to `ratio` times
    it. See `fit` for what may end the path early.

    Raises
    ------
    FedmviError
        601 no patients, 602 one class only, 603 a constant predictor, 604 no convergence, 630 fewer than five patients
        of a class, 631 too many coefficients, 632 unsound penalties.
    """
    path, _, _ = yield from _path(cohort, recipe, endpoint, columns, 0, alpha, lambdas, count, ratio, model)
    return path


def elastic_net_cv(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    *,
    folds: int = 10,
    alpha: float = 1.0,
    lambdas: tuple[float, ...] = (),
    count: int = 60,
    ratio: float = 0.01,
    model: str = "",
) -> Conclusion[ElasticNetResult]:
    """The path on all patients, and its penalty chosen by cross-validation over the folds 0 to `folds` - 1 of the
    column `fold` that the recipe leaves; other parameters and errors as for `elastic_net`.
    """
    path, design, fitted = yield from _path(
        cohort, recipe, endpoint, columns, folds, alpha, lambdas, count, ratio, model
    )
    weight = design.n[-1] - design.n[:-1]
    cvm, cvsd = cross_validation_curve(fitted.closing[0]["deviance"] / weight, weight)
    least, simple = best_penalties(cvm, cvsd)
    return ElasticNetResult(
        path, cvm, cvsd, float(path.lambda_[least]), float(path.lambda_[simple]), path.coef_path_[least],
        path.coef_path_[simple], folds,
    )  # fmt: skip


def _path(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    folds: int,
    alpha: float,
    lambdas: tuple[float, ...],
    count: int,
    ratio: float,
    model: str,
) -> Conclusion[tuple[ElasticNetPath, Design, Fitted]]:
    """All penalties on all training sets, the last of which is everybody."""
    given = np.asarray(lambdas, dtype=np.float64)
    sound = bool(np.all(given > 0) and np.all(np.diff(given) < 0)) and count >= 1 and 0.0 < ratio < 1.0
    if not sound or not 0.0 < alpha <= 1.0:
        raise FedmviError(632, model=model)
    design = yield from prepare(cohort, recipe, endpoint, columns, "folds", folds + 1, model)
    penalty = given if given.size else penalties(design.largest(alpha, -1), count, ratio)

    def held_out(coefficients: FloatArray) -> tuple[Ask, ...]:
        if not folds:
            return ()
        d = design
        return (total(HeldOut(d.cohort, d.recipe, d.endpoint, d.columns, d.sampling, d.sets, coefficients[:, :-1])),)

    fitted = yield from fit(design, penalty, alpha, held_out)
    path = ElasticNetPath(
        columns=("intercept", *columns),
        alpha_=alpha,
        lambda_=penalty[: len(fitted.coefficients)],
        coef_path_=design.own_scale(fitted.coefficients[:, -1]),
        kkt_=float(fitted.kkt.max()),
        n_=int(design.n[-1]),
        events_=int(design.events[-1]),
        rounds_=design.rounds + fitted.rounds,
        stopped_=fitted.stopped.number if fitted.stopped else 0,
        mean_=design.mean,
        std_=design.std,
    )
    return path, design, fitted
