"""common/statistics: stability selection: which predictors an elastic net keeps in most half-samples of the patients.

Meinshausen & Buehlmann, J R Stat Soc B 2010;72:417: a predictor is stable where some penalty keeps it in at least a
share `threshold` of half-samples; theorem 1 bounds the expected number of stable predictors that have no effect.
Half-samples are drawn inside each site and class, so which patients they have depends on how patients are divided
among sites; given them, the result is that of the pooled rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.penalised_logistic import fit
from common.statistics.penalty import penalties
from common.statistics.training_sets import MAX_SETS, prepare
from common.study.recipe import Recipe
from common.study.table import FloatArray

PATH = 30
"""Penalties that are tried, down to `RATIO` times the largest."""
RATIO = 0.05


@dataclass(frozen=True)
class StabilityResult:
    """How often each predictor was kept.

    Attributes
    ----------
    columns
        The predictors.
    lambda_
        (penalties,).
    frequency_
        (penalties, p) share of half-samples in which the predictor is in the model.
    threshold_
        Least share that counts as stable.
    kept_
        Mean number of predictors that any of the penalties keeps in a half-sample.
    replicates_, n_, rounds_
        Half-samples, patients in each, and rounds.
    kkt_
        The largest violation of an optimality condition by any model, for standardised predictors.
    """

    columns: tuple[str, ...]
    lambda_: FloatArray
    frequency_: FloatArray
    threshold_: float
    kept_: float
    replicates_: int
    n_: int
    rounds_: int
    kkt_: float

    @property
    def stable(self) -> tuple[str, ...]:
        """The predictors that reach the threshold, most frequent first."""
        highest = self.frequency_.max(axis=0)
        order = np.argsort(-highest, kind="stable")
        return tuple(self.columns[j] for j in order if highest[j] >= self.threshold_)

    @property
    def false_positives(self) -> float:
        """Upper bound of the expected number of stable predictors without effect: q^2 / ((2 threshold - 1) p)."""
        p = len(self.columns)
        return min(float(p), self.kept_**2 / ((2.0 * self.threshold_ - 1.0) * p))

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a predictor, most frequent first."""
        highest = self.frequency_.max(axis=0)
        return [
            {"term": self.columns[j], "frequency": float(highest[j]), "stable": bool(highest[j] >= self.threshold_)}
            for j in np.argsort(-highest, kind="stable")
        ]


def stability_selection(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    lambdas: tuple[float, ...] = (),
    *,
    replicates: int = 100,
    threshold: float = 0.75,
    false_positives: float = 1.0,
    alpha: float = 1.0,
    model: str = "",
) -> Conclusion[StabilityResult]:
    """Fit falling penalties on half-samples, all in lock-step; the recipe must leave complete cases.

    Penalties are `lambdas`, or those of a path, from the smallest that leaves all predictors out of every half-sample,
    as far down as at most `false_positives` are to be expected. Each half-sample is standardised by its own moments.

    Raises
    ------
    FedmviError
        633 unsound threshold, false positives or number of half-samples; otherwise as `elastic_net`, and 416 or 631
        where one of `lambdas` cannot be fitted.
    """
    given = np.asarray(lambdas, dtype=np.float64)
    if not bool(np.all(given > 0) and np.all(np.diff(given) < 0)) or not 0.0 < alpha <= 1.0:
        raise FedmviError(632, model=model)
    if not 1 <= replicates <= MAX_SETS or not 0.5 < threshold <= 1.0 or not false_positives > 0:
        raise FedmviError(633, model=model, most=MAX_SETS)
    design = yield from prepare(cohort, recipe, endpoint, columns, "halves", replicates, model)
    largest = max(design.largest(alpha, s) for s in range(replicates))
    penalty = given if given.size else penalties(largest, PATH, RATIO)
    fitted = yield from fit(design, penalty, alpha, lambda _: ())
    if fitted.stopped is not None and given.size:
        raise fitted.stopped
    kept = fitted.coefficients[:, :, 1:] != 0.0
    # Of each half-sample, the predictors that this penalty or a larger one keeps.
    region = np.logical_or.accumulate(kept, axis=0).sum(axis=2).mean(axis=1)
    if not given.size:
        most = np.sqrt(false_positives * (2.0 * threshold - 1.0) * len(columns))
        kept = kept[: max(int(np.count_nonzero(region <= most)), 1)]
    return StabilityResult(
        columns=columns,
        lambda_=penalty[: len(kept)],
        frequency_=kept.mean(axis=1),
        threshold_=threshold,
        kept_=float(region[len(kept) - 1]),
        replicates_=replicates,
        n_=int(design.n[0]),
        rounds_=design.rounds + fitted.rounds,
        kkt_=float(fitted.kkt.max()),
    )
