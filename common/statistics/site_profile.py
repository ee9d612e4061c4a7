"""common/statistics: the profile of a site: sums of its patients' standardised columns, which it shows alone.

What is standardised, and where columns are cut into bins, is the same at every site: by mean and standard deviation of
the training cohort, and at the deciles of a normal distribution. A site tells no product of two columns, and no bin
or level with a few patients.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.codec import FloatField
from common.federation.query import HIDDEN, Block, Kind, Risk, Summary
from common.statistics.refinement import Counts
from common.study.recipe import Frame
from common.study.table import FloatArray

EDGES = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])
"""Deciles of the standard normal distribution; a value at an edge belongs to the bin above."""

BINS = EDGES.size + 1

_ROUNDING = 1e-6

HALVES = 2
_HALF_BIT = 17


def half_of(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(n,) 0 or 1: a bit of each patient's key, so that a patient is in the same half of every sum.

    Raises
    ------
    FedmviError
        501 patients without keys.
    """
    return ((keys >> np.uint64(_HALF_BIT)) & np.uint64(1)).astype(np.int64)


def in_halves(frame: Frame) -> FloatArray:
    """(2, n) 1 for who is in either half, else 0."""
    half = half_of(frame.keys)
    return np.array([half == one for one in range(HALVES)], dtype=np.float64)


def standardised(frame: Frame, columns: tuple[str, ...], centre: FloatArray, scale: FloatArray) -> FloatArray:
    """(n, p) columns less their centre, in units of their scale; error 501 without keys.

    None is cut, however far it lies: the same sums of values as they are, which are told too, less sums of cut ones are
    those that lie beyond, and centre and scale are the coordinator's.
    """
    if frame.keys.size != frame.n:
        raise FedmviError(501, "halves are drawn from keys, and the frame has none")
    return (frame.matrix(columns) - centre) / scale


def binned(values: FloatArray) -> NDArray[np.bool_]:
    """(n, p, 10) the bin of each value."""
    places = np.searchsorted(EDGES, values, side="right")
    found: NDArray[np.bool_] = places[..., np.newaxis] == np.arange(BINS)
    return found


@dataclass(frozen=True)
class Standard:
    """How columns are brought to one scale, and what is counted of them.

    Attributes
    ----------
    columns
        All columns; `numbers` are those that are no indicators of a level.
    centre, scale
        (p,) each: mean and standard deviation in the training cohort.
    direction
        (p + 1,) intercept and coefficients of a linear score of the standardised columns, which is counted above 0.
    """

    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    centre: FloatArray
    scale: FloatArray
    direction: FloatArray

    @property
    def number_places(self) -> NDArray[np.int64]:
        """Places of the numbers among the columns."""
        return np.array([self.columns.index(name) for name in self.numbers], dtype=np.int64)

    @property
    def sound(self) -> bool:
        """Whether the parts fit together."""
        p = len(self.columns)
        shapes = (self.centre.shape, self.scale.shape, self.direction.shape) == ((p,), (p,), (p + 1,))
        own = set(self.numbers) <= set(self.columns) and len(set(self.numbers)) == len(self.numbers)
        return shapes and own and bool(np.all(self.scale > 0))


@dataclass(frozen=True)
class SiteProfile(Alone):
    """One site's own profile; attributes as of `Standard`."""

    name: ClassVar[str] = "query.site_profile"
    risk: ClassVar[Risk] = Risk.PROFILE

    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    centre: FloatField
    scale: FloatField
    direction: FloatField

    @property
    def standard(self) -> Standard:
        """How columns are brought to one scale."""
        return Standard(self.columns, self.numbers, self.centre, self.scale, self.direction)

    def blocks(self) -> Mapping[str, Block]:
        """`n` (2,) by half, `told` (p,) 1 where a column is told, `sum` (2, p), `square` (p,), `counts` (numbers, 10),
        `above` (2,) patients with a score of at most 0, and above it.

        A bin with fewer than `min_cell` patients is hidden, and counted in the next bin that is shown.
        """
        p = len(self.columns)
        return {
            "n": Block((HALVES,), Kind.COUNT),
            "told": Block((p,), Kind.COUNT),
            "sum": Block((HALVES, p), Kind.REAL),
            "square": Block((p,), Kind.REAL),
            "counts": Block((len(self.numbers), BINS), Kind.COUNT),
            "above": Block((2,), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"this site's own means, spreads and histograms of {len(self.columns)} columns, and how many patients have "
            f"a high score, cohort {self.cohort}"
        )

    def consistent(self) -> bool:
        """See `Query`."""
        return self.standard.sound

    @property
    def parameters(self) -> int:
        """The columns."""
        return len(self.columns)

    def influence(self, frame: Frame) -> FloatArray:
        """(2, n) who is in either half: each must be enough patients."""
        return in_halves(frame)

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: sums are of so many patients, and counts add up to them."""
        if not super().plausible(summary, sites) or int(summary["n"].min()) < 1 or int(summary["told"].max()) > 1:
            return False
        n, sums, square = summary["n"].astype(np.float64), summary["sum"], summary["square"]
        # No spread is negative (Cauchy and Schwarz); of roots, since a square of what a site says may overflow.
        most = np.sqrt(np.maximum(square, 0.0) + _ROUNDING) * np.sqrt(float(n.max())) * (1 + _ROUNDING)
        spread = bool(np.all(square >= 0) and np.all(np.hypot(*sums) <= most))
        shown = np.vstack([*summary["counts"], np.append(summary["above"], [HIDDEN] * (BINS - 2))])
        cells = bool(np.all((shown == HIDDEN) | (shown >= self.min_cell)))
        whole = np.where(shown == HIDDEN, 0, shown).sum(axis=1)
        return spread and cells and bool(np.all((whole == summary["n"].sum()) | (shown == HIDDEN).all(axis=1)))

    def answer(self, frame: Frame) -> Summary:
        """Nothing is told of a column that is the same for all patients here, or of which few have a level."""
        values, half = standardised(frame, self.columns, self.centre, self.scale), half_of(frame.keys)
        told = np.array([self._may_be_told(name, frame.columns[name]) for name in self.columns])
        values = np.where(told, values, 0.0)
        counts = np.where(told[self.standard.number_places, np.newaxis], _histogram(self, values), 0)
        high = self.direction[0] + np.sum(values * self.direction[1:], axis=1) > 0
        above = np.array([np.count_nonzero(~high), np.count_nonzero(high)], dtype=np.int64)
        shown = merged(counts.astype(np.int64), self.min_cell)
        if not told.all() or int(above.min()) < self.min_cell or self._beside(values, high):
            above = np.full(2, HIDDEN, dtype=np.int64)
        return {
            "n": np.bincount(half, minlength=HALVES).astype(np.int64),
            "told": told.astype(np.int64),
            "sum": np.array([values[half == one].sum(axis=0) for one in range(HALVES)]),
            "square": np.square(values).sum(axis=0),
            "counts": shown,
            "above": above,
        }

    def _beside(self, values: FloatArray, high: NDArray[np.bool_]) -> bool:
        """Whether high scores are those above, or below, an edge of a histogram but for a few patients, whom the
        difference of both counts would be."""
        beyond = values[:, self.standard.number_places, np.newaxis] >= EDGES
        apart = np.count_nonzero(beyond != high[:, np.newaxis, np.newaxis], axis=0)
        few = np.minimum(apart, high.size - apart)
        return bool(np.any((few > 0) & (few < self.min_cell)))

    def _may_be_told(self, name: str, values: FloatArray) -> bool:
        return may_be_told(values, self.min_cell, number=name in self.numbers)

    def without(self, summary: Summary, names: Collection[str]) -> Summary:
        """An answer in which these columns are not told, as if this site itself hid them."""
        kept = np.array([name not in names for name in self.columns])
        if kept.all():
            return summary
        shown = kept[self.standard.number_places, np.newaxis]
        return {
            **summary,
            "told": np.where(kept, summary["told"], 0),
            "sum": np.where(kept, summary["sum"], 0.0),
            "square": np.where(kept, summary["square"], 0.0),
            "counts": np.where(shown, summary["counts"], HIDDEN),
            "above": np.full(2, HIDDEN, dtype=np.int64),
        }


def may_be_told(values: FloatArray, least: int, *, number: bool) -> bool:
    """Whether sums of a column are not about fewer than `least` patients: those who have another value than all others,
    or one of two levels.

    Of some of these patients it is not, unless it is of all: whoever leaves takes no value to the others. An indicator
    with filled values has others between its levels.
    """
    known, counts = np.unique(values, return_counts=True)
    if known.size < 2 or values.size - int(counts.max()) < least:
        return False
    level = not number or known.size == 2
    return not level or int(counts[[0, -1]].min()) >= least


def _histogram(query: SiteProfile, values: FloatArray) -> Counts:
    counts: Counts = binned(values[:, query.standard.number_places]).sum(axis=0, dtype=np.int64)
    return counts


def merged(counts: Counts, least: int) -> Counts:
    """(..., bins) counts of which none below `least` is shown.

    From the first bin on, bins are put together until they have `least` patients; the last of them shows their count,
    the others -1. What is left over at the end goes to the last bin that is shown, and is shown in the last of all.
    All are -1 where there are too few patients altogether.
    """
    shown = np.full(counts.shape, HIDDEN, dtype=np.int64)
    gathered = np.zeros(counts.shape[:-1], dtype=np.int64)
    before = np.full(counts.shape[:-1], -1, dtype=np.int64)
    for i in range(counts.shape[-1]):
        gathered = gathered + counts[..., i]
        enough = gathered >= least
        shown[..., i] = np.where(enough, gathered, HIDDEN)
        before, gathered = np.where(enough, i, before), np.where(enough, 0, gathered)
    last = counts.shape[-1] - 1
    moves = (before >= 0) & (before < last)
    place = np.maximum(before, 0)[..., np.newaxis]
    held = np.take_along_axis(shown, place, axis=-1)[..., 0]
    np.put_along_axis(shown, place, np.where(moves, HIDDEN, held)[..., np.newaxis], axis=-1)
    shown[..., last] = np.where(moves, held + gathered, shown[..., last])
    return shown


def cumulative(shown: Counts) -> FloatArray:
    """(..., bins - 1) patients below each inner edge of merged counts; NaN where it is hidden."""
    hidden = shown == HIDDEN
    below = np.cumsum(np.where(hidden, 0, shown), axis=-1).astype(np.float64)
    found: FloatArray = np.where(hidden, np.nan, below)[..., :-1]
    return found
