"""common/statistics: the largest cut-off of a frozen score whose sensitivity is at least a target with 95 % confidence.

The guarantee is the one-sided lower limit of Clopper & Pearson (Biometrika 1934;26:404). It holds although the cut-off
is chosen: sensitivity falls with the cut-off, so one that is too high is taken only if the limit at the lowest
cut-off that is too high was wrong, and that happens in at most 5 % of cohorts. With all of m patients at or above a
cut-off the limit is 0.05^(1/m): no more can be guaranteed. The patients must not be those whom the score was fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import Block, Kind, Risk, SiteView, Summary, total
from common.federation.runner import Conclusion, attempt
from common.statistics.alone_errors import TOO_FEW, alone_error
from common.statistics.confusion import HUNDREDTHS, ThresholdCounts
from common.statistics.counts import Counts
from common.study.recipe import Recipe

MISSED = 0.05
"""Share of cohorts in which the guarantee may be wrong."""

TOO_FEW_POSITIVES = 639


@dataclass(frozen=True)
class GuaranteedSensitivity:
    """A cut-off with a guarantee: a score of at least `cutoff_` is a positive test.

    Attributes
    ----------
    target
        The sensitivity that was asked for.
    lower_
        Lower 95 % limit of the sensitivity at the cut-off, one-sided.
    positives_
        Patients with the endpoint; None where a site does not tell.
    """

    column: str
    target: float
    cutoff_: float
    lower_: float
    positives_: int | None

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row."""
        return [
            {
                "column": self.column,
                "target": self.target,
                "cutoff": self.cutoff_,
                "sensitivity_low": self.lower_,
                "positives": self.positives_,
            }
        ]


def most_guaranteed(positives: int) -> float:
    """The largest sensitivity that so many patients with the endpoint can guarantee: 0.05^(1/m)."""
    return float(MISSED ** (1.0 / positives)) if positives > 0 else 0.0


def lower_limit(found: int, positives: int) -> float:
    """The one-sided lower 95 % limit of Clopper & Pearson of `found` of `positives`."""
    from scipy import special

    return float(special.betaincinv(found, positives - found + 1, MISSED)) if found > 0 else 0.0


def guaranteed_sensitivity(
    cohort: str, recipe: Recipe, endpoint: str, column: str, target: float
) -> Conclusion[GuaranteedSensitivity]:
    """The largest of the public cut-offs that guarantees the target; one round.

    Raises
    ------
    FedmviError
        602 one class only, 639 too few patients with the endpoint to guarantee it, 641 no cut-off does.
    """
    sums = yield total(ThresholdCounts(cohort, recipe, (column,), endpoint, HUNDREDTHS[np.newaxis]))
    if not bool(np.all(sums["n"] > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    found, positives = sums["positive"][0, :, 1], int(sums["n"][0, 1])
    most = most_guaranteed(positives)
    if most < target:
        # Cut off, not rounded: no more than this is guaranteed.
        raise FedmviError(TOO_FEW_POSITIVES, endpoint=endpoint, cohort=cohort, most=int(most * 1000.0) / 1000.0)
    place = _largest(found, positives, target)
    if place is None:
        raise FedmviError(641, column=column, cohort=cohort)
    lower = lower_limit(int(found[place]), positives)
    return GuaranteedSensitivity(column, target, float(HUNDREDTHS[place]), lower, positives)


def _largest(found: Counts, positives: int, target: float) -> int | None:
    """The place of the largest cut-off whose limit reaches the target; limits fall with the cut-off."""
    reached = [place for place, count in enumerate(found.tolist()) if lower_limit(count, positives) >= target]
    return reached[-1] if reached else None


@dataclass(frozen=True)
class GuaranteedAlone(Alone):
    """One site's own cut-off with a guarantee: it runs the same conclusion over itself and tells what it chose."""

    name: ClassVar[str] = "query.guaranteed_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    column: str
    target: float
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`error` () the number of what was met, or 0; `cutoff` (2,) and its lower limit, or the most that can be
        guaranteed and 0."""
        return {"error": Block((), Kind.COUNT), "cutoff": Block((2,), Kind.REAL)}

    def consistent(self) -> bool:
        """See `Query`."""
        return 0.0 < self.target < 1.0

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: a public cut-off, and a limit that is a share."""
        cutoff, lower = summary["cutoff"].tolist()
        error = int(summary["error"])
        share = 0.0 <= cutoff <= 1.0 and 0.0 <= lower <= 1.0
        return super().plausible(summary, sites) and error >= 0 and share and (error > 0 or cutoff in HUNDREDTHS)

    def words(self) -> str:
        """See `Query`."""
        return (
            f"the largest cut-off of {self.column} at which this site's own patients guarantee a sensitivity of "
            f"{self.target:g} for {self.endpoint}"
        )

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a class nothing is told.

        The limit is told to hundredths, rounded down, which does not tell how many patients were found.
        """
        frame = site.frame(self)
        events = int(np.nansum(frame.endpoints[self.endpoint]))
        if min(events, frame.n - events) < self.min_class:
            return {"error": np.array(TOO_FEW, dtype=np.int64), "cutoff": np.zeros(2)}
        asked = guaranteed_sensitivity(self.cohort, self.recipe, self.endpoint, self.column, self.target)
        found = self.conclude(site, attempt(asked))
        if isinstance(found, FedmviError):
            most = float(found.facts.get("most", 0.0))
            return {"error": np.array(found.number, dtype=np.int64), "cutoff": np.array([most, 0.0])}
        lower = np.floor(found.lower_ * 100.0) / 100.0
        return {"error": np.array(0, dtype=np.int64), "cutoff": np.array([found.cutoff_, lower])}

    def read(self, summary: Summary) -> GuaranteedSensitivity:
        """The cut-off that a site told; raises the error that it met."""
        number, (cutoff, lower) = int(summary["error"]), summary["cutoff"].tolist()
        if number == TOO_FEW_POSITIVES:
            raise FedmviError(number, endpoint=self.endpoint, cohort=self.cohort, most=round(cutoff, 3))
        if number:
            names = {"column": self.column, "cohort": self.cohort, "endpoint": self.endpoint}
            raise alone_error(number, **names, min_class=self.min_class)
        return GuaranteedSensitivity(self.column, self.target, cutoff, lower, None)
