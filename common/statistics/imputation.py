"""common/statistics: imputers that are fitted once, without any outcome, and frozen as a step of a recipe.

Median, mean, or chained linear regressions. The last are fitted from sums over the Gram matrix of the data as
completed so far, so they are those of the pooled data, and equal scikit-learn's IterativeImputer with a linear
regression; a site then replays them on its own rows, also a site that took no part in the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion, together
from common.statistics.counts import Missing
from common.statistics.moments import moments
from common.statistics.newton import symmetric
from common.statistics.quantiles import Guard, quantiles
from common.study.chain import ChainedImpute, missing_column
from common.study.recipe import Frame, Impute, Recipe, Standardise
from common.study.table import FloatArray

SWEEPS = 10
RANK_TOLERANCE = 1e-10
"""Singular values of a regression's centred Gram matrix below this share of the largest count as zero."""


@dataclass(frozen=True)
class Imputer:
    """A fitted imputer.

    Attributes
    ----------
    known_
        (columns,) patients with a value.
    step_
        The frozen step for a recipe.
    how_
        `exact`, or `guarded(K)` for a median that gives no patient away.
    """

    columns: tuple[str, ...]
    known_: NDArray[np.int64]
    step_: Impute
    how_: str

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column: known values, and what missing ones become."""
        rows = zip(self.columns, self.known_.tolist(), self.step_.values, strict=True)
        return [{"column": name, "known": known, "value": value, "how": self.how_} for name, known, value in rows]


def median_imputer(cohort: str, recipe: Recipe, columns: tuple[str, ...], guard: Guard | None) -> Conclusion[Imputer]:
    """Missing values become the column's median: the guarded one, or, where `guard` is None, the exact one.

    Raises
    ------
    FedmviError
        As `quantiles`.
    """
    fit = yield from quantiles(cohort, recipe, columns, (0.5,), guard)
    return Imputer(columns, fit.n_, Impute(columns, tuple(fit.at(0.5).tolist())), fit.how_)


def mean_imputer(cohort: str, recipe: Recipe, columns: tuple[str, ...]) -> Conclusion[Imputer]:
    """Missing values become the column's mean; two rounds.

    Raises
    ------
    FedmviError
        601 a column without values.
    """
    fit = yield from moments(cohort, recipe, columns)
    return Imputer(columns, fit.n_.astype(np.int64), Impute(columns, tuple(fit.mean_.tolist())), "exact")


@dataclass(frozen=True)
class ObservedGram(Query):
    """Sums of products of all columns, filled and standardised by the recipe, where one column was observed."""

    name: ClassVar[str] = "query.observed_gram"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    target: int

    def blocks(self) -> Mapping[str, Block]:
        """`gram`: lower triangle over intercept and predictors with the target; `n`: () patients."""
        size = self.parameters + 1
        return {"gram": Block((size * (size + 1) // 2,), Kind.REAL), "n": Block((), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"one regression among {len(self.columns)} columns to fill missing values, cohort {self.cohort}"

    @property
    def parameters(self) -> int:
        """Coefficients of the regression of the target, with the intercept."""
        return len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def consistent(self) -> bool:
        """The target is one of the columns."""
        return 0 <= self.target < len(self.columns)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; error 501 where the recipe fills no values."""
        flag = missing_column(self.columns[self.target])
        if flag not in frame.columns:
            raise FedmviError(501, f"{flag} is not in the frame")
        others = self._others(frame)
        observed = (frame.columns[flag] == 0.0) & ~np.isnan(others).any(axis=1)
        design = np.column_stack([np.ones(frame.n), frame.matrix(self.columns), others])[observed]
        gram = design.T @ design
        return {
            "gram": gram[np.tril_indices(len(gram))],
            "n": np.array(int(np.count_nonzero(observed)), dtype=np.int64),
        }

    def _others(self, frame: Frame) -> FloatArray:
        """(n, k) predictors that are not columns."""
        return np.empty((frame.n, 0))


@dataclass(frozen=True)
class ChainedImputer:
    """Fitted chained regressions.

    Attributes
    ----------
    missing_
        (columns,) patients without a value; a column that all have gets no regression, only its mean.
    step_
        The frozen step for a recipe.
    change_
        Largest change of a coefficient in the last sweep, on standardised columns.
    """

    columns: tuple[str, ...]
    missing_: NDArray[np.int64]
    step_: ChainedImpute
    change_: float

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column: missing values, its mean, and the limits of filled values."""
        step = self.step_
        rows = zip(self.columns, self.missing_.tolist(), step.mean, step.scale, step.low, step.high, strict=True)
        names = ("column", "missing", "mean", "std", "low", "high")
        return [dict(zip(names, row, strict=True)) for row in rows]


def chained_imputer(
    cohort: str,
    recipe: Recipe,
    columns: tuple[str, ...],
    low: tuple[float, ...],
    high: tuple[float, ...],
    sweeps: int = SWEEPS,
) -> Conclusion[ChainedImputer]:
    """Chained linear regressions of each column with missing values on all others, in their order.

    Equals scikit-learn's IterativeImputer(LinearRegression(), imputation_order="roman", tol=0, max_iter=sweeps,
    min_value=low, max_value=high). Each regression needs the values that the one before has filled, so it takes two
    rounds, and one a sweep and column with missing values. Where predictors are collinear, the slopes are those of
    least norm on the standardised scale.

    Parameters
    ----------
    low, high
        (columns,) limits of filled values, such as plausibility bounds, in the columns' units. Those of a binary
        column should lie strictly between its levels, so that a filled value is never taken for a known one.

    Raises
    ------
    FedmviError
        601 a column without values, 603 a constant column, 611 too few known values for a regression.
    """
    missing, step, standard = yield from start(cohort, recipe, columns, low, high)
    targets = tuple(np.flatnonzero(missing).tolist())
    before = after = np.zeros((len(targets), 1 + len(columns)))
    for _ in range(sweeps):
        before, after = after, np.zeros_like(after)
        for i, target in enumerate(targets):
            sums = yield total(ObservedGram(cohort, recipe.then(step, standard), columns, target))
            if int(sums["n"]) <= len(columns):
                raise FedmviError(611, column=columns[target], cohort=cohort)
            after[i] = _regression(symmetric(sums["gram"], 1 + len(columns)), target)
            step = replace(
                step, targets=(*step.targets, target), coefficients=(*step.coefficients, tuple(after[i].tolist()))
            )
    return ChainedImputer(columns, missing, step, float(np.max(np.abs(after - before), initial=0.0)))


def start(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], low: tuple[float, ...], high: tuple[float, ...]
) -> Conclusion[tuple[NDArray[np.int64], ChainedImpute, Standardise]]:
    """Missing values of each column, the step that fills them with means, and the standardisation after it.

    Raises
    ------
    FedmviError
        601 a column without values, 603 a constant column.
    """
    fit, missing = yield from together(moments(cohort, recipe, columns), _missing(cohort, recipe, columns))
    fit.require_spread("imputation")
    mean, scale = tuple(fit.mean_.tolist()), tuple(fit.std_.tolist())
    return missing, ChainedImpute(columns, mean, scale, low, high, (), ()), fit.standardising


def _missing(cohort: str, recipe: Recipe, columns: tuple[str, ...]) -> Conclusion[NDArray[np.int64]]:
    counts: Summary = yield total(Missing(cohort, recipe, columns, 0, False))
    return counts["missing"]


def _regression(gram: FloatArray, target: int) -> FloatArray:
    """(1 + columns,) intercept and slopes of the target on the other columns, 0 at the target itself."""
    others = np.delete(np.arange(1, len(gram)), target)
    mean = gram[0] / gram[0, 0]
    centred = gram - gram[0, 0] * np.outer(mean, mean)
    slopes = np.linalg.lstsq(centred[np.ix_(others, others)], centred[others, 1 + target], rcond=RANK_TOLERANCE)[0]
    coefficients = np.zeros(len(gram))
    coefficients[0] = mean[1 + target] - slopes @ mean[others]
    coefficients[others] = slopes
    return coefficients
