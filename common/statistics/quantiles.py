"""common/statistics: quantiles of many columns at once, exactly or on a public grid that isolates no patient.

Exact: the 64 bits of a float, made order-preserving (`refinement`), are searched for the two order statistics around
each quantile, so the result is that of `numpy.quantile` bit for bit, and so, up to interpolation, the value of one
patient. Guarded: cells of a public grid are halved while they hold 2 K patients or more, a half of fewer than K is
joined to the other, and the quantile is interpolated inside the last cell, at rank (i + 1/2) (Hyndman & Fan, Am Stat
1996;50:361, definition 5). So the outermost K - 1 patients at either end may be anywhere without any effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.refinement import KEY_BITS, MAX_BITS, MAX_PATIENTS, ValueCounts, key_values
from common.study.recipe import Frame, Recipe, Standardise
from common.study.table import FloatArray

_FEWEST_BITS = 8
_CELLS = 1 << 18
"""Cells of one question of the search, unless eight bits a range need more."""

MAX_LEVEL = 12
COARSE_LEVEL = 7
"""Up to which a grid is no finer than 128 bins."""
"""Halvings of the public range: the finest cell is a 4096th of it."""
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class GridCounts(Query):
    """How many values of some columns lie below points of a public grid, low + (high - low) * cell / 2^level."""

    name: ClassVar[str] = "query.grid_counts"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    low: FloatField
    high: FloatField
    level: int
    places: tuple[int, ...]
    cells: tuple[int, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`below`: (cells,) values under each grid point; `n`: (columns,) known values."""
        return {"below": Block((len(self.cells),), Kind.COUNT), "n": Block((len(self.columns),), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"values of {len(self.columns)} columns below points of a public grid, cohort {self.cohort}"

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    @property
    def coarse(self) -> bool:
        """All points of a fine grid together tell almost every value, however few a server honestly needs."""
        return self.level <= COARSE_LEVEL

    def consistent(self) -> bool:
        """Grid points are given by whole numbers only, inside ranges, no finer than `MAX_LEVEL`."""
        shape = (len(self.columns),)
        return (
            self.low.shape == self.high.shape == shape
            and bool(np.all(self.low < self.high))
            and len(self.places) == len(self.cells) > 0
            and 1 <= self.level <= MAX_LEVEL
            and all(0 <= place < len(self.columns) for place in self.places)
            and all(0 < cell < 1 << self.level for cell in self.cells)
        )

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; missing values are left out."""
        values = frame.matrix(self.columns)
        places = np.array(self.places)
        points = grid_point(self.low[places], self.high[places], self.level, np.array(self.cells))
        below = np.array([np.count_nonzero(values[:, i] < t) for i, t in zip(places, points, strict=True)])
        return {"below": below.astype(np.int64), "n": (~np.isnan(values)).sum(axis=0).astype(np.int64)}


def grid_point(low: FloatArray, high: FloatArray, level: int, cell: NDArray[np.int64]) -> FloatArray:
    """The lower end of a cell of the public grid, in the columns' units."""
    return low + (high - low) * (cell / float(1 << level))


@dataclass(frozen=True)
class Guard:
    """What a guarded quantile needs: public plausibility bounds (columns,), and the smallest pooled cell."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    min_cell: int


@dataclass(frozen=True)
class Quantiles:
    """Fitted quantiles.

    Attributes
    ----------
    value_
        (columns, probabilities), in the columns' units.
    n_
        (columns,) known values.
    how_
        `exact`, or `guarded(K)`.
    rounds_
        Messages.
    """

    columns: tuple[str, ...]
    probabilities: tuple[float, ...]
    value_: FloatArray
    n_: NDArray[np.int64]
    how_: str
    rounds_: int

    def at(self, probability: float) -> FloatArray:
        """(columns,) one of the quantiles that were asked for."""
        value: FloatArray = self.value_[:, self.probabilities.index(probability)]
        return value

    @property
    def iqr(self) -> FloatArray:
        """(columns,) interquartile ranges."""
        return self.at(0.75) - self.at(0.25)

    @property
    def summary(self) -> list[dict[str, str | float | int]]:
        """One row a column: known values and each quantile."""
        names = [f"q{100 * probability:g}" for probability in self.probabilities]
        return [
            {"column": c, "n": int(n), "how": self.how_, **dict(zip(names, v, strict=True))}
            for c, n, v in zip(self.columns, self.n_, self.value_.tolist(), strict=True)
        ]

    def robust_scaling(self) -> Standardise:
        """Centring by the median and scaling by the interquartile range, by 1 where that is 0 (as RobustScaler)."""
        scale = np.where(self.iqr > 0, self.iqr, 1.0)
        return Standardise(self.columns, tuple(self.at(0.5).tolist()), tuple(scale.tolist()))


def quantiles(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], probabilities: tuple[float, ...], guard: Guard | None
) -> Conclusion[Quantiles]:
    """Quantiles of each column, missing values left out: guarded, or, where `guard` is None, exact.

    Exact ones are those of `numpy.quantile(method="linear")` and take four to eight rounds. Guarded ones take at most
    twelve; on 30 features of 569 patients and with K = 5, quartiles were off by 0.004 standard deviations in the
    median and 0.06 at most. Bounds are the study's plausibility bounds: values beyond them count as in the outermost
    cells.

    Raises
    ------
    FedmviError
        601 a column without values; 610 too few known values for a guarded quantile.
    """
    if guard is None:
        return (yield from _exact(cohort, recipe, columns, probabilities))
    return (yield from _guarded(cohort, recipe, columns, probabilities, guard))


def _exact(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], probabilities: tuple[float, ...]
) -> Conclusion[Quantiles]:
    """Both order statistics around each quantile, their keys from the highest bits to the lowest."""
    shape = (2, len(columns), len(probabilities))
    place = np.broadcast_to(np.arange(len(columns))[:, np.newaxis], shape).ravel()
    key, rank = np.zeros(place.size, dtype=np.uint64), np.zeros(place.size, dtype=np.int64)
    n, position, lower = np.zeros(len(columns), dtype=np.int64), np.zeros(shape[1:]), np.zeros(shape[1:])
    most = np.full(len(columns), MAX_PATIENTS, dtype=np.uint64)
    depth = rounds = 0
    while depth < KEY_BITS:
        (owner, low), row = _ranges(place, key)
        bits = min(max(_FEWEST_BITS, min(MAX_BITS, int(np.log2(_CELLS // low.size)))), KEY_BITS - depth)
        found, more = (np.full(low.size, number, dtype=np.uint64) for number in (depth, bits))
        sizes = np.bincount(owner.astype(np.int64), minlength=len(columns)).astype(np.uint64)
        query = ValueCounts(cohort, recipe, columns, sizes, low, found, more, most)
        reply = yield total(query)
        parts = query.children(reply["counts"])
        counts = np.zeros((low.size, 1 << bits), dtype=np.int64)
        counts[parts[0], parts[1]] = parts[2][:, 0]
        up_to = np.cumsum(counts, axis=1)
        if rounds == 0:
            n = up_to[:, -1]
            if not bool(np.all(n > 0)):
                raise FedmviError(601, cohort=cohort)
            position = (n - 1)[:, np.newaxis] * np.array(probabilities)
            lower = np.floor(position)
            rank = np.stack([lower, np.minimum(lower + 1, (n - 1)[:, np.newaxis])]).astype(np.int64).ravel()
        child = np.array([np.searchsorted(up_to[i], r, side="right") for i, r in zip(row, rank, strict=True)])
        before = np.where(child > 0, up_to[row, np.maximum(child - 1, 0)], 0)
        depth, rounds = depth + bits, rounds + 1
        key = key | np.left_shift(child.astype(np.uint64), np.uint64(KEY_BITS - depth))
        most = np.empty(0, dtype=np.uint64) if depth == KEY_BITS else _of_ranges(place, key, up_to[row, child] - before)
        rank = rank - before
    low_value, high_value = key_values(key).reshape(shape)
    weight = position - lower
    # Each end is approached from its own side, as numpy does, so that the bits agree.
    from_high = high_value - (high_value - low_value) * (1 - weight)
    value = np.where(weight >= 0.5, from_high, low_value + (high_value - low_value) * weight)
    return Quantiles(columns, probabilities, value, n, "exact", rounds)


def _ranges(place: NDArray[np.int64], key: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(2, ranges) column and first key of each range that is searched, and (searches,) the range of each search."""
    ranges, row = np.unique(np.stack([place.astype(np.uint64), key]), axis=1, return_inverse=True)
    return np.ascontiguousarray(ranges), row.reshape(-1)


def _of_ranges(place: NDArray[np.int64], key: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(ranges,) the patients in each range, which are the same for all searches in it."""
    (_, low), row = _ranges(place, key)
    most = np.zeros(low.size, dtype=np.uint64)
    most[row] = counts.astype(np.uint64)
    return most


def _guarded(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], probabilities: tuple[float, ...], guard: Guard
) -> Conclusion[Quantiles]:
    """Halve the cell of each quantile while it has patients for two; a half of too few joins the other."""
    low, high, least = np.array(guard.low), np.array(guard.high), guard.min_cell
    shape = (len(columns), len(probabilities))
    place = np.broadcast_to(np.arange(len(columns))[:, np.newaxis], shape)
    cell, depth = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    going = np.ones(shape, dtype=bool)
    start = stop = position = np.zeros(shape)
    n = np.zeros(len(columns), dtype=np.int64)
    rounds = 0
    while rounds < MAX_LEVEL and bool(going.any()):
        rounds += 1
        middle = 2 * cell[going] + 1
        asked, row = np.unique(np.stack([place[going], middle]), axis=1, return_inverse=True)
        places, cells = (tuple(part.tolist()) for part in asked)
        reply = yield total(GridCounts(cohort, recipe, columns, low, high, rounds, places, cells))
        if rounds == 1:
            n = reply["n"]
            if bool(np.any(n < 2 * least)):
                raise FedmviError(610, limit=2 * least, cohort=cohort)
            start, stop = np.zeros(shape), np.broadcast_to(n.astype(np.float64)[:, np.newaxis], shape).copy()
            position = np.clip((n - 1)[:, np.newaxis] * np.array(probabilities) + 0.5, least, stop - least)
        at = np.nonzero(going)
        below = reply["below"][row.reshape(-1)].astype(np.float64)
        below = np.where(below - start[at] < least, start[at], np.where(stop[at] - below < least, stop[at], below))
        upper = position[at] > below
        start[at], stop[at] = np.where(upper, below, start[at]), np.where(upper, stop[at], below)
        cell[at] = 2 * cell[at] + upper
        depth[at] += 1
        going = stop - start >= 2 * least
    inside = (position - start) / (stop - start)
    width = (high - low)[:, np.newaxis] / np.exp2(depth)
    value = low[:, np.newaxis] + (cell + inside) * width
    return Quantiles(columns, probabilities, value, n, f"guarded({least})", rounds)
