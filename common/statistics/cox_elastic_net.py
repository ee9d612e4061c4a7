"""common/statistics: the LASSO and elastic-net path of a Cox model stratified by site, and the choice of its penalty.

Minimises, for each penalty lambda, -(log partial likelihood)/n + lambda (alpha |b|_1 + (1 - alpha) |b|_2^2 / 2) over
the coefficients b of standardised predictors (n in the denominator of their variance; Simon, Friedman, Hastie &
Tibshirani, J Stat Softw 2011;39(5)). The penalty is chosen by the cross-validated partial likelihood of Verweij & van
Houwelingen (Stat Med 1993;12:2305): what the patients of a fold add to the likelihood of the others under the model
that was fitted without them. Each training set is standardised by its own moments, folds weigh by their events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import Ask, total
from common.federation.runner import Conclusion
from common.statistics.partial_likelihood import Ties
from common.statistics.penalised_cox import CoxDesign, Fitted, fit, prepare
from common.statistics.penalty import best_penalties, cross_validation_curve, penalties
from common.study.recipe import Recipe
from common.study.table import FloatArray


@dataclass(frozen=True)
class CoxElasticNetPath:
    """Coefficients at falling penalties.

    Attributes
    ----------
    columns
        Names of the predictors.
    alpha_
        Share of the L1 norm.
    lambda_
        (penalties,).
    coef_path_
        (penalties, p) log hazard ratios on the predictors' own scale.
    log_likelihood_
        (penalties,) log partial likelihood.
    kkt_
        The largest violation of an optimality condition by any model, for standardised predictors.
    n_, events_, rounds_
        Patients, patients with the event, and rounds.
    """

    columns: tuple[str, ...]
    alpha_: float
    lambda_: FloatArray
    coef_path_: FloatArray
    log_likelihood_: FloatArray
    kkt_: float
    n_: int
    events_: int
    rounds_: int

    @property
    def degrees(self) -> tuple[int, ...]:
        """Predictors in the model at each penalty."""
        return tuple(np.count_nonzero(self.coef_path_, axis=1).tolist())

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a penalty: predictors in the model, and the coefficient of each."""
        rows = zip(self.lambda_.tolist(), self.degrees, self.coef_path_.tolist(), strict=True)
        return [
            {"lambda": penalty, "degrees": degrees, **dict(zip(self.columns, coef, strict=True))}
            for penalty, degrees, coef in rows
        ]


@dataclass(frozen=True)
class CoxElasticNetResult:
    """A path with the penalties that cross-validation chooses.

    Attributes
    ----------
    path
        Fitted on all patients.
    cvm_, cvsd_
        (penalties,) mean held-out deviance per event, and its standard error.
    lambda_min_, lambda_1se_
        The penalty of least deviance, and the largest within one standard error of it.
    coef_min_, coef_1se_
        (p,) there.
    folds_
        Number of folds.
    """

    path: CoxElasticNetPath
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


def cox_elastic_net(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    *,
    alpha: float = 1.0,
    lambdas: tuple[float, ...] = (),
    count: int = 60,
    ratio: float = 0.01,
    ties: Ties = Ties.EFRON,
    model: str = "",
) -> Conclusion[CoxElasticNetPath]:
    """The path on all patients, with a baseline hazard for each site; the recipe must leave complete cases.

    Penalties are `lambdas`, or `count` of them from the smallest that leaves all predictors out down to `ratio` times
    it. It is not invariant to how patients are spread over sites: sites are part of the model.

    Raises
    ------
    FedmviError
        601 no patients, 602 no events, 603 a constant predictor, 604 no convergence, 632 unsound penalties.
    """
    path, _, _ = yield from _path(cohort, recipe, endpoint, columns, 0, alpha, lambdas, count, ratio, ties, model)
    return path


def cox_elastic_net_cv(
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
    ties: Ties = Ties.EFRON,
    model: str = "",
) -> Conclusion[CoxElasticNetResult]:
    """The path on all patients, and its penalty chosen by cross-validation over the folds 0 to `folds` - 1 of the
    column `fold` that the recipe leaves; other parameters and errors as for `cox_elastic_net`, and 651 for a fold
    that has no event, or all of them.
    """
    path, design, fitted = yield from _path(
        cohort, recipe, endpoint, columns, folds, alpha, lambdas, count, ratio, ties, model
    )
    weight = (design.events[-1] - design.events[:-1]).astype(np.float64)
    everybody = fitted.closing[0]["log_likelihood"].reshape(folds, -1).T
    held_out = -2.0 * (everybody - fitted.log_likelihood[:, :-1]) / weight
    cvm, cvsd = cross_validation_curve(held_out, weight)
    least, simple = best_penalties(cvm, cvsd)
    return CoxElasticNetResult(
        path=path,
        cvm_=cvm,
        cvsd_=cvsd,
        lambda_min_=float(path.lambda_[least]),
        lambda_1se_=float(path.lambda_[simple]),
        coef_min_=path.coef_path_[least],
        coef_1se_=path.coef_path_[simple],
        folds_=folds,
    )


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
    ties: Ties,
    model: str,
) -> Conclusion[tuple[CoxElasticNetPath, CoxDesign, Fitted]]:
    """All penalties on all training sets, the last of which is everybody."""
    given = np.asarray(lambdas, dtype=np.float64)
    sound = bool(np.all(given > 0) and np.all(np.diff(given) < 0)) and count >= 1 and 0.0 < ratio < 1.0
    if not sound or not 0.0 < alpha <= 1.0:
        raise FedmviError(632, model=model)
    design = yield from prepare(cohort, recipe, endpoint, columns, folds + 1, ties, model)

    def chosen(score: FloatArray) -> FloatArray:
        return given if given.size else penalties(float(np.max(np.abs(score))) / alpha, count, ratio)

    def everybody(coefficients: FloatArray) -> tuple[Ask, ...]:
        """The likelihood of all patients under the models that were fitted without a fold."""
        if not folds:
            return ()
        models = np.swapaxes(coefficients[:, :-1], 0, 1).reshape(-1, len(columns))
        return (total(design.question(np.full(len(models), folds), models, derivatives=False)),)

    penalty, fitted = yield from fit(design, chosen, alpha, everybody)
    path = CoxElasticNetPath(
        columns=columns,
        alpha_=alpha,
        lambda_=penalty,
        coef_path_=fitted.coefficients[:, -1] / design.own_scale,
        log_likelihood_=fitted.log_likelihood[:, -1],
        kkt_=fitted.kkt,
        n_=int(design.n[-1]),
        events_=int(design.events[-1]),
        rounds_=fitted.rounds + 3,
    )
    return path, design, fitted
