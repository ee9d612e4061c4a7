"""common/statistics: the verdict on a site: whether it differs from the others, and what kind of difference it is.

The rule, in this order:

1. A site that refuses, or has fewer than 20 patients: cannot tell.
2. No test with an adjusted p value of at most 0.05: none detected, which is not the same as none.
3. Means that differ along the line between the classes only: label shift. Off that line, or in the histograms alone:
   covariate shift. Both: several. Without two columns, or classes that differ, the kind cannot be told.
4. Where outcomes may be used, with adjusted p values again: a score that is calibrated leaves 3 as it is, but where
   scores differ within classes the shift is one of covariates. A score that is not calibrated: with the same scores
   within classes, label shift; with other ones, concept shift. Several where 3 found a shift of covariates, too: a
   score of distorted predictors is not calibrated either, whatever the outcome depends on.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from common.statistics.distributions import Z975
from common.statistics.label_shift import LabelShift
from common.statistics.max_t import LEVEL

LEAST_PATIENTS = 20


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


def with_outcomes(before: Verdict, calibration_p: float, classes_p: float) -> Verdict:
    """The verdict when outcomes are used as well; of p values that are adjusted for all sites and both tests.

    Parameters
    ----------
    before
        The verdict from predictors alone.
    calibration_p
        Of the score's being calibrated at the site.
    classes_p
        Of the same scores as in training within both classes.
    """
    calibrated, alike = calibration_p > LEVEL, classes_p > LEVEL
    if calibrated:
        return before if alike or before is Verdict.CANNOT_TELL else Verdict.COVARIATE
    if before in (Verdict.COVARIATE, Verdict.SEVERAL):
        return Verdict.SEVERAL
    return Verdict.LABEL if alike else Verdict.CONCEPT
