"""common/statistics: multiple imputation by chained equations, for inference from incomplete data.

Several imputations are drawn in lock-step (van Buuren, Stat Methods Med Res 2007;16:219). The server draws each
regression's parameters from their posterior given the summed Gram matrix (Rubin, Multiple Imputation for Nonresponse
in Surveys, 1987, p. 167; a linear model for every column, also a binary one, whose filled values are not rounded:
Horton, Lipsitz & Parzen, Am Stat 2003;57:229). The noise of each missing value is drawn at its site from the
patient's key. The outcome is among the predictors, as it must be for inference (Moons et al., J Clin Epidemiol
2006;59:1092), so these imputations are never for prediction. Fits to them are combined by Rubin's rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import total
from common.federation.runner import Conclusion, together
from common.statistics.distributions import student_quantile, student_two_sided_p
from common.statistics.imputation import SWEEPS, ObservedGram, start
from common.statistics.logistic import LogisticResult, logistic
from common.statistics.newton import symmetric
from common.study.chain import DrawnImpute
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

COLLINEAR = 1e-11
"""Smallest eigenvalue of a Gram matrix, a patient, below which its predictors are linearly dependent."""


@dataclass(frozen=True)
class OutcomeGram(ObservedGram):
    """Sums of products of all columns and a binary endpoint, where one column and the endpoint were observed."""

    name: ClassVar[str] = "query.outcome_gram"

    endpoint: str

    @property
    def parameters(self) -> int:
        """Coefficients of the regression of the target, with the intercept."""
        return len(self.columns) + 1

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    @property
    def draws(self) -> bool:
        """Filled values have noise from the patients' keys."""
        return True

    def _others(self, frame: Frame) -> FloatArray:
        """(n, 1) the endpoint."""
        return frame.endpoints[self.endpoint][:, np.newaxis]


@dataclass(frozen=True)
class MultipleImputation:
    """Drawn imputations.

    Attributes
    ----------
    missing_
        (columns,) patients without a value.
    steps_
        One step for a recipe an imputation.
    trace_
        (sweeps, imputations, columns) mean of each column as filled before each sweep, in standard deviations, over
        the patients in whom the first column with missing values is known; chains that have mixed overlap and show
        no trend.
    """

    columns: tuple[str, ...]
    endpoint: str
    missing_: NDArray[np.int64]
    steps_: tuple[DrawnImpute, ...]
    trace_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column: missing values, and its mean as filled in the end, least and largest of the imputations."""
        last = self.trace_[-1] if len(self.trace_) else np.zeros((1, len(self.columns)))
        rows = zip(
            self.columns, self.missing_.tolist(), last.min(axis=0).tolist(), last.max(axis=0).tolist(), strict=True
        )
        return [{"column": c, "missing": n, "filled_low": low, "filled_high": high} for c, n, low, high in rows]


def multiple_imputation(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    low: tuple[float, ...],
    high: tuple[float, ...],
    imputations: int,
    rng: np.random.Generator,
    sweeps: int = SWEEPS,
) -> Conclusion[MultipleImputation]:
    """Draw imputations of all columns with missing values, all in lock-step.

    Two rounds, and one a sweep and column with missing values. Patients without the endpoint take no part.

    Parameters
    ----------
    low, high
        (columns,) limits of filled values; see `chained_imputer`. They cut the noise, so they should be wide.
    rng
        Draws the regressions; with the patients' keys it determines every filled value.

    Raises
    ------
    FedmviError
        601 a column without values, 603 constant or linearly dependent predictors, 611 too few known values.
    """
    missing, blank, standard = yield from start(cohort, recipe, columns, low, high)
    targets = tuple(np.flatnonzero(missing).tolist())
    first = DrawnImpute(columns, blank.mean, blank.scale, low, high, (), endpoint, (), (), 0)
    steps = [replace(first, draw=draw) for draw in range(imputations)]
    trace = np.zeros((sweeps, imputations, len(columns)))
    for sweep in range(sweeps):
        for target in targets:
            replies = yield tuple(
                total(OutcomeGram(cohort, recipe.then(step, standard), columns, target, endpoint)) for step in steps
            )
            n = int(replies[0]["n"])
            grams = np.stack([symmetric(reply["gram"], 2 + len(columns)) for reply in replies])
            if n <= 1 + len(columns):
                raise FedmviError(611, column=columns[target], cohort=cohort)
            if target == targets[0]:
                trace[sweep] = grams[:, 0, 1:-1] / n
            coefficients, residual = _draw(grams, target, n, rng)
            steps = [
                replace(
                    step,
                    targets=(*step.targets, target),
                    coefficients=(*step.coefficients, tuple(row.tolist())),
                    residual=(*step.residual, float(noise)),
                )
                for step, row, noise in zip(steps, coefficients, residual, strict=True)
            ]
    return MultipleImputation(columns, endpoint, missing, tuple(steps), trace)


def _draw(grams: FloatArray, target: int, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """(draws, size) coefficients, 0 at the target, and (draws,) residual SD, from their posterior.

    sigma^2 = RSS / chi^2(n - q); beta = estimate + sigma * L^-T z with X'X = L L'. `grams` are (draws, size, size)
    over intercept, columns and endpoint.
    """
    draws, size, _ = grams.shape
    kept = np.delete(np.arange(size), 1 + target)
    inner, cross = grams[:, kept[:, np.newaxis], kept], grams[:, kept, 1 + target]
    if float(np.linalg.eigvalsh(inner)[:, 0].min()) < COLLINEAR * n:
        raise FedmviError(603, model="imputation")
    estimate = np.linalg.solve(inner, cross[..., np.newaxis])[..., 0]
    rss = np.maximum(grams[:, 1 + target, 1 + target] - np.sum(estimate * cross, axis=1), 0.0)
    sigma = np.sqrt(rss / rng.chisquare(n - kept.size, size=draws))
    z = rng.standard_normal((draws, kept.size, 1))
    spread = np.linalg.solve(np.linalg.cholesky(inner).transpose(0, 2, 1), z)[..., 0]
    coefficients = np.zeros((draws, size))
    coefficients[:, kept] = estimate + sigma[:, np.newaxis] * spread
    return coefficients, sigma


@dataclass(frozen=True)
class Combined:
    """Estimates from several imputations, combined by Rubin's rules.

    Attributes
    ----------
    columns
        Names of the parameters.
    coef_, std_err_
        (p,) mean estimate and square root of its total variance.
    within_, between_, total_
        (p, p) mean covariance of the fits, covariance between the estimates, and
        within + (1 + 1/m) between.
    degrees_
        (p,) degrees of freedom of the t reference distribution, for a complete sample of finite size.
    missing_information_
        (p,) fraction of the information that is missing.
    imputations_
        Their number m.
    """

    columns: tuple[str, ...]
    coef_: FloatArray
    std_err_: FloatArray
    within_: FloatArray
    between_: FloatArray
    total_: FloatArray
    degrees_: FloatArray
    missing_information_: FloatArray
    imputations_: int

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a parameter: estimate, error, 95 % interval, t and p, odds ratio, missing information."""
        half = student_quantile(0.975, self.degrees_) * self.std_err_
        t = self.coef_ / self.std_err_
        p = student_two_sided_p(t, self.degrees_)
        return [
            {
                "term": name,
                "coef": float(self.coef_[i]),
                "std_err": float(self.std_err_[i]),
                "coef_low": float(self.coef_[i] - half[i]),
                "coef_high": float(self.coef_[i] + half[i]),
                "t": float(t[i]),
                "degrees": float(self.degrees_[i]),
                "p": float(p[i]),
                "odds_ratio": float(np.exp(self.coef_[i])),
                "odds_ratio_low": float(np.exp(self.coef_[i] - half[i])),
                "odds_ratio_high": float(np.exp(self.coef_[i] + half[i])),
                "missing_information": float(self.missing_information_[i]),
            }
            for i, name in enumerate(self.columns)
        ]


def rubin(columns: tuple[str, ...], coef: FloatArray, covariance: FloatArray, complete_degrees: float) -> Combined:
    """Combine the fits to m imputations (Rubin 1987, ch. 3; degrees: Barnard & Rubin, Biometrika 1999;86:948, eq. 3).

    Parameters
    ----------
    coef, covariance
        (m, p) and (m, p, p), m of two or more.
    complete_degrees
        Degrees of freedom that complete data would have.

    Raises
    ------
    ValueError
        Where there are fewer than two imputations.
    """
    m = len(coef)
    if m < 2:
        raise ValueError("two imputations at least are needed")
    estimate, within = coef.mean(axis=0), covariance.mean(axis=0)
    between = (coef - estimate).T @ (coef - estimate) / (m - 1)
    total_ = within + (1 + 1 / m) * between
    added = (1 + 1 / m) * np.diag(between)
    with np.errstate(divide="ignore"):
        share = added / np.diag(total_)
        old = (m - 1) / np.square(share)
    observed = (complete_degrees + 1) / (complete_degrees + 3) * complete_degrees * (1 - share)
    # Written so that without any variance between imputations the degrees are those of the observed data.
    degrees = observed / (1 + observed / old)
    ratio = added / np.diag(within)
    information = (ratio + 2 / (degrees + 3)) / (1 + ratio)
    return Combined(columns, estimate, np.sqrt(np.diag(total_)), within, between, total_, degrees, information, m)


@dataclass(frozen=True)
class ImputedLogistic:
    """A logistic regression fitted to every imputation.

    Attributes
    ----------
    combined_
        The fits by Rubin's rules; NaN where any of them is separated.
    fits_
        One fit an imputation.
    """

    combined_: Combined
    fits_: tuple[LogisticResult, ...]

    @property
    def summary(self) -> list[dict[str, Any]]:
        """As `Combined`."""
        return self.combined_.summary


def imputed_logistic(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], imputation: MultipleImputation, model: str = ""
) -> Conclusion[ImputedLogistic]:
    """Logistic regression of the imputation's endpoint on some of its columns, over all imputations in lock-step.

    The recipe is that of the imputation, and leaves only patients with the endpoint.

    Raises
    ------
    FedmviError
        As `logistic`.
    """
    endpoint = imputation.endpoint
    fits: list[LogisticResult] = yield from together(
        *(logistic(cohort, recipe.then(step), endpoint, columns, model) for step in imputation.steps_)
    )
    coef, covariance = np.stack([fit.coef_ for fit in fits]), np.stack([fit.covariance_ for fit in fits])
    combined = rubin(fits[0].columns, coef, covariance, float(fits[0].n_ - len(columns) - 1))
    return ImputedLogistic(combined, tuple(fits))
