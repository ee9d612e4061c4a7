"""common/statistics: the verdict on a site: whether it differs from the others, and what kind of difference it is.

The rule, in this order:

1. A site that refuses, or has fewer than 20 patients: cannot tell.
2. No test with an adjusted p value of at most 0.05: none detected, which is not the same as none.
3. Means that differ along the line between the classes only: label shift. Off that line, or in the histograms alone:
   covariate shift. Both: several. Without two columns, or classes that differ, the kind cannot be told.
4. Where outcomes may be used, with adjusted p values again: a score that is calibrated leaves 3 as it is, but where
   scores differ within classes the shift is one of covariates. A score that is not calibrated: with the same scores
   within classes and another frequency of the outcome, label shift; else concept shift. Several where 3 found a shift
   of covariates, too: a score of distorted predictors is not calibrated either, whatever the outcome depends on.
   Another frequency is label shift where neither calibration nor predictors say that it is something else.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from common.statistics.distributions import Z975
from common.statistics.label_shift import LabelShift
from common.statistics.max_t import LEVEL

LEAST_PATIENTS = 20

LEAST_SHARE = 0.25
"""Share of a difference along the line between the classes from which on another frequency of the outcome is suspected.

Set on tuning seeds of `fedmvi-simulate benchmark shift`: at most 0.12 after gain, offset, bias field, noise and their
combinations, 0.15 to 0.6 after blur, and 0.4 or more where the frequency differed and that was found.
"""


class Verdict(StrEnum):
    """What kind of shift a site shows."""

    NONE_DETECTED = "none-detected"
    COVARIATE = "covariate"
    LABEL = "label"
    CONCEPT = "concept"
    SEVERAL = "several"
    CANNOT_TELL = "cannot-tell"


def without_outcomes(detected: bool, label: LabelShift | None, prevalence: float) -> Verdict:
    """The verdict from predictors alone.

    Parameters
    ----------
    detected
        Whether any test has an adjusted p value of at most 0.05.
    label
        How the difference of the means is split; None where the classes do not differ.
    prevalence
        Frequency of the outcome in the training cohort.
    """
    if not detected:
        return Verdict.NONE_DETECTED
    if label is None or np.isnan(label.residual_p_):
        return Verdict.CANNOT_TELL
    along, off = label.p_ <= LEVEL, label.residual_p_ <= LEVEL
    if along and not off:
        # So far along the line that no frequency explains it, it is something else as well.
        reach, middle = Z975 * label.std_err_, prevalence + label.difference_
        return Verdict.LABEL if middle - reach <= 1.0 and middle + reach >= 0.0 else Verdict.SEVERAL
    return Verdict.SEVERAL if along else Verdict.COVARIATE


def suspects_another_case_mix(verdict: Verdict, label: LabelShift | None) -> bool:
    """Whether a site may differ in how often its patients have the outcome, by what is known without outcomes.

    Where nothing can be told it may. Of a site that differs in more than one way it is said where a good part of the
    difference is along the line between the classes: what scanners do is mostly off it, and has a part along it by
    chance (`LEAST_SHARE`). A smaller difference of the outcome's frequency under a large one of scanners is not seen.
    """
    if verdict is Verdict.SEVERAL:
        return label is None or not label.share_ < LEAST_SHARE
    return verdict in (Verdict.LABEL, Verdict.CANNOT_TELL)


def with_outcomes(before: Verdict, calibration_p: float, classes_p: float, frequency_p: float) -> Verdict:
    """The verdict when outcomes are used as well; of p values that are adjusted for all sites and the three tests.

    Parameters
    ----------
    before
        The verdict from predictors alone.
    calibration_p
        Of the score's being calibrated at the site.
    classes_p
        Of the same scores as in training within both classes.
    frequency_p
        Of the same frequency of the outcome as among the others; NaN where it is not told.
    """
    calibrated, alike = calibration_p > LEVEL, classes_p > LEVEL
    if calibrated and alike:
        explained = before in (Verdict.COVARIATE, Verdict.SEVERAL)
        return Verdict.LABEL if frequency_p <= LEVEL and not explained else before
    if calibrated:
        return before if before is Verdict.CANNOT_TELL else Verdict.COVARIATE
    if before in (Verdict.COVARIATE, Verdict.SEVERAL):
        return Verdict.SEVERAL
    # A frequency that differs by enough to spoil a calibration is told by the counts themselves.
    return Verdict.LABEL if alike and not frequency_p > LEVEL else Verdict.CONCEPT
