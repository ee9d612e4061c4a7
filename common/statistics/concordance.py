"""common/statistics: Harrell's C: how often the higher score has the earlier event, among pairs that can be compared.

`concordance` compares patients with those of their own site only and needs one round of counts: the C of a model with
a baseline hazard for each site. `concordance_pooled` compares patients across sites, which needs the order of all
scores and times. (Harrell et al., JAMA 1982;247:2543; errors by the infinitesimal jackknife as in concordance of R's
survival: Therneau & Atkinson, survival vignette "Concordance", 2020.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import KeyField
from common.federation.query import MOST_COUNTED, Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion, together
from common.statistics.censoring import OF_INTEREST, on_grid, survival_outcome
from common.statistics.distributions import Z975, two_sided_p
from common.statistics.life_table import LifeTable, life_table, tally
from common.statistics.refinement import Leaves, order_keys, refine
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

Counts = NDArray[np.int64]
_BLOCK = 1 << 22
"""Pairs that are compared at once."""

CONCORDANT, DISCORDANT, TIED_SCORE, TIED_TIME, TIED_BOTH = range(5)


def pair_counts(time: FloatArray, event: FloatArray, score: FloatArray) -> tuple[Counts, Counts]:
    """Pairs by kind, and of each patient: concordant, discordant, tied in score, in time of death, in both.

    A pair can be compared where one dies while the other is known to live; who is censored at a time lives at it.

    Returns
    -------
    tuple
        (5,) pairs, and (n, 3) those of the first three kinds that each patient is in.
    """
    n = time.size
    pairs, own = np.zeros(5, dtype=np.int64), np.zeros((n, 3), dtype=np.int64)
    deaths = np.flatnonzero(event == 1.0)
    for first in range(0, deaths.size, max(1, _BLOCK // max(n, 1))):
        block = deaths[first : first + max(1, _BLOCK // max(n, 1))]
        at = time[block][:, np.newaxis]
        later = (time > at) | ((time == at) & (event != 1.0))
        kinds = (score < score[block][:, np.newaxis], score > score[block][:, np.newaxis])
        same = ~kinds[0] & ~kinds[1]
        for kind, chosen in enumerate((*kinds, same)):
            found = later & chosen
            own[:, kind] += found.sum(axis=0)
            own[block, kind] += found.sum(axis=1)
        together_ = (time == at) & (event == 1.0) & (np.arange(n) > block[:, np.newaxis])
        pairs[TIED_TIME] += np.count_nonzero(together_ & ~same)
        pairs[TIED_BOTH] += np.count_nonzero(together_ & same)
    pairs[:TIED_TIME] = own.sum(axis=0) // 2
    return pairs, own


@dataclass(frozen=True)
class PairCounts(Query):
    """Concordant, discordant and tied pairs inside the site, for some scores."""

    name: ClassVar[str] = "query.pairs"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    columns: tuple[str, ...]

    def blocks(self) -> Mapping[str, Block]:
        """`pairs` (columns, 5) as `pair_counts`; sums over patients: `square` (columns, columns) of the products of
        concordant less discordant pairs, `cross` (columns,) of these times all pairs, `all` () of all pairs squared;
        `n`, `events` ()."""
        m = len(self.columns)
        return {
            "pairs": Block((m, 5), Kind.COUNT),
            "square": Block((m, m), Kind.COUNT),
            "cross": Block((m,), Kind.COUNT),
            "all": Block((), Kind.COUNT),
            "n": Block((), Kind.COUNT),
            "events": Block((), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"pairs inside the site that {len(self.columns)} scores put in the order of {self.endpoint}"

    @property
    def uses(self) -> tuple[str, ...]:
        """The scores."""
        return self.columns

    def consistent(self) -> bool:
        """See `Query`."""
        return len(self.columns) > 0

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: nobody is in more pairs that agree, or do not, than in pairs."""
        counted = all(0 <= int(summary[name]) <= sites * MOST_COUNTED for name in ("n", "events"))
        paired = bool(np.all((summary["pairs"] >= 0) & (summary["pairs"] <= sites * MOST_COUNTED)))
        net = np.abs(np.concatenate([summary["cross"], summary["square"].reshape(-1)]))
        return counted and paired and bool(np.all((net >= 0) & (net <= int(summary["all"]))))

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; the frame has complete cases only."""
        time, event = survival_outcome(frame, self.endpoint)
        found = [pair_counts(time, event, frame.columns[name]) for name in self.columns]
        net = np.column_stack([own[:, CONCORDANT] - own[:, DISCORDANT] for _, own in found])
        every = found[0][1].sum(axis=1)  # which pairs can be compared does not depend on the score
        return {
            "pairs": np.stack([pairs for pairs, _ in found]),
            "square": net.T @ net,
            "cross": every @ net,
            "all": np.array(every @ every, dtype=np.int64),
            "n": np.array(frame.n, dtype=np.int64),
            "events": np.array(np.count_nonzero(event), dtype=np.int64),
        }


@dataclass(frozen=True)
class Concordance:
    """Harrell's C of some scores.

    Attributes
    ----------
    columns
        Names of the scores.
    concordance_, std_err_
        (columns,) share of concordant pairs, ties in score counted half, and its error.
    covariance_
        (columns, columns)
    pairs_
        (columns, 5) concordant, discordant, tied in score; not compared: tied in time of death, tied in both.
    n_, events_
        Patients, and patients with the event.
    """

    columns: tuple[str, ...]
    concordance_: FloatArray
    std_err_: FloatArray
    covariance_: FloatArray
    pairs_: Counts
    n_: int
    events_: int

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a score, with the 95 % interval cut to [0, 1]."""
        return [
            {
                "score": name,
                "concordance": float(c),
                "std_err": float(se),
                "concordance_low": max(0.0, float(c - Z975 * se)),
                "concordance_high": min(1.0, float(c + Z975 * se)),
            }
            for name, c, se in zip(self.columns, self.concordance_, self.std_err_, strict=True)
        ]

    def difference(self, first: int, second: int) -> tuple[float, float, float]:
        """C of one score less C of another in the same patients, its error, and two-sided p."""
        apart = float(self.concordance_[first] - self.concordance_[second])
        variance = self.covariance_[first, first] + self.covariance_[second, second]
        error = float(np.sqrt(max(variance - 2.0 * self.covariance_[first, second], 0.0)))
        return apart, error, two_sided_p(apart / error) if error > 0 else float("nan")


def _concluded(columns: tuple[str, ...], sums: Summary, cohort: str, endpoint: str) -> Concordance:
    n, events = int(sums["n"]), int(sums["events"])
    if n == 0:
        raise FedmviError(601, cohort=cohort)
    pairs = sums["pairs"]
    compared = float(pairs[0, :TIED_TIME].sum())
    if compared == 0:
        raise FedmviError(650, f"{events} events", endpoint=endpoint, cohort=cohort)
    somers = (pairs[:, CONCORDANT] - pairs[:, DISCORDANT]) / compared
    cross = np.outer(somers, sums["cross"])
    spread = sums["square"] - cross - cross.T + np.outer(somers, somers) * float(sums["all"])
    covariance = np.asarray(spread / compared**2 / 4.0, dtype=np.float64)
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return Concordance(columns, (somers + 1.0) / 2.0, error, covariance, pairs, n, events)


def concordance(cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...]) -> Conclusion[Concordance]:
    """Harrell's C of scores that are high where the event is early, from pairs inside sites; one round.

    Equals R's concordance(.. ~ score + strata(site), reverse = TRUE); it is not invariant to how patients are spread
    over sites. The recipe must leave complete cases.

    Raises
    ------
    FedmviError
        601 no patients, 650 no pair that can be compared.
    """
    sums = yield total(PairCounts(cohort, recipe, endpoint, columns))
    return _concluded(columns, sums, cohort, endpoint)


@dataclass(frozen=True)
class LeafTimes(Query):
    """When the patients in each range of a score leave, and whether with the event.

    Attributes
    ----------
    points
        Ascending grid points at which patients of the cohort leave.
    low
        Ascending first keys of the ranges.
    shared
        Places in `low` of the ranges with more than one patient, whose times are counted one by one.
    """

    name: ClassVar[str] = "query.leaf_times"
    risk: ClassVar[Risk] = Risk.PROFILE

    endpoint: str
    column: str
    precision: float
    grid_points: int
    points: KeyField
    low: KeyField
    shared: KeyField

    def blocks(self) -> Mapping[str, Block]:
        """`place`, `event` (ranges,): sums of the places in `points` of their times, and of events, 0 for a shared
        range; `counts` (shared, points, 2) patients there, censored and with the event."""
        ranges = Block((self.low.size,), Kind.COUNT)
        return {
            "place": ranges,
            "event": ranges,
            "counts": Block((self.shared.size, self.points.size, 2), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"times of {self.endpoint} in {self.low.size} ranges of {self.column}"

    def consistent(self) -> bool:
        """See `Query`."""
        if not self.points.size or not self.low.size:
            return False
        ascending = all(bool(np.all(keys[1:] > keys[:-1])) for keys in (self.points, self.low, self.shared))
        inside = bool(np.all(self.shared < self.low.size)) and int(self.points[-1]) < self.grid_points
        return ascending and inside

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; who has no score, or leaves at another time, is left out."""
        point, event = on_grid(frame, self.endpoint, self.precision, self.grid_points)
        score = frame.columns[self.column]
        place = np.minimum(np.searchsorted(self.points, point.astype(np.uint64)), self.points.size - 1)
        leaf = np.searchsorted(self.low, order_keys(score), side="right") - 1
        known = ~np.isnan(score) & (leaf >= 0) & (self.points[place] == point.astype(np.uint64))
        place, leaf, happened = place[known], leaf[known], (event[known] == OF_INTEREST).astype(np.int64)
        row = np.full(self.low.size, -1)
        row[self.shared.astype(np.intp)] = np.arange(self.shared.size)
        single = row[leaf] < 0
        sums = {name: np.zeros(self.low.size, dtype=np.int64) for name in ("place", "event")}
        np.add.at(sums["place"], leaf[single], place[single])
        np.add.at(sums["event"], leaf[single], happened[single])
        shape = self.shared.size, self.points.size, 2
        return {**sums, "counts": tally(shape, row[leaf[~single]], place[~single], happened[~single])}


def concordance_pooled(
    cohort: str, recipe: Recipe, endpoint: str, column: str, precision: float, grid_points: int
) -> Conclusion[Concordance]:
    """Harrell's C of a score that is high where the event is early, from all pairs, also across sites.

    Equals R's concordance(.. ~ score, reverse = TRUE) on times on the grid. At most nine rounds: the order of the
    scores, the life table, and who leaves when in that order. The coordinator thereby knows the order of all scores
    with the time of each, though of no patient the site: where that is too much, `concordance` is to be used.
    A patient without a score is left out.

    Raises
    ------
    FedmviError
        601 no patients, 650 no pair that can be compared, 312 a time beyond the grid.
    """
    table = LifeTable(cohort, recipe, endpoint, 1, precision, grid_points)
    tables, leaves = yield from together(life_table(table), refine(cohort, recipe, (column,)))
    order: Leaves = leaves[0]
    points = np.flatnonzero(tables[0][0] + tables[1][0]).astype(np.uint64)
    if not order.low.size:
        raise FedmviError(601, cohort=cohort)
    counts = order.counts[:, 0]
    shared = np.flatnonzero(counts > 1).astype(np.uint64)
    asked = (endpoint, column, precision, grid_points, points, order.low, shared)
    found = yield total(LeafTimes(cohort, recipe, *asked))
    single = np.flatnonzero(counts == 1)
    row, place, event = np.nonzero(found["counts"])
    often = found["counts"][row, place, event]
    score = np.concatenate([single, np.repeat(shared[row], often)]).astype(np.float64)
    time = np.concatenate([found["place"][single], np.repeat(place, often)]).astype(np.float64)
    happened = np.concatenate([found["event"][single], np.repeat(event, often)]).astype(np.float64)
    frame = Frame({column: score}, {f"{endpoint}.time": time, f"{endpoint}.event": happened}, score.size)
    return _concluded((column,), PairCounts(cohort, recipe, endpoint, (column,)).answer(frame), cohort, endpoint)
