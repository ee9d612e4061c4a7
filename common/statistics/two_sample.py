"""common/statistics: a cross-fitted two-sample test: can a classifier tell the patients of one cohort from another's?

Fisher's linear discriminant is trained on one half of both cohorts and measured on the other half, and the other way
round; the mean of the two areas is 0.5 where the cohorts are alike (Lopez-Paz & Oquab, ICLR 2017; Kim et al., Ann Stat
2021;49:411, for Fisher's discriminant). It needs no sum beside those of `projection`, where a logistic regression would
need a dozen rounds and would not converge between cohorts that are told apart without error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.distributions import Z975
from common.statistics.projection import HALVES, MAX_LEVELS, Halves, half_of
from common.statistics.refinement import Counts
from common.statistics.roc import delong
from common.study.recipe import SCORE_DECIMALS, Frame, Recipe, logistic_function
from common.study.table import FloatArray

BINS = 50
"""Bins of equal width of a score between 0 and 1."""

MAX_PAIRS = 4
_SPREAD = 1.702
"""The logistic function of 1.702 z is within 0.01 of the normal distribution: scores use all bins about alike."""

_FLAT = 1e-9
_FEWEST = 2
"""Patients of a cohort in a half, without whom an area has no error."""


@dataclass(frozen=True)
class DirectionCounts(Query):
    """Patients of either half by bin of a linear score, for one or more pairs of coefficients.

    Attributes
    ----------
    coefficients
        (pairs, 2, p + 1), intercept first: of the scores of the even and of the odd half.
    by, levels
        The endpoint by whose levels they are counted apart, and how many it has; "" and 1 for all together.
    """

    name: ClassVar[str] = "query.direction_counts"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    coefficients: FloatField
    by: str = ""
    levels: int = 1

    def blocks(self) -> Mapping[str, Block]:
        """`counts` (pairs, 2, levels, 50)."""
        pairs = self.coefficients.shape[0] if self.coefficients.ndim else 0
        return {"counts": Block((pairs, HALVES, self.levels, BINS), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        apart = f" and by {self.by}" if self.by else ""
        return f"patients by {BINS} bins of a linear score of {len(self.columns)} columns{apart}, cohort {self.cohort}"

    @property
    def classes_of(self) -> str:
        """The endpoint, where it has two levels."""
        return self.by if self.levels == 2 else ""

    @property
    def levels_of(self) -> str:
        """The endpoint, where it has more."""
        return self.by if self.levels > 2 else ""

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    @property
    def once(self) -> tuple[str, ...]:
        """See `Query`: counts by two scores would place patients in two directions."""
        return ("coefficients",)

    def consistent(self) -> bool:
        """See `Query`."""
        shape = self.coefficients.shape
        if not (1 <= self.levels <= MAX_LEVELS and (self.levels > 1) == bool(self.by)):
            return False
        return len(shape) == 3 and 1 <= shape[0] <= MAX_PAIRS and shape[1:] == (HALVES, len(self.columns) + 1)

    def influence(self, frame: Frame) -> FloatArray:
        """(2, n) who is in either half: each must be enough patients."""
        return np.array([half_of(frame) == half for half in range(HALVES)], dtype=np.float64)

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; the frame has complete cases and folds."""
        values, half = frame.matrix(self.columns), half_of(frame)
        level = frame.endpoints[self.by].astype(np.int64) if self.by else np.zeros(frame.n, dtype=np.int64)
        counts = np.zeros((len(self.coefficients), HALVES, self.levels, BINS), dtype=np.int64)
        for i, own in enumerate(self.coefficients[:, half]):
            score = np.round(logistic_function(own[:, 0] + np.sum(own[:, 1:] * values, axis=1)), SCORE_DECIMALS)
            np.add.at(counts[i], (half, level, np.minimum((score * BINS).astype(np.int64), BINS - 1)), 1)
        return {"counts": counts}


@dataclass(frozen=True)
class TwoSample:
    """How well two cohorts are told apart.

    Attributes
    ----------
    areas_, errors_
        (2,) area and DeLong's standard error in either half, by the classifier of the other half.
    n_
        (2,) patients of the two cohorts.
    levels_
        The same within each level of an endpoint, by the same classifiers; None where a half has no two patients.
    """

    areas_: FloatArray
    errors_: FloatArray
    n_: Counts
    levels_: tuple[TwoSample | None, ...] = ()

    @property
    def auc_(self) -> float:
        """The mean of both areas."""
        return float(self.areas_.mean())

    @property
    def std_err_(self) -> float:
        """Of the mean: the two halves have no patient in common."""
        return float(np.sqrt(np.square(self.errors_).sum()) / HALVES)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, cut to [0, 1]."""
        half = Z975 * self.std_err_
        return max(0.0, self.auc_ - half), min(1.0, self.auc_ + half)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row for all patients, and one for each level that has an area: `level`, `auc`, its error and limits."""
        named = [("", self), *((str(k), level) for k, level in enumerate(self.levels_))]
        return [
            {
                "level": level,
                "n": found.n_.tolist(),
                "auc": found.auc_,
                "std_err": found.std_err_,
                "auc_low": found.interval[0],
                "auc_high": found.interval[1],
            }
            for level, found in named
            if found is not None
        ]


def discriminant(first: Halves, second: Halves, half: int) -> FloatArray:
    """(p + 1,) coefficients of a score that is high in the second cohort, trained on one half of both.

    Fisher's discriminant W^-1 (m2 - m1), W pooled within cohorts; directions in which nobody differs are left out.
    It is scaled to mean 0 and variance 1 over both cohorts, each with the same weight, and then by 1.702.

    Raises
    ------
    FedmviError
        690 the patients do not differ.
    """
    n = float(first.n_[half] + second.n_[half]) - 2.0
    within = (first.scatter(half) + second.scatter(half)) / n
    gap = second.mean_[half] - first.mean_[half]
    direction = np.linalg.pinv(within, rcond=_FLAT, hermitian=True) @ gap
    variance = float(direction @ within @ direction) + float(direction @ gap) ** 2 / 4.0
    if not variance > 0.0:
        raise FedmviError(690, "no direction")
    middle = float(direction @ (first.mean_[half] + second.mean_[half])) / 2.0
    scale = _SPREAD / np.sqrt(variance)
    return np.append(-middle * scale, direction * scale)


def crossed(first: Halves, second: Halves) -> FloatArray:
    """(2, p + 1) what scores the even and the odd half: each by the classifier that was trained on the other."""
    return np.array([discriminant(first, second, HALVES - 1 - half) for half in range(HALVES)])


def two_sample(
    cohorts: Sequence[str],
    recipes: Sequence[Recipe],
    columns: tuple[str, ...],
    sums: Sequence[Halves],
    by: str = "",
    levels: int = 1,
) -> Conclusion[tuple[TwoSample, ...]]:
    """How well the first cohort is told from each of the others; one round, counts in 50 bins of the score.

    Parameters
    ----------
    cohorts, recipes, sums
        Of every cohort; recipes and sums as of `projection.halves`.
    by, levels
        An endpoint within whose levels cohorts are compared too, and how many it has: cohorts that differ in the shares
        of the levels are told apart by them.

    Raises
    ------
    FedmviError
        601 a half without patients, 690 the patients do not differ; and those of the sites.
    """
    coefficients = np.array([crossed(sums[0], other) for other in sums[1:]])
    asked = [coefficients, *(own[np.newaxis] for own in coefficients)]
    replies = yield tuple(
        total(DirectionCounts(cohort, recipe, columns, own, by, levels))
        for cohort, recipe, own in zip(cohorts, recipes, asked, strict=True)
    )
    first, others = replies[0]["counts"], [reply["counts"][0] for reply in replies[1:]]
    return tuple(_measured(cohorts[0], mine, other) for mine, other in zip(first, others, strict=True))


def _measured(cohort: str, first: Counts, second: Counts) -> TwoSample:
    """Of (2, levels, bins) patients of either cohort."""
    whole = _areas(first.sum(axis=1), second.sum(axis=1))
    if whole is None:
        raise FedmviError(601, cohort=cohort)
    levels = first.shape[1]
    within = (_areas(first[:, level], second[:, level]) for level in range(levels))
    return replace(whole, levels_=tuple(within) if levels > 1 else ())


def _areas(first: Counts, second: Counts) -> TwoSample | None:
    if min(int(part.sum(axis=1).min()) for part in (first, second)) < _FEWEST:
        return None
    found = np.array([delong(first[half], second[half]) for half in range(HALVES)])
    return TwoSample(found[:, 0], found[:, 1], np.array([int(first.sum()), int(second.sum())]))
