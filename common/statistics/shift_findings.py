"""common/statistics: what is found of hospitals that are compared: each beside the others, and all together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.statistics.label_shift import LabelShift, Prevalence
from common.statistics.max_t import LEVEL
from common.statistics.shift_verdict import Verdict
from common.study.recipe import Recipe
from common.study.table import FloatArray


@dataclass(frozen=True)
class Compared:
    """What hospitals are compared by.

    Attributes
    ----------
    cohort, recipe
        The training cohort, and from a site's table to its patients of whom all columns and the endpoint are known.
    endpoint
        Binary.
    columns, numbers
        Columns of the frame; `numbers` are those that are no indicators of a level.
    intercept, coefficients
        Of the model whose columns they are; zeros before anything is trained: then no score is tested, and no frequency
        of the outcome is told by it.
    high_risk
        Predicted risk above which patients are counted; best where it parts the classes. One half where there is none.
    others
        (cohort, recipe) of each cohort that is compared with training.
    deals
        How often patients are dealt out at random.
    min_cell
        Smaller counts are not told.
    """

    cohort: str
    recipe: Recipe
    endpoint: str
    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    intercept: float
    coefficients: tuple[float, ...]
    high_risk: float
    others: tuple[tuple[str, Recipe], ...]
    deals: int
    min_cell: int

    @property
    def scored(self) -> bool:
        """Whether there is a score, and not only columns."""
        return any(self.coefficients)


@dataclass(frozen=True)
class SiteShift:
    """One hospital beside the others.

    Attributes
    ----------
    cohort, site
        Whose patients.
    verdict
        From predictors alone.
    n_, others_
        Patients of the hospital, and of those with whom it is compared.
    untold_
        Columns that the hospital does not tell.
    difference_, std_err_, difference_p_
        (p,) standardised difference of each column, its error, and its adjusted p value; NaN where untold.
    distance_, distance_p_
        (numbers,) Kolmogorov-Smirnov distance and its adjusted p value.
    area_, area_p_
        Area of the two-sample classifier with its limits, and its adjusted p value.
    score_, score_p_
        Standardised difference of the linear predictor, and its adjusted p value; NaN where there is no score.
    prevalence_
        Of the outcome at the hospital if only its frequency differs; None where it is not told.
    label_
        How the difference of the means is split; None where the classes do not differ.
    smallest_detectable_
        Standardised difference of one column that would be found with a power of 0.8.
    smallest_frequency_
        The same of the outcome's frequency by the test of the score, if nothing else differs; None where even the
        largest would not be, and where there is no score.
    error
        Why nothing is known of the hospital; else None.
    """

    cohort: str
    site: str
    verdict: Verdict
    n_: int | None = None
    others_: int | None = None
    untold_: tuple[str, ...] = ()
    difference_: FloatArray | None = None
    std_err_: FloatArray | None = None
    difference_p_: FloatArray | None = None
    distance_: FloatArray | None = None
    distance_p_: FloatArray | None = None
    area_: tuple[float, float, float] | None = None
    area_p_: float | None = None
    score_: float | None = None
    score_p_: float | None = None
    prevalence_: Prevalence | None = None
    label_: LabelShift | None = None
    smallest_detectable_: float | None = None
    smallest_frequency_: float | None = None
    error: FedmviError | None = None

    @property
    def smallest_p(self) -> float | None:
        """The smallest adjusted p value of all tests of this hospital."""
        if self.difference_p_ is None or self.distance_p_ is None:
            return None
        found = np.concatenate([self.difference_p_, self.distance_p_, np.array([self.area_p_, self.score_p_], float)])
        return None if np.isnan(found).all() else float(np.nanmin(found))


@dataclass(frozen=True)
class Detection:
    """All hospitals.

    Attributes
    ----------
    compared
        By what.
    reference_prevalence_
        Of the outcome in the training cohort.
    critical_
        Of the largest test, at 5 % over all hospitals and tests.
    sites_
        In the order of cohorts, training first, and of names.
    """

    compared: Compared
    reference_prevalence_: float
    critical_: float
    sites_: tuple[SiteShift, ...]

    def of(self, cohort: str, site: str) -> SiteShift:
        """One hospital."""
        return next(one for one in self.sites_ if (one.cohort, one.site) == (cohort, site))

    def differing(self, one: SiteShift, among: Collection[str]) -> tuple[str, ...]:
        """Those columns whose mean, or distribution, was found to differ at a hospital, at 5 % over all tests."""
        found: set[str] = set()
        for names, p in ((self.compared.columns, one.difference_p_), (self.compared.numbers, one.distance_p_)):
            if p is not None:
                found |= {name for name, value in zip(names, p.tolist(), strict=True) if value <= LEVEL}
        return tuple(name for name in self.compared.columns if name in found and name in among)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a hospital and column: its verdict, the standardised difference and its adjusted p value."""
        rows: list[dict[str, Any]] = []
        for one in self.sites_:
            base = {"cohort": one.cohort, "site": one.site, "verdict": one.verdict.value, "n": one.n_}
            if one.difference_ is None or one.difference_p_ is None:
                rows.append({**base, "column": "", "difference": float("nan"), "p": float("nan")})
                continue
            told = zip(self.compared.columns, one.difference_.tolist(), one.difference_p_.tolist(), strict=True)
            rows += [{**base, "column": name, "difference": value, "p": p} for name, value, p in told]
        return rows
