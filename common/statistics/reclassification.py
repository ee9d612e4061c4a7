"""common/statistics: net reclassification and integrated discrimination improvement of a new model over an old one.

Pencina et al., Stat Med 2008;27:157 and 2011;30:11; standard errors as Hmisc's improveProb, from the patients' own
differences. Not recommended: both can reward a miscalibrated model that adds nothing (Hilden & Gerds, Stat Med
2014;33:3405). Here because reviewers ask for them; compare areas, calibration and net benefit instead.
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
from common.statistics.distributions import Z975, two_sided_p
from common.statistics.refinement import Counts, public_thresholds
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

MAX_CUTS = 9


@dataclass(frozen=True)
class RiskChanges(Query):
    """How two predicted risks of the same patients differ, by class of an endpoint; old model first."""

    name: ClassVar[str] = "query.risk_changes"
    risk: ClassVar[Risk] = Risk.CELLS

    columns: tuple[str, ...]
    endpoint: str
    cuts: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """By class: `n`, `up`, `down` (2,); `table` (2, groups, groups); `sum`, `square` (2,) of new - old."""
        groups = self.cuts.size + 1
        return {
            "n": Block((2,), Kind.COUNT),
            "up": Block((2,), Kind.COUNT),
            "down": Block((2,), Kind.COUNT),
            "table": Block((2, groups, groups), Kind.COUNT),
            "sum": Block((2,), Kind.REAL),
            "square": Block((2,), Kind.REAL),
        }

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        return public_thresholds(self.cuts)

    def consistent(self) -> bool:
        """See `Query`."""
        ascending = self.cuts.ndim == 1 and bool(np.all(np.diff(self.cuts) > 0))
        return len(self.columns) == 2 and ascending and self.cuts.size <= MAX_CUTS

    def words(self) -> str:
        """See `Query`."""
        return f"patients by class of {self.endpoint} and risk group of two models, cohort {self.cohort}"

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def answer(self, frame: Frame) -> Summary:
        """Patients without one of the risks are left out; a risk equal to a cut is in the group above."""
        y, risks = frame.endpoints[self.endpoint], frame.matrix(self.columns)
        known = ~np.isnan(risks).any(axis=1) & ~np.isnan(y)
        change, label = risks[known, 1] - risks[known, 0], y[known].astype(np.int64)
        group = np.searchsorted(self.cuts, risks[known], side="right")
        table = np.zeros(self.blocks()["table"].shape, dtype=np.int64)
        np.add.at(table, (label, group[:, 0], group[:, 1]), 1)
        return {
            "n": np.bincount(label, minlength=2).astype(np.int64),
            "up": np.bincount(label[change > 0], minlength=2).astype(np.int64),
            "down": np.bincount(label[change < 0], minlength=2).astype(np.int64),
            "table": table,
            "sum": np.bincount(label, weights=change, minlength=2),
            "square": np.bincount(label, weights=np.square(change), minlength=2),
        }


@dataclass(frozen=True)
class Improvement:
    """One index with its parts in patients with and without the endpoint."""

    value_: float
    std_err_: float
    events_: float
    non_events_: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, value -+ z * se."""
        return self.value_ - Z975 * self.std_err_, self.value_ + Z975 * self.std_err_

    @property
    def p(self) -> float:
        """Two-sided p of value / se; NaN without variation."""
        return two_sided_p(self.value_ / self.std_err_ if self.std_err_ > 0 else float("nan"))


@dataclass(frozen=True)
class Reclassification:
    """Net reclassification and integrated discrimination improvement. Not recommended; see `note`.

    Attributes
    ----------
    table_
        (2, groups, groups) patients without and with the endpoint by old and new risk group.
    categorical_, continuous_, idi_
        Net reclassification between groups and by any change, and integrated discrimination improvement.
    """

    columns: tuple[str, ...]
    table_: Counts
    categorical_: Improvement
    continuous_: Improvement
    idi_: Improvement

    note: ClassVar[str] = (
        "Not recommended: both indices can favour a miscalibrated model that adds nothing. "
        "Judge by the difference of the areas, calibration and net benefit."
    )

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row an index."""
        named = {"categorical NRI": self.categorical_, "continuous NRI": self.continuous_, "IDI": self.idi_}
        return [
            {
                "index": name,
                "value": i.value_,
                "std_err": i.std_err_,
                "low": i.interval[0],
                "high": i.interval[1],
                "p": i.p,
            }
            for name, i in named.items()
        ]


def reclassification(
    cohort: str, recipe: Recipe, endpoint: str, old: str, new: str, cuts: FloatArray
) -> Conclusion[Reclassification]:
    """Reclassification of the risks of a new model against an old one, with risk groups between `cuts`; one round.

    Not recommended (`Reclassification.note`), and never part of another conclusion.

    Raises
    ------
    FedmviError
        602 fewer than two patients in a class.
    """
    sums = yield total(RiskChanges(cohort, recipe, (old, new), endpoint, cuts))
    n = sums["n"].astype(np.float64)
    if float(n.min()) < 2:
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    table = sums["table"]
    above = np.array([np.triu(part, 1).sum() for part in table])
    below = np.array([np.tril(part, -1).sum() for part in table])
    mean = sums["sum"] / n
    variance = (sums["square"] - n * np.square(mean)) / (n - 1.0) / n
    idi = Improvement(float(mean[1] - mean[0]), float(np.sqrt(variance.sum())), float(mean[1]), float(-mean[0]))
    return Reclassification((old, new), table, _net(above, below, n), _net(sums["up"], sums["down"], n), idi)


def _net(up: Counts, down: Counts, n: FloatArray) -> Improvement:
    share = (up - down) / n
    variance = (up + down) / n**2 - np.square(up - down) / n**3
    return Improvement(float(share[1] - share[0]), float(np.sqrt(variance.sum())), float(share[1]), float(-share[0]))
