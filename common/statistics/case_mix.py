"""common/statistics: what a model would reach in patients as they are, if its risks were right for them.

Patients who are more alike are harder to tell apart by any model. The model-based concordance says how hard: the area
that is expected where each patient has the endpoint with the risk that the model gives him (van Klaveren et al., Stat
Med 2016;35:4136, equation 4; Diagn Progn Res 2018;2:9). No outcome is needed, so it parts a fall of the observed area
into what the patients explain and what they do not. Risks are counted in public bins of a hundredth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import Block, Kind, Query, Risk, SiteView, Summary, total
from common.federation.runner import Conclusion
from common.statistics.by_centre import cutoff_of
from common.statistics.calibration import whole_patients
from common.statistics.distributions import Z975
from common.statistics.refinement import Counts, public_thresholds
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray

BINS = 100
"""Bins of a risk: hundredths."""

_ROUNDING = 1e-9
_DECIMALS = 3
"""Of what one site tells: a patient's own risk moves an area of some dozens by less."""


@dataclass(frozen=True)
class RiskCounts(Query):
    """Patients by hundredths of a risk, below and from its frozen cut-off on; no outcome is looked at."""

    name: ClassVar[str] = "query.risk_counts"
    risk: ClassVar[Risk] = Risk.CELLS

    column: str

    def blocks(self) -> Mapping[str, Block]:
        """`n` (2, 100): below the cut-off of the recipe's last step, and from it on; all below where it has none."""
        return {"n": Block((2, BINS), Kind.COUNT)}

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        cutoff = cutoff_of(self.recipe, self.column)
        return cutoff is None or public_thresholds(np.array([[cutoff]]))

    def words(self) -> str:
        """See `Query`."""
        return f"patients in {BINS} bins of {self.column}, cohort {self.cohort}"

    def answer(self, frame: Frame) -> Summary:
        """Patients without a risk are left out."""
        risk = frame.columns[self.column]
        risk = risk[~np.isnan(risk)]
        cutoff = cutoff_of(self.recipe, self.column)
        above = np.zeros(risk.size, dtype=bool) if cutoff is None else risk >= cutoff
        bins = np.clip(np.floor(risk * BINS + _ROUNDING).astype(np.int64), 0, BINS - 1)
        return {"n": np.stack([np.bincount(bins[above == side], minlength=BINS) for side in (False, True)])}


@dataclass(frozen=True)
class ExpectedPerformance:
    """What would be observed in these patients if the model's risks were right.

    Attributes
    ----------
    n_
        Patients with a risk.
    prevalence_
        Their mean risk.
    auc_, auc_std_err_
        Model-based concordance, and its error from drawing patients (infinitesimal jackknife).
    balanced_accuracy_, balanced_accuracy_std_err_
        Mean of the expected sensitivity and specificity at the cut-off, likewise; NaN without a cut-off.
    """

    n_: int
    prevalence_: float
    auc_: float
    auc_std_err_: float
    balanced_accuracy_: float
    balanced_accuracy_std_err_: float

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a measure, with its 95 % limits."""
        pairs = (("auc", self.auc_, self.auc_std_err_),
                 ("balanced accuracy", self.balanced_accuracy_, self.balanced_accuracy_std_err_))  # fmt: skip
        return [{"measure": name, "value": v, "low": v - Z975 * e, "high": v + Z975 * e} for name, v, e in pairs]


def risks_of_bins(cutoff: float | None) -> FloatArray:
    """(2, 100) the risk that stands for a bin's patients: the middle of the part on their side of the cut-off."""
    low = np.tile(np.arange(BINS) / BINS, (2, 1))
    high = low + 1.0 / BINS
    if cutoff is not None:
        high[0] = np.clip(high[0], low[0], np.maximum(low[0], cutoff))
        low[1] = np.clip(low[1], np.minimum(high[1], cutoff), high[1])
    return (low + high) / 2.0


def expected_performance(counts: Counts, cutoff: float | None = None) -> ExpectedPerformance:
    """The expected performance of (2, 100) patients by bin, below and from the cut-off on.

    Raises
    ------
    FedmviError
        601 fewer than two patients.
    """
    number = counts.reshape(-1).astype(np.float64)
    risk = risks_of_bins(cutoff).reshape(-1)
    if number.sum() < 2:
        raise FedmviError(601)
    order = np.argsort(risk, kind="stable")
    number, risk = number[order], risk[order]
    auc, auc_error = _concordance(number, risk)
    balanced = balanced_error = float("nan")
    if cutoff is not None:
        balanced, balanced_error = _balanced(number, risk, (risk >= cutoff).astype(np.float64))
    prevalence = float(number @ risk) / float(number.sum())
    return ExpectedPerformance(int(number.sum()), prevalence, auc, auc_error, balanced, balanced_error)


def _concordance(number: FloatArray, risk: FloatArray) -> tuple[float, float]:
    """Concordance of cells by ascending risk, and its error: pairs of one cell are tied, a patient is no pair."""
    present, absent = number * risk, number * (1.0 - risk)
    below = np.cumsum(absent) - absent  # expected patients without the endpoint of lower risk
    above = present.sum() - np.cumsum(present)
    # What one patient of a cell contributes to the concordant pairs, and to all pairs, with himself left out.
    own = risk * (1.0 - risk)
    agree = risk * (below + 0.5 * absent) + (1.0 - risk) * (above + 0.5 * present) - own
    pairs = risk * absent.sum() + (1.0 - risk) * present.sum() - 2.0 * own
    area = float(number @ agree) / float(number @ pairs)
    influence = 2.0 * (agree - area * pairs) / float(number @ pairs)
    return area, float(np.sqrt(number @ np.square(influence)))


def _balanced(number: FloatArray, risk: FloatArray, positive: FloatArray) -> tuple[float, float]:
    present, absent = float(number @ risk), float(number @ (1.0 - risk))
    sensitivity = float(number @ (risk * positive)) / present
    specificity = float(number @ ((1.0 - risk) * (1.0 - positive))) / absent
    influence = (
        risk * (positive - sensitivity) / present + (1.0 - risk) * (1.0 - positive - specificity) / absent
    ) / 2.0
    return (sensitivity + specificity) / 2.0, float(np.sqrt(number @ np.square(influence)))


def case_mix(cohort: str, recipe: Recipe, column: str) -> Conclusion[ExpectedPerformance]:
    """The expected performance of a risk in a cohort, at the cut-off that the recipe ends in; one round.

    Raises
    ------
    FedmviError
        601 fewer than two patients.
    """
    sums = yield total(RiskCounts(cohort, recipe, column))
    return expected_performance(sums["n"], cutoff_of(recipe, column))


@dataclass(frozen=True)
class CaseMixAlone(Alone):
    """One site's own expected performance, for cohorts of too few sites to be summed."""

    name: ClassVar[str] = "query.case_mix_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    column: str
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`estimable` (); `auc`, `balanced_accuracy` (2,) estimate and error; `prevalence` () in whole patients; no
        digits that one patient's risk could be read off."""
        return {
            "estimable": Block((), Kind.COUNT),
            "auc": Block((2,), Kind.REAL),
            "balanced_accuracy": Block((2,), Kind.REAL),
            "prevalence": Block((), Kind.REAL),
        }

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: all are shares, and their errors."""
        numbers = np.concatenate([summary["auc"], summary["balanced_accuracy"], summary["prevalence"].reshape(1)])
        sound = super().plausible(summary, sites) and int(summary["estimable"]) in (0, 1)
        return sound and bool(np.all((numbers >= 0.0) & (numbers <= 1.0)))

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own performance of {self.column} as its risks would have it, without a look at outcomes"

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        cutoff = cutoff_of(self.recipe, self.column)
        return cutoff is None or public_thresholds(np.array([[cutoff]]))

    def respond(self, site: SiteView) -> Summary:
        """Nothing is told of fewer patients than two classes of `min_class` would have."""
        summary: Summary = {
            "estimable": np.array(0, dtype=np.int64),
            "auc": np.zeros(2),
            "balanced_accuracy": np.zeros(2),
            "prevalence": np.zeros(()),
        }
        if site.frame(self).n < 2 * self.min_class:
            return summary
        found = self.conclude(site, case_mix(self.cohort, self.recipe, self.column))
        summary["estimable"] = np.array(1, dtype=np.int64)
        known = int(np.count_nonzero(~np.isnan(site.frame(self).columns[self.column])))
        expected = whole_patients(found.prevalence_ * known)
        smaller = max(min(expected, known - expected), 1.0)
        summary["auc"] = np.round([found.auc_, found.auc_std_err_], _DECIMALS)
        summary["prevalence"] = np.array(expected / known)
        if cutoff_of(self.recipe, self.column) is not None:
            # A share of the smaller class, in steps of one of its patients.
            told = whole_patients(found.balanced_accuracy_ * smaller) / smaller
            summary["balanced_accuracy"] = np.array([told, round(found.balanced_accuracy_std_err_, _DECIMALS)])
        return summary
