"""common/statistics: how a frozen score does at each centre alone, and how centres differ.

Each site tells its own area, calibration and cross table at the frozen cut-off, as far as its counts may be shown.
Areas are combined on the logit scale, where their error is nearly normal near 1 (Snell et al., Stat Methods Med Res
2018;27:3505; Debray et al., BMJ 2017;356:i6460).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import HIDDEN, MOST_PATIENTS, Block, Kind, Risk, SiteView, Summary
from common.federation.runner import attempt, together
from common.statistics.areas_alone import OF_ERRORS, OF_LINES
from common.statistics.calibration import calibration
from common.statistics.confusion import wilson
from common.statistics.counts import hide_in_row
from common.statistics.distributions import Z975, normal_quantile
from common.statistics.random_effects import MetaAnalysis, Method, meta_analysis
from common.statistics.refinement import public_thresholds
from common.statistics.roc import RocResult, roc
from common.study.ranges import LARGEST
from common.study.recipe import Cut, Frame, Recipe
from common.study.table import FloatArray

_LEAST_ERROR = 1e-9


def cutoff_of(recipe: Recipe, column: str) -> float | None:
    """The cut-off of a score, by the recipe's last step; None where that is none of this score."""
    last = recipe.steps[-1] if recipe.steps else None
    return last.cutoff if isinstance(last, Cut) and last.source == column else None


@dataclass(frozen=True)
class CentreAlone(Alone):
    """One site's own area, calibration and cross table of a score.

    The cut-off is that of the recipe's last step, so that it is frozen with the score and not chosen by who asks; a
    recipe that ends in the score has no table.
    """

    name: ClassVar[str] = "query.centre_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    column: str
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`; `estimable`, `calibrated` (): whether what follows is told; `auc` (2,) area and
        DeLong's error; `large`, `slope` (2,) estimate and error; `expected` () sum of the risks, in whole patients;
        `table` (2, 2) by class and test, a row hidden where one of its cells is small."""
        return {
            "classes": Block((3,), Kind.COUNT),
            "estimable": Block((), Kind.COUNT),
            "calibrated": Block((), Kind.COUNT),
            "auc": Block((2,), Kind.REAL),
            "large": Block((2,), Kind.REAL),
            "slope": Block((2,), Kind.REAL),
            "expected": Block((), Kind.REAL),
            "table": Block((2, 2), Kind.COUNT),
        }

    def consistent(self) -> bool:
        """See `Query`: what the recipe ends in is this score, or its cut-off."""
        last = self.recipe.steps[-1] if self.recipe.steps else None
        return not isinstance(last, Cut) or cutoff_of(self.recipe, self.column) is not None

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: an area is none beyond 1, and what is told of risks is of these patients."""
        told = [int(summary[name]) for name in ("estimable", "calibrated")]
        if not super().plausible(summary, sites) or not set(told) <= {0, 1}:
            return False
        (auc, error), classes = summary["auc"].tolist(), summary["classes"][:2]
        # Of the errors that a hospital tells none is so small by chance.
        sound = 0.0 <= auc <= 1.0 and (error == 0.0 or _LEAST_ERROR <= error <= 1.0)
        (large, large_error), (slope, slope_error) = summary["large"].tolist(), summary["slope"].tolist()
        sound = sound and max(abs(large), abs(slope), large_error, slope_error) <= LARGEST
        sound = sound and min(large_error, slope_error) >= 0.0
        hidden = int(classes.min()) == HIDDEN
        events = hidden or not any(told) or int(classes.min()) > 0
        expected, most = float(summary["expected"]), float(MOST_PATIENTS if hidden else classes.sum())
        return sound and events and (told[1] == 0 or _LEAST_ERROR < expected <= most + _LEAST_ERROR)

    @property
    def coarse(self) -> bool:
        """See `Query`: a table at a cut-off that is no public one tells of ranks."""
        cutoff = cutoff_of(self.recipe, self.column)
        return cutoff is None or public_thresholds(np.array([[cutoff]]))

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own AUC, calibration and table at the frozen cut-off of {self.column} for {self.endpoint}"

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a class nothing but counts is told; nothing of a calibration that has
        no finite fit."""
        frame = site.frame(self)
        events = int(np.nansum(frame.endpoints[self.endpoint]))
        summary: Summary = {
            "classes": hide_in_row(np.array([frame.n - events, events, 0], dtype=np.int64), self.min_cell),
            "estimable": np.array(0, dtype=np.int64),
            "calibrated": np.array(0, dtype=np.int64),
            "auc": np.zeros(2),
            "large": np.zeros(2),
            "slope": np.zeros(2),
            "expected": np.zeros(()),
            "table": np.full((2, 2), HIDDEN, dtype=np.int64),
        }
        if min(events, frame.n - events) < max(self.min_class, 2):
            return summary
        area, fit = self.conclude(
            site,
            together(
                roc(self.cohort, self.recipe, self.endpoint, self.column),
                attempt(calibration(self.cohort, self.recipe, self.endpoint, self.column)),
            ),
        )
        if isinstance(area, RocResult):
            summary["estimable"] = np.array(1, dtype=np.int64)
            summary["auc"] = np.array([area.auc_, round(area.std_err_, OF_ERRORS)])
            summary["table"] = self._table(frame)
        if not isinstance(fit, FedmviError):
            summary["calibrated"] = np.array(1, dtype=np.int64)
            # With two scores for all others the digits of a line would be those of one patient's score.
            summary["large"] = np.round([fit.in_the_large_, fit.in_the_large_std_err_], OF_LINES)
            summary["slope"] = np.round([fit.slope_, float(np.sqrt(fit.covariance_[1, 1]))], OF_LINES)
            summary["expected"] = np.array(fit.in_whole_patients().expected_)
        return summary

    def _table(self, frame: Frame) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """(2, 2) by class and test, without those who lack the score; a row is hidden where one of its cells is small,
        for its sum is known."""
        cutoff = cutoff_of(self.recipe, self.column)
        table = np.full((2, 2), HIDDEN, dtype=np.int64)
        if cutoff is None:
            return table
        score, y = frame.columns[self.column], frame.endpoints[self.endpoint]
        for label in (0, 1):
            own = score[(y == label) & ~np.isnan(score)]
            positive = int(np.count_nonzero(own >= cutoff))
            row = np.array([own.size - positive, positive], dtype=np.int64)
            # A zero is told nowhere else: with it everybody of the class would be known to be on one side.
            if int(row.min()) >= self.min_cell:
                table[label] = row
        return table


@dataclass(frozen=True)
class Share:
    """A number with its 95 % limits; all None where a count that it needs is hidden."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


def decisions(table: FloatArray, cutoff: float) -> dict[str, Share]:
    """What a cross table says of decisions at a cut-off.

    Sensitivity, specificity and both accuracies have Wilson's limits. Those of balanced accuracy are made of the limits
    of its two independent shares (square-and-add; Newcombe, Stat Med 1998;17:873). Net benefit is that of treating
    whom the cut-off calls positive (Vickers & Elkin, Med Decis Making 2006;26:565), with its multinomial error.

    Parameters
    ----------
    table
        (2, 2) patients by class and test; a hidden row is negative.
    cutoff
        Risk at which the cut-off is; there is no net benefit at 1.
    """
    (tn, fp), (fn, tp) = table.astype(np.float64)
    found = {name: Share() for name in DECISIONS}
    if min(fn, tp) >= 0:
        found["sensitivity"] = _share(tp, tp + fn)
    if min(tn, fp) >= 0:
        found["specificity"] = _share(tn, tn + fp)
    if min(tn, fp, fn, tp) < 0:
        return found
    n = tn + fp + fn + tp
    found["balanced_accuracy"] = _balanced(found["sensitivity"], found["specificity"])
    found["accuracy"] = _share(tn + tp, n)
    if cutoff >= 1.0:
        return found  # whoever acts on certainty only has no odds to weigh harm by
    weight = cutoff / (1.0 - cutoff)
    benefit = (tp - weight * fp) / n
    half = Z975 * float(np.sqrt(max((tp + weight**2 * fp) / n - benefit**2, 0.0) / n))
    found["net_benefit"] = Share(benefit, benefit - half, benefit + half)
    return found


DECISIONS = ("sensitivity", "specificity", "balanced_accuracy", "accuracy", "net_benefit")


def majority_class(absent: int, present: int) -> Share:
    """The accuracy of telling everybody the commoner class, with Wilson's limits."""
    return _share(float(max(absent, present)), float(absent + present))


def _share(count: float, n: float) -> Share:
    low, high = wilson(np.array([count]), np.array([n]))
    return Share(count / n, float(low[0]), float(high[0]))


def _balanced(first: Share, second: Share) -> Share:
    a, a_low, a_high = _numbers(first)
    b, b_low, b_high = _numbers(second)
    value = (a + b) / 2.0
    low = value - float(np.hypot(a - a_low, b - b_low)) / 2.0
    return Share(value, low, value + float(np.hypot(a_high - a, b_high - b)) / 2.0)


def _numbers(share: Share) -> tuple[float, float, float]:
    if share.value is None or share.low is None or share.high is None:
        raise ValueError("a share that is hidden has no numbers")
    return share.value, share.low, share.high


@dataclass(frozen=True)
class CentreAreas:
    """Areas of several centres, combined.

    Attributes
    ----------
    sites_
        Centres whose area has an error, in the order given: those that are combined.
    mean_, hartung_knapp_, prediction_
        Summary area with its 95 % limits, and the 95 % limits for the area of a new centre; NaN of fewer than two,
        respectively three, centres.
    tau2_, i2_
        Variance between centres, of the logit, by restricted maximum likelihood, and its share in per cent.
    tau2_limits_, i2_limits_
        Their 95 % limits (`random_effects.q_profile`).
    """

    sites_: tuple[str, ...]
    mean_: float
    hartung_knapp_: tuple[float, float]
    prediction_: tuple[float, float]
    tau2_: float
    tau2_limits_: tuple[float, float]
    i2_: float
    i2_limits_: tuple[float, float]


@dataclass(frozen=True)
class Extremes:
    """The worst of several centres, and the gap between the best and the worst.

    Attributes
    ----------
    worst_
        The centre with the smallest area.
    worst_limits_, gap_limits_
        95 % limits for the smallest true area of these centres, whichever has it, and for the difference of the largest
        and the smallest. The worst is the worst partly by chance: so they are those that all centres' areas keep at
        once, each with confidence 0.95^(1/k) (Sidak, J Am Stat Assoc 1967;62:626), and too wide rather than too narrow.
    """

    worst_: str
    auc_: float
    worst_limits_: tuple[float, float]
    gap_: float
    gap_limits_: tuple[float, float]


def extremes(areas: Mapping[str, tuple[float, float]]) -> Extremes:
    """The worst centre and the gap, of the areas of at least one centre, each with its standard error."""
    worst = min(sorted(areas), key=lambda site: areas[site][0])
    auc, std_err = (np.array([one[k] for one in areas.values()]) for k in (0, 1))
    half = normal_quantile(0.5 + 0.5 * 0.95 ** (1.0 / len(areas))) * std_err
    low, high = np.maximum(auc - half, 0.0), np.minimum(auc + half, 1.0)
    gap = max(0.0, float(low.max() - high.min())), float(high.max() - low.min())
    return Extremes(worst, areas[worst][0], (float(low.min()), float(high.min())), float(np.ptp(auc)), gap)


def combined_areas(areas: Mapping[str, tuple[float, float]]) -> CentreAreas | None:
    """Random-effects summary of the areas of centres, each with its standard error; None of fewer than two.

    On the logit scale by the delta method, with REML and the limits of Hartung & Knapp. An area of 0 or 1, or without
    an error, has no finite logit and is left out.
    """
    usable = {site: one for site, one in areas.items() if 0.0 < one[0] < 1.0 and np.isfinite(one[1]) and one[1] > 0.0}
    if len(usable) < 2:
        return None
    auc, std_err = (np.array([one[k] for one in usable.values()]) for k in (0, 1))
    scale = auc * (1.0 - auc)
    fit: MetaAnalysis = meta_analysis(np.log(auc / (1.0 - auc)), np.square(std_err / scale), Method.REML)
    low, high = (_area(limit) for limit in fit.hartung_knapp_)
    new_low, new_high = (_area(limit) for limit in fit.prediction_)
    return CentreAreas(
        tuple(usable), _area(fit.estimate_), (low, high), (new_low, new_high), fit.tau2_, fit.tau2_limits_, fit.i2_,
        fit.i2_limits_,
    )  # fmt: skip


def _area(logit: float) -> float:
    return float(1.0 / (1.0 + np.exp(-logit)))
