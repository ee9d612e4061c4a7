"""common/statistics: two scores of the same patients at one site by itself: their areas, the paired difference, and how
the risks are calibrated.

For a cohort of too few sites to be summed: what leaves are the finished numbers of `compare_areas` and `calibration`,
not the counts and sums that they were made of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import Block, Kind, Risk, SiteView, Summary
from common.federation.runner import attempt, together
from common.federation.totals import zeros
from common.statistics.calibration import calibration
from common.statistics.counts import hide_in_row
from common.statistics.distributions import two_sided_p
from common.statistics.roc import AreaDifference, compare_areas
from common.study.ranges import LARGEST

OF_ERRORS, OF_LINES = 6, 2
"""Decimals that are told. Areas and their errors are made of ranks; a line is made of the scores themselves, and with
more decimals than are printed it would follow that of one patient whom a network sets apart from all others."""


@dataclass(frozen=True)
class AreasAlone(Alone):
    """One site's own areas of two scores, the error of their difference, and both calibrations; no curve, no table."""

    name: ClassVar[str] = "query.areas_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    columns: tuple[str, ...]
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`; `estimable` (); `auc` (2, 2) area and DeLong's error by column, `paired` () the
        error of their difference; `calibrated` (2,) whether a column's line is told; `large`, `slope` (2, 2) estimate
        and error by column."""
        return {
            "classes": Block((3,), Kind.COUNT),
            "estimable": Block((), Kind.COUNT),
            "auc": Block((2, 2), Kind.REAL),
            "paired": Block((), Kind.REAL),
            "calibrated": Block((2,), Kind.COUNT),
            "large": Block((2, 2), Kind.REAL),
            "slope": Block((2, 2), Kind.REAL),
        }

    def consistent(self) -> bool:
        """See `Query`."""
        return len(self.columns) == 2

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: areas of patients, and a difference whose error the two errors allow (Cauchy and Schwarz)."""
        told = {int(summary["estimable"]), *summary["calibrated"].tolist()}
        if not super().plausible(summary, sites) or not told <= {0, 1}:
            return False
        (first, e), (second, f) = summary["auc"].tolist()
        paired, slack = float(summary["paired"]), 2.0 * 10.0**-OF_ERRORS
        sound = min(first, second, e, f) >= 0.0 and max(first, second, e, f) <= 1.0
        sound = sound and abs(e - f) - slack <= paired <= e + f + slack
        lines = np.concatenate([summary["large"], summary["slope"]])
        return sound and bool(np.all(np.abs(lines) <= LARGEST)) and bool(np.all(lines[:, 1] >= 0.0))

    def words(self) -> str:
        """See `Query`."""
        return (
            f"this site's own AUCs of {' and '.join(self.columns)} for {self.endpoint}, the error of their difference, "
            "and both calibrations"
        )

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a class nothing but counts is told; nothing of a calibration that has
        no finite fit. The recipe leaves patients who have both scores (else error 640)."""
        frame = site.frame(self)
        events = int(np.nansum(frame.endpoints[self.endpoint]))
        classes = np.array([frame.n - events, events, 0], dtype=np.int64)
        summary = zeros(self)
        summary["classes"] = hide_in_row(classes, self.min_cell)
        if min(events, frame.n - events) < max(self.min_class, 2):
            return summary
        compared, *lines = self.conclude(
            site,
            together(
                compare_areas(self.cohort, self.recipe, self.endpoint, self.columns),
                *(attempt(calibration(self.cohort, self.recipe, self.endpoint, name)) for name in self.columns),
            ),
        )
        summary["estimable"] = np.array(1, dtype=np.int64)
        summary["auc"] = np.array([[area.auc_, round(area.std_err_, OF_ERRORS)] for area in compared.rocs_])
        first, second = self.columns
        summary["paired"] = np.array(round(compared.difference(first, second).std_err_, OF_ERRORS))
        for i, line in enumerate(lines):
            if isinstance(line, FedmviError):
                continue
            summary["calibrated"][i] = 1
            summary["large"][i] = np.round([line.in_the_large_, line.in_the_large_std_err_], OF_LINES)
            summary["slope"][i] = np.round([line.slope_, float(np.sqrt(line.covariance_[1, 1]))], OF_LINES)
        return summary


def own_difference(columns: tuple[str, str], summary: Summary) -> AreaDifference:
    """What a site's answer says of the difference of its areas; p is NaN where both scores order patients alike."""
    (first, _), (second, _) = summary["auc"].tolist()
    std_err = float(summary["paired"])
    z = (first - second) / std_err if std_err > 0.0 else math.nan
    return AreaDifference(columns, first - second, std_err, z, two_sided_p(z))
