"""common/statistics: a score of many predictors: they are reduced step after step, and a LASSO weighs what is left.

All of it is asked of whatever patients the recipe leaves, so that the same lines develop the model on everybody,
without each fold, and on each bootstrap set: whatever is selected is selected anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from common.federation.runner import Conclusion
from common.statistics.elastic_net import elastic_net_cv
from common.statistics.icc import Agreement
from common.statistics.logistic import logistic
from common.statistics.reduction import Thresholds, reduce_features
from common.statistics.unfit_columns import fit_columns
from common.study.analyses import FOLDS
from common.study.modelling import Reduction
from common.study.recipe import Fold, Recipe

MOST = 0.25
"""Most predictors whose cross-products are asked for, as a share of the patients. Sites allow a third of the patients
that the others have signed for, which are rounded down."""


@dataclass(frozen=True)
class ReducedScore:
    """A formula for the log odds, and how its predictors were found.

    Attributes
    ----------
    left_
        (step, columns left after it), in order; the last step is the LASSO.
    names_, coef_, intercept_
        Columns in the formula, in the order of mRMR, and their coefficients on the columns' own scale. Without a column
        the formula is that of the prevalence: nothing was found.
    n_, events_
        Patients, and those with the endpoint.
    lambda_
        The penalty, of standardised columns; 0 where no LASSO was fitted.
    mean_, std_
        Of each column in the formula.
    agreement_
        Of both readers, on the columns of which it was asked; None where it was not.
    """

    left_: tuple[tuple[str, tuple[str, ...]], ...]
    names_: tuple[str, ...]
    coef_: tuple[float, ...]
    intercept_: float
    n_: int
    events_: int
    lambda_: float
    mean_: tuple[float, ...] = ()
    std_: tuple[float, ...] = ()
    agreement_: Agreement | None = None

    @property
    def empty(self) -> bool:
        """Whether no predictor was found."""
        return not self.names_

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a predictor of the formula: `term`, `coef`; the first is the intercept."""
        rows = zip(("intercept", *self.names_), (self.intercept_, *self.coef_), strict=True)
        return [{"term": term, "coef": coef} for term, coef in rows]


def reduced_score(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    settings: Reduction,
    min_cell: int,
    model: str = "",
    narrowest: tuple[float, ...] = (),
) -> Conclusion[ReducedScore]:
    """Reduce the columns and fit a LASSO with a penalty chosen by cross-validation; about 35 rounds.

    The recipe must leave complete cases; `narrowest` is as of `variance_filter`. Steps: columns that vary at every
    site, near-zero variance, agreement of readers if the study asks for it, univariable regressions within the false
    discovery rate, correlation, mRMR, LASSO.

    Raises
    ------
    FedmviError
        602 one class only, 630 fewer than five patients of a class in a fold; and those of the steps.
    """
    fit = yield from fit_columns(cohort, recipe, columns, min_cell)
    left = [("varying at every hospital", fit)]
    limits = Thresholds(
        icc=Thresholds.icc if settings.icc is None else settings.icc,
        fdr=settings.fdr,
        share=MOST * recipe.distinct,
        correlation=settings.correlation,
        count=settings.count,
    )
    kept: tuple[str, ...] = ()
    agree: Agreement | None = None
    if fit:
        least = tuple(least for name, least in zip(columns, narrowest, strict=False) if name in fit)
        twice = settings.icc is not None
        reduction = yield from reduce_features(
            cohort, recipe, endpoint, fit, readers=twice or (), thresholds=limits, narrowest=least
        )
        left += reduction.left_
        kept, agree = reduction.selected_, reduction.agreement_
    if not kept:
        return replace((yield from _nothing(cohort, recipe, endpoint, tuple(left), model)), agreement_=agree)
    folded = recipe.then(Fold(FOLDS, endpoint))
    lasso = yield from elastic_net_cv(cohort, folded, endpoint, kept, folds=FOLDS, model=model)
    coef = lasso.coef_min_ if settings.penalty == "min" else lasso.coef_1se_
    found = tuple((name, float(value)) for name, value in zip(kept, coef[1:], strict=True) if value != 0.0)
    return ReducedScore(
        left_=(*left, ("LASSO", tuple(name for name, _ in found))),
        names_=tuple(name for name, _ in found),
        coef_=tuple(value for _, value in found),
        intercept_=float(coef[0]),
        n_=lasso.path.n_,
        events_=lasso.path.events_,
        lambda_=lasso.lambda_min_ if settings.penalty == "min" else lasso.lambda_1se_,
        mean_=tuple(float(lasso.path.mean_[kept.index(name)]) for name, _ in found),
        std_=tuple(float(lasso.path.std_[kept.index(name)]) for name, _ in found),
        agreement_=agree,
    )


def _nothing(
    cohort: str, recipe: Recipe, endpoint: str, left: tuple[tuple[str, tuple[str, ...]], ...], model: str
) -> Conclusion[ReducedScore]:
    """The formula without a predictor."""
    null = yield from logistic(cohort, recipe, endpoint, (), model)
    return ReducedScore(left, (), (), float(null.coef_[0]), null.n_, null.events_, 0.0)
