"""common/statistics: features by minimum redundancy and maximum relevance (mRMR), from one matrix of cross-products.

(Ding & Peng, J Bioinform Comput Biol 2005;3:185, equations 8 to 11; with F and |r| also Zhao, Anand & Wang, DSAA
2019, whose FCQ is the default of the package mrmr-selection.) Relevance for a binary endpoint and redundancy between
features are functions of correlations; the F statistic of two classes is (df) r^2 / (1 - r^2). Within sites both are
partial correlations given the site, as in `correlation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.query import Block, Kind, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.correlation import Correlation, CrossProducts, check_size, correlation_of, standardised, within
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

FLOOR = 0.001
"""Smallest redundancy that a quotient divides by, as in mrmr-selection."""


class Criterion(StrEnum):
    """How relevance V and mean redundancy W of a feature with those selected make its score.

    FCQ, FCD: V is the F statistic and W the mean |r|; V / W and V - W. MIQ, MID: both are Gaussian mutual
    information, -1/2 log(1 - r^2) nats; V / W and V - W.
    """

    FCQ = "FCQ"
    FCD = "FCD"
    MIQ = "MIQ"
    MID = "MID"


@dataclass(frozen=True)
class EndpointProducts(CrossProducts):
    """As `CrossProducts`, and sums of products of the columns with a binary endpoint."""

    name: ClassVar[str] = "query.endpoint_products"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str

    def blocks(self) -> Mapping[str, Block]:
        """As `CrossProducts`; `outcome` (p,), and `events`, `spread` () sum and centred sum of squares of 0 and 1."""
        return {
            **super().blocks(),
            "outcome": Block((len(self.columns),), Kind.REAL),
            "events": Block((), Kind.COUNT),
            "spread": Block((), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"{super().words()}, and with {self.endpoint}"

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        y = frame.endpoints[self.endpoint]
        values, events = self.values(frame), float(y.sum())
        centred = within(y) if self.within_site else y
        return {
            **super().answer(frame),
            "outcome": (within(values) if self.within_site else values).T @ centred,
            "events": np.array(int(events), dtype=np.int64),
            "spread": np.array(float(np.square(centred).sum())),
        }


@dataclass(frozen=True)
class Relevance:
    """Correlations of features with each other and with a binary endpoint.

    Attributes
    ----------
    among
        Correlations of the features.
    r_
        (columns,) correlation with the endpoint.
    f_
        (columns,) F statistic of the two classes, with 1 and `among.degrees_` degrees of freedom.
    """

    endpoint: str
    among: Correlation
    r_: FloatArray
    f_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a feature, in declared order."""
        rows = zip(self.among.columns, self.r_.tolist(), self.f_.tolist(), strict=True)
        return [{"feature": name, "r": r, "f": f} for name, r, f in rows]

    def select(self, count: int, criterion: Criterion = Criterion.FCQ) -> Selection:
        """The first `count` features, or fewer where others have no relevance at all."""
        relevance, redundancy = self.f_, np.abs(self.among.r_)
        if criterion in (Criterion.MIQ, Criterion.MID):
            relevance, redundancy = mutual_information(self.r_), mutual_information(self.among.r_)
        order, score, mean = rank(relevance, redundancy, count, quotient=criterion in (Criterion.FCQ, Criterion.MIQ))
        names = tuple(self.among.columns[i] for i in order)
        return Selection(criterion, names, score, relevance[order], mean)


@dataclass(frozen=True)
class Selection:
    """Features in the order in which they were selected.

    Attributes
    ----------
    score_, relevance_, redundancy_
        (selected,) score when selected, relevance, and mean redundancy with those before; NaN for the first.
    """

    criterion: Criterion
    selected_: tuple[str, ...]
    score_: FloatArray
    relevance_: FloatArray
    redundancy_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a feature, in order: `feature`, `score`, `relevance`, `redundancy`."""
        numbers = zip(self.score_.tolist(), self.relevance_.tolist(), self.redundancy_.tolist(), strict=True)
        return [
            {"feature": feature, "score": score, "relevance": relevance, "redundancy": redundancy}
            for feature, (score, relevance, redundancy) in zip(self.selected_, numbers, strict=True)
        ]


def mutual_information(r: FloatArray) -> FloatArray:
    """-1/2 log(1 - r^2) nats, of two jointly normal variables with correlation r; infinite for |r| = 1."""
    with np.errstate(divide="ignore"):
        information: FloatArray = -0.5 * np.log1p(-np.square(r))
    return information


def rank(
    relevance: FloatArray, redundancy: FloatArray, count: int, *, quotient: bool
) -> tuple[list[int], FloatArray, FloatArray]:
    """Greedy selection: positions in order, their scores, and their mean redundancies with those before (NaN first).

    Parameters
    ----------
    relevance, redundancy
        (p,) and (p, p), not negative. Features without relevance are never selected; of equal scores the first
        declared is taken.
    quotient
        Relevance over mean redundancy, no redundancy below `FLOOR`; else their difference.
    """
    left = relevance > 0
    pairwise = np.maximum(redundancy, FLOOR) if quotient else redundancy
    sums = np.zeros(relevance.size)
    order: list[int] = []
    scores: list[float] = []
    means: list[float] = []
    while len(order) < count and bool(left.any()):
        mean = sums / len(order) if order else np.full(relevance.size, np.nan)
        with np.errstate(invalid="ignore"):
            score = relevance if not order else relevance / mean if quotient else relevance - mean
        candidates = np.flatnonzero(left)
        # Infinite information about the endpoint and about a feature already selected adds nothing.
        best = int(candidates[np.argmax(np.nan_to_num(score[candidates], nan=-np.inf, posinf=np.inf, neginf=-np.inf))])
        order.append(best)
        scores.append(float(score[best]))
        means.append(float(mean[best]))
        left[best] = False
        sums = sums + pairwise[best]
    return order, np.array(scores), np.array(means)


def relevance(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], within_site: bool = True
) -> Conclusion[Relevance]:
    """What all criteria of mRMR need; three rounds, two of them moments. Then `select`.

    The recipe must leave complete cases.

    Raises
    ------
    FedmviError
        602 one class only (within sites: at each site), 615 more columns than a third of the patients, 616 a
        constant column; 601 no patients.
    """
    scale, standard = yield from standardised(cohort, recipe, columns)
    check_size(cohort, len(columns), float(scale.n_.min()))
    sums = yield total(EndpointProducts(cohort, standard, columns, within_site, endpoint))
    n, events = int(sums["n"]), int(sums["events"])
    spread = float(sums["spread"]) if within_site else events * (1.0 - events / n)
    if not spread > 0:
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    among = correlation_of(cohort, columns, sums, within_site)
    square = among.square_
    cross = sums["outcome"] - sums["sum"] * (events / n)
    r = np.clip(cross / np.sqrt(square * spread), -1.0, 1.0)
    with np.errstate(divide="ignore"):
        f = among.degrees_ * np.square(r) / (1.0 - np.square(r))
    return Relevance(endpoint, among, r, f)
