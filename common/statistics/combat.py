"""common/statistics: ComBat across sites: what its frozen recipe step needs, from centred sums only.

Effects of covariates come from cross-products that every site centres by its own means: the regression with one
dummy column a site has the same coefficients (Frisch & Waugh, Econometrica 1933;1:387), but its cross-products would
hold the sums of single sites (as in d-ComBat, Chen et al., NeuroImage 2022;248:118822). Residual variances have n in
their denominator, as in the implementation by Fortin et al. (NeuroImage 2018;167:104). Location and scale of each
site are estimated at the site (see `common.study.recipe.Combat`) and never leave it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.correlation import CONSTANT_WITHIN, require_variation, standardised, within
from common.statistics.moments import Moments, moments
from common.statistics.newton import symmetric
from common.study.harmonisation import MIN_PATIENTS, Combat
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

_CONFOUNDED = 1e-11


@dataclass(frozen=True)
class DesignProducts(Query):
    """Sums of products of covariates with each other and with columns, all centred by the site's means."""

    name: ClassVar[str] = "query.design_products"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    covariates: tuple[str, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`n` (); `design` (q(q+1)/2,) lower triangle; `cross` (q, p)."""
        p, q = len(self.columns), len(self.covariates)
        return {
            "n": Block((), Kind.COUNT),
            "design": Block((q * (q + 1) // 2,), Kind.REAL),
            "cross": Block((q, p), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"sums of products of {len(self.covariates)} covariates with {len(self.columns)} columns within sites, "
            f"cohort {self.cohort}"
        )

    @property
    def parameters(self) -> int:
        """Covariates, and the site's own mean."""
        return len(self.covariates) + 1

    @property
    def uses(self) -> tuple[str, ...]:
        """Columns and covariates."""
        return (*self.columns, *self.covariates)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        design, values = within(frame.matrix(self.covariates)), within(frame.matrix(self.columns))
        return {
            "n": np.array(frame.n, dtype=np.int64),
            "design": (design.T @ design)[np.tril_indices(len(self.covariates))],
            "cross": design.T @ values,
        }


@dataclass(frozen=True)
class ResidualSquares(Query):
    """Sums of squares of what covariates leave of each column, centred by the site's means."""

    name: ClassVar[str] = "query.residual_squares"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    covariates: tuple[str, ...]
    coefficients: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`n` (); `square` (p,)."""
        return {"n": Block((), Kind.COUNT), "square": Block((len(self.columns),), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"residual sums of squares of {len(self.columns)} columns within sites, cohort {self.cohort}"

    @property
    def parameters(self) -> int:
        """Covariates, and the site's own mean."""
        return len(self.covariates) + 1

    @property
    def uses(self) -> tuple[str, ...]:
        """Columns and covariates."""
        return (*self.columns, *self.covariates)

    def consistent(self) -> bool:
        """See `Query`."""
        return self.coefficients.shape == (len(self.covariates), len(self.columns))

    def residuals(self, frame: Frame) -> FloatArray:
        """(n, p) columns less the effects of the covariates."""
        return frame.matrix(self.columns) - frame.matrix(self.covariates) @ self.coefficients

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        return {
            "n": np.array(frame.n, dtype=np.int64),
            "square": np.square(within(self.residuals(frame))).sum(axis=0),
        }


@dataclass(frozen=True)
class ReferenceSquares(ResidualSquares):
    """Sums and sums of squares of the residuals of one site, which the others are brought to; others add nothing.

    The site that the column `reference` marks shows its own means and variances, to the coordinator and in the step
    to every site.
    """

    name: ClassVar[str] = "query.reference_squares"
    risk: ClassVar[Risk] = Risk.PROFILE

    reference: str

    def blocks(self) -> Mapping[str, Block]:
        """`n` (); `sum`, `square` (p,)."""
        return {**super().blocks(), "sum": Block((len(self.columns),), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"means and variances of {len(self.columns)} columns at the one site marked by {self.reference}"

    @property
    def uses(self) -> tuple[str, ...]:
        """Columns, covariates and the mark."""
        return (*super().uses, self.reference)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums, or zeros."""
        marked = frame.keep(frame.columns[self.reference] == 1.0)
        return {**super().answer(marked), "sum": self.residuals(marked).sum(axis=0)}


@dataclass(frozen=True)
class CombatFit:
    """What ComBat broadcasts.

    Attributes
    ----------
    grand_mean_
        (columns,) mean at covariates of 0: over all patients, or that of the reference site.
    coef_
        (covariates, columns) effects of the covariates within sites.
    pooled_std_
        (columns,) residual standard deviation with n in its denominator, over all patients or at the reference site.
    n_
        Patients that the effects are fitted on.
    model
        Whose columns they are; "" outside of studies.
    training
        See `common.study.recipe.Combat`.
    """

    columns: tuple[str, ...]
    covariates: tuple[str, ...]
    reference: str
    grand_mean_: FloatArray
    coef_: FloatArray
    pooled_std_: FloatArray
    n_: int
    model: str = ""
    training: str = ""

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column: mean and residual standard deviation, and the effect of each covariate by its name."""
        return [
            {
                "column": name,
                "grand_mean": float(self.grand_mean_[j]),
                "pooled_std": float(self.pooled_std_[j]),
                **{f"coef_{covariate}": float(self.coef_[i, j]) for i, covariate in enumerate(self.covariates)},
            }
            for j, name in enumerate(self.columns)
        ]

    def step(
        self,
        *,
        eb: bool = True,
        parametric: bool = True,
        mean_only: bool = False,
        min_patients: int = MIN_PATIENTS,
        bounded: bool = False,
    ) -> Combat:
        """The frozen step that harmonises, with the options of `common.study.recipe.Combat`."""
        return Combat(
            names=self.columns,
            covariates=self.covariates,
            mean=tuple(self.grand_mean_.tolist()),
            scale=tuple(self.pooled_std_.tolist()),
            coefficients=tuple(tuple(row) for row in self.coef_.tolist()),
            eb=eb,
            parametric=parametric,
            mean_only=mean_only,
            reference=self.reference,
            min_patients=min_patients,
            bounded=bounded,
            model=self.model,
            training=self.training,
        )


def combat(
    cohort: str,
    recipe: Recipe,
    columns: tuple[str, ...],
    covariates: tuple[str, ...] = (),
    reference: str = "",
    narrowest: tuple[float, ...] = (),
) -> Conclusion[CombatFit]:
    """The broadcast part of ComBat; two rounds of moments, one of covariates if there are any, one of residuals.

    The recipe must leave complete cases. `covariates` are effects to keep (never the outcome where the harmonised
    columns are to predict it: its effect would be written into them). `reference` names a column that is 1 at the
    site to which the others are brought and 0 elsewhere; that site's means and variances are shown. `narrowest` are
    the least standard deviations by which columns, then covariates, may be divided: a narrower column is divided by
    this, and a constant one stays constant.

    Raises
    ------
    FedmviError
        603 covariates that are dependent or confounded with site, 616 a constant column or covariate, 619 no patient
        of the reference site; 601 no patients.
    """
    scale, standard = yield from _standardised(cohort, recipe, (*columns, *covariates), narrowest)
    p, q = len(columns), len(covariates)
    beta = np.zeros((q, p))
    if q:
        sums = yield total(DesignProducts(cohort, standard, columns, covariates))
        design = symmetric(sums["design"], q)
        if float(np.linalg.eigvalsh(design)[0]) < _CONFOUNDED * int(sums["n"]):
            raise FedmviError(603, "covariates, centred within sites", model="combat")
        beta = np.linalg.solve(design, sums["cross"])
    if reference:
        sums = yield total(ReferenceSquares(cohort, standard, columns, covariates, beta, reference))
        if int(sums["n"]) == 0:
            raise FedmviError(619, cohort=cohort, column=reference)
        level = sums["sum"] / int(sums["n"])
    else:
        sums = yield total(ResidualSquares(cohort, standard, columns, covariates, beta))
        level = np.zeros(p)
    variance = sums["square"] / int(sums["n"])
    # From standardised columns and covariates back to their own scales.
    std, mean = scale.std_[:p], scale.mean_[:p]
    coef = beta * std / scale.std_[p:, np.newaxis]
    grand = mean + level * std - scale.mean_[p:] @ coef
    residual = np.sqrt(variance) * std
    if narrowest:
        residual = np.maximum(residual, narrowest[:p])
    else:
        require_variation(cohort, columns, variance > CONSTANT_WITHIN)
    return CombatFit(columns, covariates, reference, grand, coef, residual, int(scale.n_.min()))


def _standardised(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], narrowest: tuple[float, ...]
) -> Conclusion[tuple[Moments, Recipe]]:
    """As `standardised`, but divided by no less than `narrowest`, if there is such a limit."""
    if not narrowest:
        return (yield from standardised(cohort, recipe, columns))
    known = yield from moments(cohort, recipe, columns)
    scale = replace(known, std_=np.maximum(known.std_, narrowest))
    return scale, recipe.then(scale.standardising)
