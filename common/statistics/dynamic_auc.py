"""common/statistics: cumulative/dynamic area under the ROC curve at given times, with weights for censoring.

Of Uno et al. (J Am Stat Assoc 2007;102:527) and Hung & Chiang (Can J Stat 2010;38:8): a case has had the event by the
time, a control is followed beyond it, and cases are weighted (see `censoring_weights`). The order of the scores is
found by counts (see `refinement`); then the controls are counted in it, and each site sums its cases' weighted places
among all controls. Neither a score nor the time of a case is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField, KeyField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion, together
from common.statistics.censoring import OF_INTEREST, on_grid
from common.statistics.censoring_weights import Points, ascending, censoring, last_points, relative_weights, sound
from common.statistics.life_table import Counts
from common.statistics.refinement import MAX_CELLS, order_keys, refine
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray


@dataclass(frozen=True)
class DynamicControls(Query):
    """How many patients are followed beyond each of some times, by range of a score; `low` begins the ranges."""

    name: ClassVar[str] = "query.dynamic_controls"
    risk: ClassVar[Risk] = Risk.RANK

    endpoint: str
    column: str
    precision: float
    grid_points: int
    times: tuple[float, ...]
    low: KeyField

    @property
    def uses(self) -> tuple[str, ...]:
        """The score."""
        return (self.column,)

    def blocks(self) -> Mapping[str, Block]:
        """`controls`: (times, ranges)."""
        return {"controls": Block((len(self.times), self.low.size), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"patients followed beyond {len(self.times)} times of {self.endpoint} in ranges of {self.column}"

    def consistent(self) -> bool:
        """Whether times and ranges ascend."""
        return _orderly(self.low, self.times, self.precision, self.grid_points)

    def answer(self, frame: Frame) -> Summary:
        """The site's counts."""
        point, _ = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        place = _places(frame, self.column, self.low)
        beyond = point > last_points(self.times, self.precision)[:, np.newaxis]
        counts = [np.bincount(place[rows], minlength=self.low.size) for rows in beyond]
        return {"controls": np.stack(counts).astype(np.int64)}


@dataclass(frozen=True)
class DynamicPlacements(Query):
    """Weighted sums of the places that cases have among all controls, at each of some times.

    Attributes
    ----------
    weights
        (last point + 1,) weight of an event at each grid point.
    placements
        (times, ranges) share of the controls that are below a range, with half of those in it.
    """

    name: ClassVar[str] = "query.dynamic_placements"
    risk: ClassVar[Risk] = Risk.RANK

    endpoint: str
    column: str
    precision: float
    grid_points: int
    times: tuple[float, ...]
    low: KeyField
    weights: FloatField
    placements: FloatField

    @property
    def uses(self) -> tuple[str, ...]:
        """The score."""
        return (self.column,)

    def blocks(self) -> Mapping[str, Block]:
        """`placed`: (times,)."""
        return {"placed": Block((len(self.times),), Kind.REAL)}

    def words(self) -> str:
        """See `Query`."""
        return f"places by {self.column} of those with {self.endpoint} by {len(self.times)} times, weighted, in sum"

    def consistent(self) -> bool:
        """Whether times, ranges and places ascend, and weights are such as censoring gives."""
        if not _orderly(self.low, self.times, self.precision, self.grid_points):
            return False
        if self.placements.shape != (len(self.times), self.low.size):
            return False
        inside = bool(np.all((self.placements >= 0.0) & (self.placements <= 1.0)))
        rising = bool(np.all(np.diff(self.placements, axis=1) >= 0.0))
        return inside and rising and sound(self.weights, self.times, self.precision)

    def influence(self, frame: Frame) -> FloatArray:
        """(times, n) what each patient would count as a case."""
        point, _ = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        places = self.placements[:, _places(frame, self.column, self.low)]
        return places * relative_weights(point, self.weights, last_points(self.times, self.precision))

    def answer(self, frame: Frame) -> Summary:
        """The site's sums."""
        if not self.consistent():
            raise FedmviError(501, "weights or placements")
        point, event = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        place = _places(frame, self.column, self.low)
        until = last_points(self.times, self.precision)[:, np.newaxis]
        case = (event == OF_INTEREST) & (point <= until)
        weight = np.where(case, self.weights[np.minimum(point, until[-1])], 0.0)
        return {"placed": np.sum(weight * self.placements[:, place], axis=1)}


def _orderly(low: NDArray[np.uint64], times: tuple[float, ...], precision: float, grid_points: int) -> bool:
    if not 0 < low.size <= MAX_CELLS or not bool(np.all(low[1:] > low[:-1])):
        return False
    return ascending(times, precision, grid_points)


def _places(frame: Frame, column: str, low: NDArray[np.uint64]) -> Points:
    """(n,) the range of each patient's score."""
    score = frame.columns[column]
    if bool(np.any(np.isnan(score))):
        raise FedmviError(655, endpoint=column)
    return np.maximum(np.searchsorted(low, order_keys(score), side="right").astype(np.int64) - 1, 0)


@dataclass(frozen=True)
class DynamicAuc:
    """Cumulative/dynamic areas of one score; a higher score is a higher risk.

    Attributes
    ----------
    column_
        The score.
    times_, auc_
        (times,) times, in the endpoint's unit, and the area at each; NaN without a case.
    cases_, controls_
        (times,) patients with the event by each time, and followed beyond it.
    censoring_survival_
        (times,) estimated probability of not being censored up to each time.
    mean_auc_
        The areas' mean, weighted by the decline of the survival curve between the times (Lambert & Chevret, Stat
        Methods Med Res 2016;25:2088); the first weight is the decline from the start.
    """

    column_: str
    times_: FloatArray
    auc_: FloatArray
    cases_: Counts
    controls_: Counts
    censoring_survival_: FloatArray
    mean_auc_: float

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a time, the form to publish."""
        rows = zip(self.times_.tolist(), self.auc_.tolist(), self.cases_.tolist(), self.controls_.tolist(), strict=True)
        return [{"time": time, "auc": auc, "cases": cases, "controls": n} for time, auc, cases, n in rows]


def dynamic_auc(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    precision: float,
    grid_points: int,
    times: tuple[float, ...],
    reference: tuple[str, Recipe] | None = None,
) -> Conclusion[tuple[DynamicAuc, ...]]:
    """Areas of several scores at ascending times, in lock-step; two rounds more than `refine`.

    `reference` is the cohort, with its recipe, in which censoring is estimated (scikit-survival's `survival_train`);
    the cohort itself by default. Scores tie where they are equal.

    Raises
    ------
    FedmviError
        601 no patients, 656 times that do not ascend, or nobody is followed beyond one of them.
    """
    grid = (precision, grid_points)
    known, leaves = yield from together(
        censoring(cohort, recipe, endpoint, *grid, times, reference),
        refine(cohort, recipe, columns, pure=False),
    )
    pairs = list(zip(columns, (leaf.low for leaf in leaves), strict=True))
    replies = yield tuple(
        total(DynamicControls(cohort, recipe, endpoint, column, *grid, times, low)) for column, low in pairs
    )
    placements = [_placements(reply["controls"]) for reply in replies]
    replies = yield tuple(
        total(DynamicPlacements(cohort, recipe, endpoint, column, *grid, times, low, known.weights, places))
        for (column, low), places in zip(pairs, placements, strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        areas = [reply["placed"] / known.weighted_cases for reply in replies]
    decline = -np.diff(np.append(1.0, known.survival))
    fixed = (known.cases, known.controls, known.free)
    at = np.array(times, dtype=np.float64)
    means = [float(np.sum(auc * decline) / np.sum(decline)) if at.size > 1 else float(auc[0]) for auc in areas]
    return tuple(
        DynamicAuc(column, at, auc, *fixed, mean) for column, auc, mean in zip(columns, areas, means, strict=True)
    )


def _placements(controls: Counts) -> FloatArray:
    """(times, ranges) share of the (times, ranges) controls that are below, ties half."""
    below = np.cumsum(controls, axis=1) - controls
    shares = (below + 0.5 * controls) / controls.sum(axis=1, keepdims=True)
    return np.asarray(shares, dtype=np.float64)
