"""server/study: the steps of the fall of a score's performance, and the differences between them, as published.

Models (`drop_results`) and networks (`network_drop`) come to the same steps by their own ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import FedmviError
from common.federation.query import Summary
from common.published.results import Estimate, Result
from common.statistics.by_centre import Share, decisions, majority_class
from common.statistics.case_mix import BINS, ExpectedPerformance
from common.statistics.distributions import Z975
from common.study.table import FloatArray
from server.study.centres import Told
from server.study.models import refusal

STEPS = ("apparent", "out_of_fold", "expected", "observed")
"""From the training patients to others."""

DIFFERENCES = (("optimism", 0), ("case_mix", 1), ("remaining", 2))
"""Each is a step less the next one."""

NO_CUTOFF = "no cut-off could be chosen in training"

_HOW = (
    "`expected` is what would be observed in these patients if every risk of the {what} were right, from their risks "
    "in {bins} public bins and no outcome; `case_mix` so holds the label rate too, and what training risks were off. "
    "Limits of areas are DeLong's, of expected values those of drawing patients; limits of a difference add the "
    "variances of its two sides. For `optimism` and `remaining` both sides are of the same patients, which makes "
    "limits too wide, hardly too narrow."
)


@dataclass(frozen=True)
class Measure:
    """A number with its standard error, or why there is none."""

    value: float = math.nan
    std_err: float = math.nan
    why: str = ""
    low: float | None = None
    high: float | None = None

    def estimate(self, name: str, term: str) -> Estimate:
        """For publication; limits by the error where it has no better ones, inside [0, 1]."""
        if not math.isfinite(self.value):
            return Estimate(name=name, term=term, value=None, note=self.why)
        low = self.low if self.low is not None else max(0.0, self.value - Z975 * self.std_err)
        high = self.high if self.high is not None else min(1.0, self.value + Z975 * self.std_err)
        return Estimate(name=name, term=term, value=self.value, low=low, high=high, note=self.why)


@dataclass(frozen=True)
class Fall:
    """What is known of the fall of a score's performance in a cohort, or at one site of it.

    Attributes
    ----------
    base
        What the result is: its id, title, cohort, sites and how.
    observed
        The result that has the area there, and how many patients it is of.
    areas, balanced
        The four of `STEPS`.
    table
        (2, 2) patients there by class and test, as it may be published; None where it may not, or there is none.
    cutoff
        Of the score; None where none was chosen.
    optimism
        The optimism of area and balanced accuracy with limits of their own; None where one has those of its two sides.
    what
        What the score is of, in one word.
    further
        What a reader must know beside what holds of every fall.
    """

    base: dict[str, Any]
    observed: Result
    areas: Sequence[Measure]
    balanced: Sequence[Measure]
    table: FloatArray | None
    cutoff: float | None
    optimism: tuple[Measure | None, Measure | None] = (None, None)
    what: str = "model"
    further: str = ""


def published_fall(fall: Fall) -> Result:
    """The steps of both measures with their differences, and accuracy beside that of the commoner class."""
    observed = fall.observed
    base = {**fall.base, "statistic": "performance-drop", "n": observed.n, "events": observed.events}
    if observed.status != "estimated":
        return Result.model_validate({**base, "status": observed.status, "note": observed.note})
    of_area, of_balanced = fall.optimism
    estimates = _ladder("auc", fall.areas, of_area) + _ladder("balanced_accuracy", fall.balanced, of_balanced)
    if fall.table is not None and fall.cutoff is not None:
        estimates.append(_shown("accuracy", decisions(fall.table, fall.cutoff)["accuracy"]))
    if observed.n is not None and observed.events is not None:
        estimates.append(_shown("majority_class", majority_class(observed.n - observed.events, observed.events)))
    note = f"{_HOW.format(what=fall.what, bins=BINS)} {fall.further}".strip()
    return Result.model_validate({**base, "estimates": estimates, "note": note})


def _shown(name: str, share: Share) -> Estimate:
    return Estimate(name=name, value=share.value, low=share.low, high=share.high)


def _ladder(term: str, steps: Sequence[Measure], optimism: Measure | None) -> list[Estimate]:
    """The steps of a measure and their differences, each with its limits."""
    found = [step.estimate(name, term) for name, step in zip(STEPS, steps, strict=True)]
    for name, i in DIFFERENCES:
        before, after = steps[i], steps[i + 1]
        value = before.value - after.value
        if not math.isfinite(value):
            why = before.why if not math.isfinite(before.value) else after.why
            found.append(Estimate(name=name, term=term, value=None, note=why))
            continue
        half = Z975 * math.hypot(before.std_err, after.std_err)
        low, high, note = value - half, value + half, ""
        if name == "optimism" and optimism is not None:
            low, high, note = optimism.low, optimism.high, optimism.why  # type: ignore[assignment]
        found.append(Estimate(name=name, term=term, value=value, low=low, high=high, note=note))
    return found


def area_of(result: Result | None, term: str | None = None) -> Measure:
    """The area that a result has, or that of one of its terms."""
    areas = [] if result is None else [e for e in result.estimates if e.name == "auc" and term in (None, e.term)]
    if result is None or not areas or areas[0].value is None:
        return Measure(why=result.note if result is not None else "no area")
    found = areas[0]
    std_err = math.nan if found.std_err is None else found.std_err
    return Measure(areas[0].value, std_err, low=found.low, high=found.high)


def balanced_of(table: FloatArray | None, why: str = "") -> Measure:
    """The balanced accuracy of a (2, 2) table that may be shown; `why` there is none, if not that a count is small."""
    if table is None:
        return Measure(why=why or "hidden: a count is small")
    (tn, fp), (fn, tp) = table
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    variance = sensitivity * (1.0 - sensitivity) / (tp + fn) + specificity * (1.0 - specificity) / (tn + fp)
    share = decisions(table, 0.5)["balanced_accuracy"]  # of any threshold: it is net benefit that weighs by it
    return Measure((sensitivity + specificity) / 2.0, math.sqrt(variance) / 2.0, low=share.low, high=share.high)


def expected_over(found: ExpectedPerformance | Told | FedmviError) -> tuple[Measure, Measure]:
    """The expected area and balanced accuracy over all sites of a cohort."""
    if not isinstance(found, ExpectedPerformance):
        nothing = Measure(why=refusal(found)[1] if isinstance(found, FedmviError) else "")
        return nothing, nothing
    balanced = Measure(found.balanced_accuracy_, found.balanced_accuracy_std_err_)
    if not math.isfinite(found.balanced_accuracy_):
        balanced = Measure(why=NO_CUTOFF)
    return Measure(found.auc_, found.auc_std_err_), balanced


def expected_at(found: ExpectedPerformance | Told | FedmviError, site: str) -> tuple[Measure, Measure]:
    """Those that a site tells of its own patients."""
    told = of_site(found, site)
    if isinstance(told, FedmviError):
        nothing = Measure(why=refusal(told)[1])
        return nothing, nothing
    if not int(told["estimable"]):
        nothing = Measure(why="not estimable: too few patients")
        return nothing, nothing
    (auc, auc_error), (balanced, balanced_error) = told["auc"].tolist(), told["balanced_accuracy"].tolist()
    known = Measure(balanced, balanced_error) if balanced else Measure(why=NO_CUTOFF)
    return Measure(auc, auc_error), known


def of_site(told: Any, site: str) -> Summary | FedmviError:
    """What a site says of itself, or why it or the whole cohort says nothing."""
    found: Summary | FedmviError = told if isinstance(told, FedmviError) else told[site]
    return found
