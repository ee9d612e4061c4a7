"""common/statistics: how well readers agree on features: intraclass correlation of lesion x reader tables.

One two-way table a feature; readings by several readers and repeated readings by one are the same computation on
other columns. Forms are those of Shrout & Fleiss (Psychol Bull 1979;86:420) for a single reading, with intervals from
the F distribution as in McGraw & Wong (Psychol Methods 1996;1:30, table 7). Two ways over sites: each site's own
coefficient, averaged on Fisher's z scale, or one table pooled over sites, whose coefficient also counts differences
between sites as differences between lesions and is larger for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.correlation import require_variation
from common.statistics.distributions import Z975
from common.statistics.moments import moments
from common.study.drafting import MIN_READ_TWICE
from common.study.features import second_reading
from common.study.recipe import Frame, Recipe, Standardise
from common.study.table import FloatArray

MIN_LESIONS = MIN_READ_TWICE
"""A site with fewer lesions read by all readers has no coefficient of its own in the average."""

FEWEST_LESIONS = 10
"""The same of a part of such a site's patients, a bootstrap set say, in which a lesion may be twice and counts once."""

LEAST_APART = 5
"""Fewest lesions whose reading differs from the commonest one; a coefficient would be about these few."""

REPRODUCIBLE = 0.75
"""Coefficient from which a feature is called reproducible."""

_NEXT_TO_ONE = 1e-9
_NO_VARIANCE = 1e-18


class Form(StrEnum):
    """Which intraclass correlation of a single reading.

    ICC1: each lesion has readers of its own (one-way). ICC2: readers are a sample, agreement counts (two-way random).
    ICC3: these readers only, consistency counts (two-way mixed). ICC2_TRUNCATED: ICC2 with the variance between
    readers taken as zero where its estimate is negative.
    """

    ICC1 = "ICC(1,1)"
    ICC2 = "ICC(2,1)"
    ICC3 = "ICC(3,1)"
    ICC2_TRUNCATED = "ICC(2,1) truncated"


@dataclass(frozen=True)
class TableSums:
    """Sums of the two-way tables of many features, from which all mean squares come.

    Attributes
    ----------
    n
        (features,) lesions that all readers read.
    total, square
        (features,) sum over lesions of the lesion's mean reading, and of its square.
    within
        (features,) sum of squares of readings about the lesion's mean.
    reader
        (features, readers) sum of the readings of each reader, less the lesion's mean.
    """

    n: FloatArray
    total: FloatArray
    square: FloatArray
    within: FloatArray
    reader: FloatArray


def table_sums(frame: Frame, readers: tuple[tuple[str, ...], ...]) -> TableSums:
    """The sums over a frame's lesions; a lesion that a reader left out is left out of that feature."""
    readings = np.stack([frame.matrix(columns) for columns in readers], axis=2)
    known = np.logical_not(np.isnan(readings).any(axis=2))
    readings = np.where(known[:, :, np.newaxis], readings, 0.0)
    mean = readings.mean(axis=2)
    apart = readings - mean[:, :, np.newaxis]
    return TableSums(
        known.sum(axis=0).astype(np.float64),
        mean.sum(axis=0),
        np.square(mean).sum(axis=0),
        np.square(apart).sum(axis=(0, 2)),
        apart.sum(axis=0),
    )


@dataclass(frozen=True)
class MeanSquares:
    """The two-way analysis of variance of each feature.

    Attributes
    ----------
    n_, between_, within_, reader_, error_
        (features,) lesions; mean squares between lesions, within lesions, between readers, and of the error.
    readers
        Number of readers.
    """

    n_: FloatArray
    readers: int
    between_: FloatArray
    within_: FloatArray
    reader_: FloatArray
    error_: FloatArray

    @classmethod
    def of(cls, sums: TableSums) -> MeanSquares:
        """From the sums about any centre; NaN below two lesions."""
        n, k = sums.n, sums.reader.shape[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            n = np.where(n > 1, n, np.nan)
            between = k * np.maximum(sums.square - np.square(sums.total) / n, 0.0)
            reader = np.square(sums.reader).sum(axis=1) / n
            error = np.maximum(sums.within - reader, 0.0)
            return cls(
                n, k, between / (n - 1), sums.within / (n * (k - 1)), reader / (k - 1), error / ((n - 1) * (k - 1))
            )

    def _reader(self, form: Form) -> FloatArray:
        return np.maximum(self.reader_, self.error_) if form is Form.ICC2_TRUNCATED else self.reader_

    def icc(self, form: Form) -> FloatArray:
        """(features,) coefficients; NaN where nothing varies."""
        k, between, error = self.readers, self.between_, self.error_
        with np.errstate(divide="ignore", invalid="ignore"):
            if form is Form.ICC1:
                return (between - self.within_) / (between + (k - 1) * self.within_)
            readers = 0.0 if form is Form.ICC3 else k * (self._reader(form) - error) / self.n_
            icc: FloatArray = (between - error) / (between + (k - 1) * error + readers)
        return icc

    def interval(self, form: Form) -> tuple[FloatArray, FloatArray]:
        """(features,) lower and upper ends of the 95 % interval; 1 where readings are all alike."""
        from scipy import stats

        n, k = self.n_, self.readers
        with np.errstate(divide="ignore", invalid="ignore"):
            if form in (Form.ICC1, Form.ICC3):
                rest, degrees = (self.within_, n * (k - 1)) if form is Form.ICC1 else (self.error_, (n - 1) * (k - 1))
                ratio = self.between_ / rest
                low, high = ratio / stats.f.ppf(0.975, n - 1, degrees), ratio * stats.f.ppf(0.975, degrees, n - 1)
                ends = [(f - 1) / (f + k - 1) for f in (low, high)]
            else:
                icc, b, e, j = self.icc(form), self.between_, self.error_, self._reader(form)
                # Satterthwaite's degrees of freedom of the denominator of the coefficient.
                a = n * (1 + (k - 1) * icc) - k * icc
                degrees = (k - 1) * (n - 1) * np.square(k * icc * j + a * e)
                degrees /= (n - 1) * np.square(k * icc * j) + np.square(a * e)
                lower, upper = stats.f.ppf(0.975, n - 1, degrees), stats.f.ppf(0.975, degrees, n - 1)
                others = k * j + (k * n - k - n) * e
                ends = [n * (b - lower * e) / (lower * others + n * b), n * (upper * b - e) / (others + n * upper * b)]
        perfect = (self.within_ == 0) & (self.between_ > 0)
        return np.where(perfect, 1.0, ends[0]), np.where(perfect, 1.0, ends[1])


@dataclass(frozen=True)
class _Readings(Query):
    """Readings of the same features by several readers: one tuple of columns a reader, in the same order."""

    readers: tuple[tuple[str, ...], ...]

    def words(self) -> str:
        """See `Query`."""
        return f"agreement of {len(self.readers)} readers on {len(self.readers[0])} features in cohort {self.cohort}"

    @property
    def uses(self) -> tuple[str, ...]:
        """All columns."""
        return tuple(column for columns in self.readers for column in columns)

    def consistent(self) -> bool:
        """At least two readers, each with every feature once."""
        sizes = {len(columns) for columns in self.readers}
        return len(self.readers) > 1 and len(sizes) == 1 and 0 not in sizes and len(set(self.uses)) == len(self.uses)


@dataclass(frozen=True)
class ReaderSums(_Readings):
    """Sums of the two-way tables of lesion x reader, of features on a common scale."""

    name: ClassVar[str] = "query.reader_sums"
    risk: ClassVar[Risk] = Risk.SUM

    def blocks(self) -> Mapping[str, Block]:
        """As `TableSums`, and `sites` (features,) that have lesions."""
        features = (len(self.readers[0]),)
        real = {name: Block(features, Kind.REAL) for name in ("total", "square", "within")}
        reader = Block((*features, len(self.readers)), Kind.REAL)
        counts = {name: Block(features, Kind.COUNT) for name in ("n", "sites")}
        return {**counts, **real, "reader": reader}

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        sums = table_sums(frame, self.readers)
        return {
            "n": sums.n.astype(np.int64),
            "sites": (sums.n > 0).astype(np.int64),
            "total": sums.total,
            "square": sums.square,
            "within": sums.within,
            "reader": sums.reader,
        }


@dataclass(frozen=True)
class SiteAgreement(_Readings):
    """The site's own coefficients on Fisher's z scale, weighted by their precision.

    z = 1/2 log((1 + (k - 1) r) / (1 - r)) has a variance of k / (2 (k - 1) (n - 2)) for k readings of n lesions
    (Fisher, Statistical Methods for Research Workers, section 39); for ICC(2,1) that is an approximation. A feature
    with fewer than `least` lesions, or of which fewer than `apart` differ from the commonest reading, or without
    variance, is left out and counted.
    """

    name: ClassVar[str] = "query.site_agreement"
    risk: ClassVar[Risk] = Risk.SUM

    form: Form
    least: int = MIN_LESIONS
    apart: int = LEAST_APART

    def consistent(self) -> bool:
        """See `Query`."""
        return super().consistent() and self.least >= FEWEST_LESIONS and self.apart >= 1

    def stricter(self, min_cell: int) -> SiteAgreement:
        """The question as a site with this limit answers it."""
        return replace(self, least=max(self.least, min_cell), apart=max(self.apart, min_cell))

    @property
    def is_second_reading(self) -> bool:
        """Whether it is how well a first and a second reader of images agree."""
        again = tuple(second_reading(name) for name in self.readers[0])
        return self.readers[1:] == (again,) and self.form is Form.ICC2 and self.least in (MIN_LESIONS, FEWEST_LESIONS)

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `sites`, `left_out`, `weight`, `z` (features,): lesions, sites in and out of the average, its sums."""
        features = (len(self.readers[0]),)
        counts = {name: Block(features, Kind.COUNT) for name in ("n", "sites", "left_out")}
        return {**counts, "weight": Block(features, Kind.REAL), "z": Block(features, Kind.REAL)}

    def answer(self, frame: Frame) -> Summary:
        """The site's weights and weighted z."""
        centre = np.array([_reference(frame.columns[column]) for column in self.readers[0]])
        moved = {
            column: frame.columns[column] - c
            for columns in self.readers
            for column, c in zip(columns, centre, strict=True)
        }
        sums = table_sums(Frame(moved, {}, frame.n), self.readers)
        k = len(self.readers)
        icc = MeanSquares.of(sums).icc(self.form)
        used = self._enough(frame) & np.isfinite(icc)
        r = np.clip(np.where(used, icc, 0.0), -1.0 / (k - 1) + _NEXT_TO_ONE, 1.0 - _NEXT_TO_ONE)
        weight = np.where(used, 2.0 * (k - 1) * (sums.n - 2.0) / k, 0.0)
        return {
            "n": np.where(used, sums.n, 0.0).astype(np.int64),
            "sites": used.astype(np.int64),
            "left_out": (~used).astype(np.int64),
            "weight": weight,
            "z": weight * 0.5 * np.log((1.0 + (k - 1) * r) / (1.0 - r)),
        }

    def _enough(self, frame: Frame) -> NDArray[np.bool_]:
        """(features,) whether enough lesions were read by all, and differ; a lesion that is there twice is one."""
        first = np.unique(frame.keys, return_index=True)[1] if frame.keys.size == frame.n else np.arange(frame.n)
        readings = np.stack([frame.matrix(columns)[first] for columns in self.readers], axis=2)
        known = np.logical_not(np.isnan(readings).any(axis=2))
        return np.array(
            [
                int(known[:, i].sum()) >= self.least
                and all(_apart(readings[known[:, i], i, k]) >= self.apart for k in range(len(self.readers)))
                for i in range(known.shape[1])
            ]
        )


def _apart(values: FloatArray) -> int:
    """How many differ from the commonest value."""
    return values.size - int(np.unique(values, return_counts=True)[1].max(initial=0))


def _reference(values: FloatArray) -> float:
    """A value near those of the column, so that squares about it keep their digits; that of a constant itself."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else 0.0


@dataclass(frozen=True)
class Agreement:
    """Intraclass correlations of features.

    Attributes
    ----------
    features
        The first reader's columns.
    icc_, low_, high_
        (features,) coefficient and 95 % interval; NaN where no site had one.
    n_, sites_, left_out_
        (features,) lesions that count, sites whose lesions count, and sites left out.
    """

    features: tuple[str, ...]
    form: Form
    icc_: FloatArray
    low_: FloatArray
    high_: FloatArray
    n_: FloatArray
    sites_: FloatArray
    left_out_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a feature: `feature`, `form`, `icc`, `low`, `high`, `lesions`, `sites`, `sites_left_out`."""
        numbers = (self.icc_, self.low_, self.high_)
        return [
            {
                "feature": feature,
                "form": self.form.value,
                **{key: float(column[i]) for key, column in zip(("icc", "low", "high"), numbers, strict=True)},
                "lesions": int(self.n_[i]),
                "sites": int(self.sites_[i]),
                "sites_left_out": int(self.left_out_[i]),
            }
            for i, feature in enumerate(self.features)
        ]

    def reproducible(self, threshold: float = REPRODUCIBLE, *, lower: bool = False) -> tuple[str, ...]:
        """Features whose coefficient (or, with `lower`, the lower end of its interval) reaches the threshold."""
        value = self.low_ if lower else self.icc_
        return tuple(feature for feature, v in zip(self.features, value, strict=True) if v >= threshold)


def agreement(
    cohort: str,
    recipe: Recipe,
    readers: tuple[tuple[str, ...], ...],
    form: Form = Form.ICC2,
    least: int = MIN_LESIONS,
) -> Conclusion[Agreement]:
    """Coefficients within sites, averaged on Fisher's z scale with the precision of each; one round.

    A site with fewer than `least` lesions is left out of a feature's average and counted in `left_out_`; its
    numbers are zeros in the sums. The interval is that of the average on the z scale.

    Raises
    ------
    FedmviError
        618 no site has enough lesions for any feature.
    """
    sums = yield total(SiteAgreement(cohort, recipe, readers, form, least))
    weight, k = sums["weight"], len(readers)
    if not bool(np.any(weight > 0)):
        raise FedmviError(618, cohort=cohort, limit=least)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(weight > 0, sums["z"] / weight, np.nan)
        half = Z975 / np.sqrt(np.where(weight > 0, weight, np.nan))
    icc, low, high = (1.0 - k / (np.exp(2.0 * at) + k - 1.0) for at in (z, z - half, z + half))
    counts = (sums[name].astype(np.float64) for name in ("n", "sites", "left_out"))
    return Agreement(readers[0], form, icc, low, high, *counts)


@dataclass(frozen=True)
class PooledAgreement:
    """Two-way tables pooled over sites, from which any form follows; `sites_` (features,) have lesions."""

    features: tuple[str, ...]
    squares_: MeanSquares
    sites_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a form and feature."""
        return [row for form in Form for row in self.agreement(form).summary]

    def agreement(self, form: Form = Form.ICC2) -> Agreement:
        """Coefficients with intervals from the F distribution."""
        n = np.nan_to_num(self.squares_.n_)
        low, high = self.squares_.interval(form)
        icc = self.squares_.icc(form)
        return Agreement(self.features, form, icc, low, high, n, self.sites_, np.zeros_like(n))


def pooled_agreement(cohort: str, recipe: Recipe, readers: tuple[tuple[str, ...], ...]) -> Conclusion[PooledAgreement]:
    """Mean squares of one table of all sites' lesions; three rounds, two of them moments.

    All readers' columns of a feature are put on the scale of the first reader.

    Raises
    ------
    FedmviError
        616 a feature that is constant; 601 no lesions.
    """
    scale = yield from moments(cohort, recipe, readers[0])
    require_variation(cohort, readers[0], scale.std_ > np.sqrt(_NO_VARIANCE) * np.abs(scale.mean_))
    mean, std = tuple(scale.mean_.tolist()), tuple(scale.std_.tolist())
    names = tuple(column for columns in readers for column in columns)
    standard = recipe.then(Standardise(names, mean * len(readers), std * len(readers)))
    sums = yield total(ReaderSums(cohort, standard, readers))
    tables = TableSums(sums["n"].astype(np.float64), *(sums[name] for name in ("total", "square", "within", "reader")))
    return PooledAgreement(readers[0], MeanSquares.of(tables), sums["sites"].astype(np.float64))
