"""common/statistics: which predictor means something else at a site: score tests of what a frozen score leaves over.

Algorithm: Rao's score test of each column beside the score. A site adds its own intercept to the logit of the score, so
that a calibration in the large is not told again; with p the risks by it, w = p (1 - p), and c the column less its mean
weighed by w, U = sum (y - p) c and V = sum w c^2 (Rao, Proc Camb Phil Soc 1948;44:50). U^2 / V is chi-square with one
degree of freedom for a formula that is given. One that was fitted to patients is known only so well: outside training
the variance of U is V (1 + V / I), of a training hospital V (1 - V / I), where I is V over the training cohort, whose
products of columns hospitals are taken to have: none tells any of its own.
Message: by site its classes, and for each column the deviate z. A unit or an origin of the column changes nothing.
Leak: z has two decimals, of at least `min_class` patients in each class, and nothing is told of a column in which fewer
than `min_cell` patients of either class differ from the others of it, or have one of two levels, nor of one of whose V
a patient is more than 1 / `min_cell`.
Oracle: statsmodels' GLM.score_test with the logit and its fitted intercept as offset, 0.005 (the second decimal).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.federation.alone import Alone
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Risk, SiteView, Summary
from common.federation.totals import zeros
from common.statistics.counts import hide_in_row
from common.statistics.distributions import two_sided_p
from common.statistics.multiplicity import holm
from common.statistics.score_shift import linear_predictor
from common.statistics.site_profile import may_be_told
from common.study.ranges import LARGEST
from common.study.recipe import Frame, logistic_function
from common.study.table import FloatArray

DECIMALS = 2
LARGEST_SHARE = 0.9
"""Of the training cohort's information that one hospital of it is taken to have at most."""

_STEPS, _SMALL = 100, 1e-10


@dataclass(frozen=True)
class ResidualsAlone(Alone):
    """One site's own score tests of a model's columns beside its score.

    Attributes
    ----------
    columns, numbers
        Of the model; `numbers` are those that are no indicators of a level.
    column
        The score.
    information
        (columns,) of each beside an intercept in the training cohort, in the columns' own units; 0 where the formula
        was not fitted to patients.
    part
        Whether this site's patients are among those of the training cohort.
    """

    name: ClassVar[str] = "query.residuals_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    column: str
    min_class: int
    information: FloatField
    part: bool

    @property
    def adds_up(self) -> bool:
        """See `Query`: over the training cohort the sums that these are made of are 0."""
        return True

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`; `told` (columns,) 1 where a test is told; `z` (columns,)."""
        p = len(self.columns)
        return {
            "classes": Block((3,), Kind.COUNT),
            "told": Block((p,), Kind.COUNT),
            "z": Block((p,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own tests of {len(self.columns)} columns beside {self.column} for {self.endpoint}"

    def consistent(self) -> bool:
        """See `Query`."""
        own = set(self.numbers) <= set(self.columns)
        return own and self.information.shape == (len(self.columns),) and bool(np.all(self.information >= 0))

    @property
    def parameters(self) -> int:
        """The columns."""
        return len(self.columns)

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`."""
        known = set(summary["told"].tolist()) <= {0, 1} and bool(np.all(np.abs(summary["z"]) <= LARGEST))
        return super().plausible(summary, sites) and known

    def respond(self, site: SiteView) -> Summary:
        """Only counts are told with fewer than `min_class` patients in a class."""
        frame = site.frame(self)
        y = frame.endpoints[self.endpoint]
        events = int(np.nansum(y))
        summary = zeros(self)
        summary["classes"] = hide_in_row(np.array([frame.n - events, events, 0], dtype=np.int64), self.min_cell)
        if min(events, frame.n - events) < max(self.min_class, 2):
            return summary
        z = self._tests(frame)
        summary["told"] = (~np.isnan(z)).astype(np.int64)
        summary["z"] = np.round(np.nan_to_num(z), DECIMALS) + 0.0
        return summary

    def without(self, summary: Summary, names: Collection[str]) -> Summary:
        """An answer in which these columns are not told, as if this site itself hid them."""
        kept = np.array([name not in names for name in self.columns])
        return {**summary, "told": np.where(kept, summary["told"], 0), "z": np.where(kept, summary["z"], 0.0)}

    def _tests(self, frame: Frame) -> FloatArray:
        """(columns,) deviates, NaN where none is told."""
        y = frame.endpoints[self.endpoint]
        score, parts = added_columns(linear_predictor(frame, self.column), y, frame.matrix(self.columns))
        variance = parts.sum(axis=0)
        share = np.divide(variance, self.information, out=np.zeros_like(variance), where=self.information > 0)
        # An information that is hardly larger would make so much of a deviate that rounding hid nothing of it.
        share = np.minimum(share, LARGEST_SHARE)
        whole = variance * (1.0 - share if self.part else 1.0 + share)
        told = np.array([self._may_be_told(name, frame.columns[name], y) for name in self.columns]) & (whole > 0)
        # Where one patient is most of the variance, the sign of the deviate is that of his outcome less his risk.
        told &= variance >= self.min_cell * parts.max(axis=0)
        found: FloatArray = np.where(told, score / np.sqrt(np.where(told, whole, 1.0)), np.nan)
        return found

    def _may_be_told(self, name: str, values: FloatArray, y: FloatArray) -> bool:
        number = name in self.numbers
        return all(may_be_told(values[y == label], self.min_cell, number=number) for label in (0, 1))


def added_columns(linear: FloatArray, y: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Score (columns,) of each column beside a given linear predictor and an intercept of these patients, and what each
    of them adds to its variance (n, columns).

    Parameters
    ----------
    linear, y, x
        (n,) logits, (n,) classes of which there are both, (n, columns).
    """
    risk = logistic_function(linear + own_intercept(linear, y))
    weight = risk * (1.0 - risk)
    centred = x - weight @ x / weight.sum()
    return (y - risk) @ centred, weight[:, np.newaxis] * np.square(centred)


def own_intercept(linear: FloatArray, y: FloatArray) -> float:
    """The intercept beside a given linear predictor by which as many are expected as observed; steps of Newton, at most
    1 each, so that none is lost on the way."""
    found = 0.0
    for _ in range(_STEPS):
        risk = logistic_function(linear + found)
        step = float(np.clip((y - risk).sum() / (risk * (1.0 - risk)).sum(), -1.0, 1.0))
        found += step
        if abs(step) < _SMALL:
            break
    return found


def information_of(covariance: FloatArray) -> FloatArray:
    """(columns,) information of each column beside an intercept, of the (p, p) covariance of a fit, intercept first."""
    whole = np.linalg.inv(covariance)
    found: FloatArray = np.diagonal(whole)[1:] - np.square(whole[0, 1:]) / whole[0, 0]
    return np.maximum(found, 0.0)


@dataclass(frozen=True)
class Residuals:
    """Score tests of a site.

    Attributes
    ----------
    columns
        Of the model.
    z_, p_
        (columns,) deviates, positive where more have the outcome with larger values than the score says, and their p
        values, adjusted over all sites and columns (Holm); NaN where none is told.
    """

    columns: tuple[str, ...]
    z_: FloatArray
    p_: FloatArray

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column."""
        told = zip(self.columns, self.z_.tolist(), self.p_.tolist(), strict=True)
        return [{"column": name, "z": z, "p": p} for name, z, p in told]


def residuals(columns: tuple[str, ...], parts: Sequence[Summary]) -> list[Residuals]:
    """The tests of all sites that answered, in their order, with p values that count all of them."""
    z = np.array([np.where(part["told"] == 1, part["z"], np.nan) for part in parts]).reshape(len(parts), len(columns))
    p = np.array([[two_sided_p(one) for one in row] for row in z.tolist()]).reshape(z.shape)
    return [Residuals(columns, *pair) for pair in zip(z, holm(p), strict=True)]
