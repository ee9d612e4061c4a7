"""common/statistics: t tests of many columns at once between the classes of a binary endpoint.

Within sites: each column is centred by its site's mean, so that a difference between the sites is not taken for one
between the classes. This is the t test of the endpoint in a linear model with an intercept a site: by the theorem of
Frisch, Waugh and Lovell (Lovell, J Am Stat Assoc 1963;58:993) the centred sums determine it, and no site's mean is
told. Across sites: Student's and Welch's tests (Welch, Biometrika 1947;34:28), as if there were one site only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.distributions import student_quantile, student_two_sided_p
from common.statistics.moments import Moments, moments
from common.study.recipe import Frame, Recipe, Standardise
from common.study.table import FloatArray

CONSTANT = 1e-12
"""Standard deviation over mean below which a column is constant up to rounding."""

ROUNDING = 1e-13
"""Share of a sum of squares that rounding may leave of a difference that is zero."""


@dataclass(frozen=True)
class _ByClass(Query):
    """A query over columns that tells the classes of a binary endpoint apart."""

    endpoint: str
    columns: tuple[str, ...]

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint


@dataclass(frozen=True)
class ClassMoments(_ByClass):
    """Counts, sums and sums of squares of standardised columns by class of an endpoint."""

    name: ClassVar[str] = "query.class_moments"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `sum`, `square`: (2, columns) each, the class without the endpoint first."""
        shape = (2, len(self.columns))
        return {"n": Block(shape, Kind.COUNT), "sum": Block(shape, Kind.REAL), "square": Block(shape, Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"sums of {len(self.columns)} columns by class of {self.endpoint}, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """Missing values are left out, column by column."""
        values, y = frame.matrix(self.columns), frame.endpoints[self.endpoint]
        classes = np.stack([y == 0.0, y == 1.0])[:, :, np.newaxis] & ~np.isnan(values)
        values = np.where(np.isnan(values), 0.0, values)
        return {
            "n": classes.sum(axis=1).astype(np.int64),
            "sum": np.where(classes, values, 0.0).sum(axis=1),
            "square": np.where(classes, np.square(values), 0.0).sum(axis=1),
        }


@dataclass(frozen=True)
class WithinSiteProducts(_ByClass):
    """Sums of squares and products of standardised columns and the endpoint, each centred by the site's own mean."""

    name: ClassVar[str] = "query.within_site_products"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """(columns,) each: `n` patients, `positives` of them, `sites` with any, `xx`, `xy`, `yy` sums."""
        shape = (len(self.columns),)
        counts = dict.fromkeys(("n", "positives", "sites"), Block(shape, Kind.COUNT))
        return {**counts, **dict.fromkeys(("xx", "xy", "yy"), Block(shape, Kind.REAL))}

    def words(self) -> str:
        """See `Query`."""
        return f"products of {len(self.columns)} columns and {self.endpoint} within sites, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """Missing values are left out, column by column."""
        values, endpoint = frame.matrix(self.columns), frame.endpoints[self.endpoint][:, np.newaxis]
        known = ~np.isnan(values) & ~np.isnan(endpoint)
        n = known.sum(axis=0)
        x, y = (np.where(known, part, 0.0) for part in (values, endpoint))
        positives = y.sum(axis=0)
        x, y = (np.where(known, part - part.sum(axis=0) / np.maximum(n, 1), 0.0) for part in (x, y))
        return {
            "n": n.astype(np.int64),
            "positives": positives.astype(np.int64),
            "sites": (n > 0).astype(np.int64),
            "xx": np.square(x).sum(axis=0),
            "xy": (x * y).sum(axis=0),
            "yy": np.square(y).sum(axis=0),
        }


@dataclass(frozen=True)
class TTest:
    """One t test a column.

    Attributes
    ----------
    difference_
        (columns,) mean of those with the endpoint less mean of those without, in the column's unit; within sites
        the coefficient of the endpoint.
    std_err_, t_, degrees_, p_
        (columns,) its standard error, t statistic, degrees of freedom and two-sided p; NaN where the column is
        constant or one class has too few known values.
    low_, high_
        (columns,) its 95 % interval.
    n_, positives_
        (columns,) patients with a known value, and those of them with the endpoint.
    method_
        `within-site`, `student` or `welch`.
    """

    columns: tuple[str, ...]
    difference_: FloatArray
    std_err_: FloatArray
    t_: FloatArray
    degrees_: FloatArray
    p_: FloatArray
    low_: FloatArray
    high_: FloatArray
    n_: FloatArray
    positives_: FloatArray
    method_: str

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column."""
        names = ("difference", "std_err", "low", "high", "t", "degrees", "p", "n", "positives")
        rows = zip(*(getattr(self, f"{name}_").tolist() for name in names), strict=True)
        return [
            {"column": c, "method": self.method_, **dict(zip(names, row, strict=True))}
            for c, row in zip(self.columns, rows, strict=True)
        ]


@dataclass(frozen=True)
class TTests:
    """The tests across sites, as if there were one site only: with equal and with unequal variances of the classes."""

    student_: TTest
    welch_: TTest

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a test and column."""
        return [*self.student_.summary, *self.welch_.summary]


def within_site_t_test(cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...]) -> Conclusion[TTest]:
    """The t test of each column between the classes of a binary endpoint, adjusted for the site; three rounds.

    Equals the test of the endpoint in a linear regression of the column on the endpoint and the sites.

    Raises
    ------
    FedmviError
        601 a column without values, 602 one class only.
    """
    scale, standard = yield from _standardised(cohort, recipe, columns)
    sums = yield total(WithinSiteProducts(cohort, standard, endpoint, columns))
    n, positives, sites = (sums[key].astype(np.float64) for key in ("n", "positives", "sites"))
    _two_classes(n - positives, positives, endpoint, cohort)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = sums["xy"] / sums["yy"]
        residual = _above_rounding(sums["xx"] - slope * sums["xy"], np.maximum(sums["xx"], ROUNDING * n))
        degrees = n - sites - 1
        std_err = np.sqrt(residual / degrees / sums["yy"])
    return _test(columns, slope, std_err, degrees, scale, n, positives, "within-site")


def t_test(cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...]) -> Conclusion[TTests]:
    """Student's and Welch's t tests of each column between the classes of a binary endpoint; three rounds.

    Sites are not told apart: a difference between sites of unlike prevalence counts as one between the classes.

    Raises
    ------
    FedmviError
        601 a column without values, 602 one class only.
    """
    scale, standard = yield from _standardised(cohort, recipe, columns)
    sums = yield total(ClassMoments(cohort, standard, endpoint, columns))
    n = sums["n"].astype(np.float64)
    _two_classes(n[0], n[1], endpoint, cohort)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums["sum"] / n
        squares = _above_rounding(sums["square"] - n * np.square(mean), sums["square"])
        student_degrees = n.sum(axis=0) - 2
        student = np.sqrt(squares.sum(axis=0) / student_degrees * (1 / n).sum(axis=0))
        part = squares / (n - 1) / n
        welch_degrees = np.square(part.sum(axis=0)) / (np.square(part) / (n - 1)).sum(axis=0)
        welch = np.sqrt(part.sum(axis=0))
    difference, count = mean[1] - mean[0], (n.sum(axis=0), n[1])
    return TTests(
        _test(columns, difference, student, student_degrees, scale, *count, "student"),
        _test(columns, difference, welch, welch_degrees, scale, *count, "welch"),
    )


def _standardised(cohort: str, recipe: Recipe, columns: tuple[str, ...]) -> Conclusion[tuple[FloatArray, Recipe]]:
    """Standard deviations, 0 of a constant column, and the recipe with standardised columns."""
    fit: Moments = yield from moments(cohort, recipe, columns)
    varies = fit.std_ > CONSTANT * np.abs(fit.mean_)
    scale = np.where(varies, fit.std_, 0.0)
    step = Standardise(columns, tuple(fit.mean_.tolist()), tuple(np.where(varies, fit.std_, 1.0).tolist()))
    return scale, recipe.then(step)


def _above_rounding(difference: FloatArray, minuend: FloatArray) -> FloatArray:
    """A sum of squares that is a difference; 0 where nothing but rounding is left of it."""
    return np.where(difference > ROUNDING * minuend, difference, 0.0)


def _two_classes(negatives: FloatArray, positives: FloatArray, endpoint: str, cohort: str) -> None:
    if not (bool(np.any(negatives > 0)) and bool(np.any(positives > 0))):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)


def _test(
    columns: tuple[str, ...],
    difference: FloatArray,
    std_err: FloatArray,
    degrees: FloatArray,
    scale: FloatArray,
    n: FloatArray,
    positives: FloatArray,
    method: str,
) -> TTest:
    """The test of a standardised difference, back in the columns' units."""
    sound = (scale > 0) & (degrees > 0) & (std_err > 0)
    degrees = np.where(sound, degrees, np.nan)
    std_err = np.where(sound, std_err, np.nan)
    t = difference / std_err
    half = student_quantile(0.975, degrees) * std_err
    return TTest(
        columns=columns,
        difference_=difference * scale,
        std_err_=std_err * scale,
        t_=t,
        degrees_=degrees,
        p_=student_two_sided_p(t, degrees),
        low_=(difference - half) * scale,
        high_=(difference + half) * scale,
        n_=n,
        positives_=positives,
        method_=method,
    )
