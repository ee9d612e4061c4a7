"""common/statistics: Brier score of predicted survival at given times, and its integral, with weights for censoring.

Of Graf et al. (Stat Med 1999;18:2529): who has had the event by the time counts with the weight at the event, who is
followed beyond it with the weight at the time (see `censoring_weights`), who was censored before not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.censoring import OF_INTEREST, on_grid
from common.statistics.censoring_weights import ascending, censoring, last_points, relative_weights, sound
from common.statistics.life_table import Counts
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray


@dataclass(frozen=True)
class SurvivalErrors(Query):
    """Weighted sums of squared differences between predicted survival and its being so, at each of some times.

    Attributes
    ----------
    columns
        (times,) the predicted probability of surviving each time.
    weights
        (last point + 1,) weight of an event at each grid point, and of being followed beyond it.
    """

    name: ClassVar[str] = "query.survival_errors"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    columns: tuple[str, ...]
    precision: float
    grid_points: int
    times: tuple[float, ...]
    weights: FloatField

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictions."""
        return self.columns

    def blocks(self) -> Mapping[str, Block]:
        """`errors`: (times,)."""
        return {"errors": Block((len(self.times),), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"squared errors of predicted survival of {self.endpoint} at {len(self.times)} times, weighted, in sum"

    def consistent(self) -> bool:
        """Whether there is a prediction for each time, times ascend, and weights are such as censoring gives."""
        if len(self.columns) != len(self.times) or not ascending(self.times, self.precision, self.grid_points):
            return False
        return sound(self.weights, self.times, self.precision)

    def influence(self, frame: Frame) -> FloatArray:
        """(times, n) the weights, relative to the largest at each time."""
        point, _ = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        return relative_weights(point, self.weights, last_points(self.times, self.precision))

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        if not self.consistent():
            raise FedmviError(501, "times or weights")
        predicted = frame.matrix(self.columns).T
        if bool(np.any(np.isnan(predicted))):
            raise FedmviError(655, endpoint=self.columns[0])
        point, event = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        until = last_points(self.times, self.precision)[:, np.newaxis]
        beyond = point > until
        counted = beyond | (event == OF_INTEREST)
        weight = np.where(counted, self.weights[np.minimum(point, until)], 0.0)
        return {"errors": np.sum(weight * np.square(beyond - predicted), axis=1)}


@dataclass(frozen=True)
class SurvivalBrier:
    """Brier scores of one model's predicted survival; smaller is better.

    Attributes
    ----------
    times_, brier_
        (times,) times, in the endpoint's unit, and the score at each.
    null_
        (times,) the score of predicting the Kaplan-Meier survival for everybody.
    cases_, controls_
        (times,) patients with the event by each time, and followed beyond it.
    censoring_survival_
        (times,) estimated probability of not being censored up to each time.
    integrated_, integrated_null_
        The scores' mean over time by the trapezoidal rule; NaN for one time.
    """

    times_: FloatArray
    brier_: FloatArray
    null_: FloatArray
    cases_: Counts
    controls_: Counts
    censoring_survival_: FloatArray
    integrated_: float
    integrated_null_: float

    @property
    def scaled_(self) -> FloatArray:
        """(times,) share of the null score that the model explains (Kattan & Gerds, Diagn Progn Res 2018;2:7)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1.0 - self.brier_ / self.null_)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a time, the form to publish."""
        parts = (self.times_, self.brier_, self.null_, self.scaled_, self.cases_, self.controls_)
        names = ("time", "brier", "null", "scaled", "cases", "controls")
        return [dict(zip(names, row, strict=True)) for row in zip(*(part.tolist() for part in parts), strict=True)]


def survival_brier(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    precision: float,
    grid_points: int,
    times: tuple[float, ...],
    reference: tuple[str, Recipe] | None = None,
) -> Conclusion[SurvivalBrier]:
    """Brier scores of predicted survival, one column for each of some ascending times; two rounds.

    `reference` is the cohort, with its recipe, in which censoring is estimated (scikit-survival's `survival_train`);
    the cohort itself by default.

    Raises
    ------
    FedmviError
        601 no patients, 656 times that do not ascend, or nobody is followed beyond one of them.
    """
    grid = (precision, grid_points)
    known = yield from censoring(cohort, recipe, endpoint, *grid, times, reference)
    sums = yield total(SurvivalErrors(cohort, recipe, endpoint, columns, *grid, times, known.weights))
    brier = sums["errors"] / known.patients
    null = np.square(known.survival) * known.weighted_cases + np.square(1.0 - known.survival) * (
        known.controls / known.free
    )
    at = np.array(times, dtype=np.float64)
    fixed = (known.cases, known.controls, known.free)
    null = null / known.patients
    return SurvivalBrier(at, brier, null, *fixed, _mean_over(at, brier), _mean_over(at, null))


def _mean_over(times: FloatArray, scores: FloatArray) -> float:
    if times.size < 2:
        return float("nan")
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))
