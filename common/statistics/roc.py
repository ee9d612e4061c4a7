"""common/statistics: ROC: the exact area with DeLong's interval, from counts only.

Scores are never sent. The 64 bits of a score, made order-preserving, are searched eight at a time: a bin with
patients of both classes is split into 256 until every bin holds one class or one single score. Such counts
determine the area, ties included, and DeLong's variance (DeLong et al., Biometrics 1988;44:837, by the
placements of Hanley & Hajian-Tilaki, Acad Radiol 1997;4:49). At most eight rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.codec import KeyField
from common.federation.query import Block, Kind, Query, Risk, SiteView, Summary, total
from common.federation.runner import Conclusion
from common.statistics.counts import hide_in_row
from common.statistics.distributions import Z975
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

_BYTE = 256
_LEVELS = 8
CURVE_POINTS = 51


def order_keys(scores: FloatArray) -> NDArray[np.uint64]:
    """Unsigned integers in the order of the scores, one for each distinct float."""
    bits = (scores + 0.0).view(np.uint64)  # adding zero turns -0.0 into 0.0
    negative = (bits >> np.uint64(63)).astype(bool)
    return np.where(negative, ~bits, bits | np.uint64(1 << 63))


@dataclass(frozen=True)
class ScoreCounts(Query):
    """How many patients of each class fall into each 256th part of some ranges of a score."""

    name: ClassVar[str] = "query.score_counts"
    risk: ClassVar[Risk] = Risk.RANK

    endpoint: str
    column: str
    level: int
    prefixes: KeyField

    def blocks(self) -> Mapping[str, Block]:
        """`counts`: (prefixes, 256, 2), patients without and with the endpoint."""
        return {"counts": Block((self.prefixes.size, _BYTE, 2), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"patients by class of {self.endpoint} in {self.prefixes.size * _BYTE} ranges of {self.column}"

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; the prefixes are sorted."""
        if not 0 <= self.level < _LEVELS or self.prefixes.size == 0:
            raise FedmviError(501, "level or prefixes")
        keys = order_keys(frame.columns[self.column])
        parents = np.zeros_like(keys) if self.level == 0 else keys >> np.uint64(64 - 8 * self.level)
        children = (keys >> np.uint64(64 - 8 * (self.level + 1))) & np.uint64(_BYTE - 1)
        position = np.minimum(np.searchsorted(self.prefixes, parents), self.prefixes.size - 1)
        inside = self.prefixes[position] == parents
        counts = np.zeros((self.prefixes.size, _BYTE, 2), dtype=np.int64)
        y = frame.endpoints[self.endpoint].astype(np.int64)
        np.add.at(counts, (position[inside], children[inside].astype(np.int64), y[inside]), 1)
        return {"counts": counts}


@dataclass(frozen=True)
class RocResult:
    """An exact ROC curve.

    Attributes
    ----------
    negatives_, positives_
        (bins,) patients without and with the endpoint, by ascending score; a bin of both is one tied score.
    auc_, std_err_
        Area and DeLong's standard error.
    """

    negatives_: NDArray[np.int64]
    positives_: NDArray[np.int64]
    auc_: float
    std_err_: float
    rounds_: int

    @property
    def n_(self) -> int:
        """Patients."""
        return int(self.negatives_.sum() + self.positives_.sum())

    @property
    def events_(self) -> int:
        """Patients with the endpoint."""
        return int(self.positives_.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, auc -+ z * se, cut to [0, 1]."""
        half = Z975 * self.std_err_
        return max(0.0, self.auc_ - half), min(1.0, self.auc_ + half)

    def curve(self, min_cell: int) -> FloatArray:
        """(2, points) false and true positive rates, coarse enough to publish.

        Neighbouring bins are joined until each step holds `min_cell` patients of either class, because the full
        curve tells each patient's class in the order of the scores (Matthews & Harel, Acad Radiol 2013;20:889).
        """
        return _coarse_curve(self.negatives_[::-1], self.positives_[::-1], min_cell)


def _coarse_curve(negatives: NDArray[np.int64], positives: NDArray[np.int64], min_cell: int) -> FloatArray:
    target = max(min_cell, int(np.ceil(min(negatives.sum(), positives.sum()) / (CURVE_POINTS - 2))))
    points, left, right = [(0, 0)], 0, 0
    done_n = done_p = 0
    for negative, positive in zip(negatives.tolist(), positives.tolist(), strict=True):
        left, right = left + negative, right + positive
        if left - done_n >= target and right - done_p >= target:
            points.append((left, right))
            done_n, done_p = left, right
    total_n, total_p = int(negatives.sum()), int(positives.sum())
    if points[-1] != (total_n, total_p):
        if len(points) > 1:
            points.pop()  # what was left over joins the last step, so that it stays large enough
        points.append((total_n, total_p))
    return np.array(points, dtype=np.float64).T / np.array([[total_n], [total_p]], dtype=np.float64)


def roc(cohort: str, recipe: Recipe, endpoint: str, column: str) -> Conclusion[RocResult]:
    """Exact AUC and DeLong standard error of a score for a binary endpoint.

    Raises
    ------
    FedmviError
        602 one class only.
    """
    leaves: list[tuple[int, int, int]] = []
    prefixes: NDArray[np.uint64] = np.zeros(1, dtype=np.uint64)
    rounds = 0
    for level in range(_LEVELS):
        reply = yield total(ScoreCounts(cohort, recipe, endpoint, column, level, prefixes))
        rounds += 1
        counts = reply["counts"]
        if level == 0 and not bool(np.all(counts.sum(axis=(0, 1)) > 0)):
            raise FedmviError(602, endpoint=endpoint, cohort=cohort)
        offsets = np.arange(_BYTE, dtype=np.uint64)
        children: NDArray[np.uint64] = np.add.outer(np.left_shift(prefixes, np.uint64(8)), offsets)
        mixed = np.all(counts > 0, axis=2)
        final = level == _LEVELS - 1
        for i, j in np.argwhere(counts.any(axis=2) & (~mixed | final)):
            start = int(children[i, j]) << (64 - 8 * (level + 1))
            leaves.append((start, int(counts[i, j, 0]), int(counts[i, j, 1])))
        prefixes = children[mixed]
        if final or prefixes.size == 0:
            break
    ordered = sorted(leaves)
    negatives = np.array([leaf[1] for leaf in ordered], dtype=np.int64)
    positives = np.array([leaf[2] for leaf in ordered], dtype=np.int64)
    auc, std_err = delong(negatives, positives)
    return RocResult(negatives, positives, auc, std_err, rounds)


def delong(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> tuple[float, float]:
    """Area and standard error from counts by ascending score; NaN for the error with one patient in a class."""
    n0, n1 = int(negatives.sum()), int(positives.sum())
    below = np.cumsum(negatives) - negatives
    above = n1 - np.cumsum(positives)
    placement_positive = (below + 0.5 * negatives) / n0
    placement_negative = (above + 0.5 * positives) / n1
    auc = float(np.sum(positives * placement_positive)) / n1
    if n0 < 2 or n1 < 2:
        return auc, float("nan")
    variance_positive = float(np.sum(positives * np.square(placement_positive - auc))) / (n1 - 1)
    variance_negative = float(np.sum(negatives * np.square(placement_negative - auc))) / (n0 - 1)
    return auc, float(np.sqrt(variance_positive / n1 + variance_negative / n0))


@dataclass(frozen=True)
class RocAlone(Alone):
    """One site's own AUC: it runs the same conclusion over itself and releases the guarded result."""

    name: ClassVar[str] = "query.roc_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    column: str
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`, `estimable` (), `auc` (2,) area and error, `curve` (2, 51), `points` ()."""
        return {
            "classes": Block((3,), Kind.COUNT),
            "estimable": Block((), Kind.COUNT),
            "auc": Block((2,), Kind.REAL),
            "curve": Block((2, CURVE_POINTS), Kind.REAL),
            "points": Block((), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own AUC of {self.column} for {self.endpoint}, with a coarse curve"

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a class the area is not estimable, and only counts are told."""
        frame = site.frame(self)
        events = int(np.nansum(frame.endpoints[self.endpoint]))
        classes = np.array([frame.n - events, events, 0], dtype=np.int64)
        summary: Summary = {
            "classes": hide_in_row(classes, self.min_cell),
            "estimable": np.array(0, dtype=np.int64),
            "auc": np.zeros(2),
            "curve": np.ones((2, CURVE_POINTS)),
            "points": np.array(0, dtype=np.int64),
        }
        if min(events, frame.n - events) >= max(self.min_class, 2):
            result = self.conclude(site, roc(self.cohort, self.recipe, self.endpoint, self.column))
            curve = result.curve(self.min_cell)
            summary["estimable"] = np.array(1, dtype=np.int64)
            summary["auc"] = np.array([result.auc_, result.std_err_])
            summary["curve"][:, : curve.shape[1]] = curve
            summary["points"] = np.array(curve.shape[1], dtype=np.int64)
        return summary
