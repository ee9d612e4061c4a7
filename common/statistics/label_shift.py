"""common/statistics: label shift: how much of a difference between hospitals would be one of the outcome's frequency.

If only the outcome is more frequent at a hospital, and patients with and without it are as elsewhere, all means differ
along one line: that between the classes (Saerens et al., Neural Comput 2002;14:21). How far along it, and how far off
it, a hospital is, are two tests. Its frequency is estimated from how many patients have a high score there (black box
shift estimation: Lipton, Wang & Smola, ICML 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.statistics.distributions import Z975, two_sided_p
from common.statistics.refinement import Counts
from common.study.table import FloatArray

LEAST_APART = 0.25
"""Sensitivity less false positive rate of the score, below which no frequency is told.

An error of the share of high scores becomes one of the frequency that is larger by the inverse, four times at this
limit, and so does whatever the assumption overlooks.
"""

_FLAT = 1e-9


@dataclass(frozen=True)
class Classes:
    """The classes of an outcome in the training cohort.

    Attributes
    ----------
    n
        (2,) patients without and with it.
    mean
        (2, p) of the standardised columns.
    within
        (p, p) covariance within classes.
    above
        (2,) patients with a high score.
    """

    n: Counts
    mean: FloatArray
    within: FloatArray
    above: Counts

    @property
    def prevalence(self) -> float:
        """Share with the outcome."""
        return float(self.n[1] / self.n.sum())

    @property
    def rates(self) -> FloatArray:
        """(2,) false positive rate and sensitivity of a high score."""
        rates: FloatArray = self.above / self.n
        return rates

    def apart(self, direction: FloatArray) -> float:
        """How far a score with these (p,) weights lies apart in both classes, in its standard deviations over all
        patients; 0 of no weights."""
        between = float(direction @ (self.mean[1] - self.mean[0]))
        share = self.prevalence * (1.0 - self.prevalence)
        spread = float(direction @ self.within @ direction) + share * between**2
        return between / float(np.sqrt(spread)) if spread > 0 else 0.0


@dataclass(frozen=True)
class LabelShift:
    """A difference of means, split along the line between the classes.

    Attributes
    ----------
    difference_, std_err_
        Of the frequency of the outcome, if that is all that differs.
    p_
        Of no difference along the line.
    residual_, degrees_, residual_p_
        Hotelling's T-squared of what is off the line, its degrees of freedom, and its p value by F; NaN of one column.
    share_
        Of the squared distance, in units of the spread within classes, that lies along the line; each part less what
        chance adds to it. NaN where nothing is left of either.
    """

    difference_: float
    std_err_: float
    p_: float
    residual_: float
    degrees_: int
    residual_p_: float
    share_: float


def label_shift(gap: FloatArray, n: float, others: float, classes: Classes) -> LabelShift | None:
    """Split a difference of means by generalised least squares; None where the classes do not differ.

    Parameters
    ----------
    gap
        (p,) mean of a hospital less that of others, standardised; NaN of columns that are left out.
    n, others
        Patients of either.
    """
    from scipy import special

    told = ~np.isnan(gap)
    line = (classes.mean[1] - classes.mean[0])[told]
    inverse = np.linalg.pinv(classes.within[np.ix_(told, told)], rcond=_FLAT, hermitian=True)
    rank = int(np.linalg.matrix_rank(inverse, hermitian=True))
    length = float(line @ inverse @ line)
    if not length > 0:
        return None
    own = gap[told]
    difference = float(line @ inverse @ own) / length
    # The line itself is an estimate; its error counts as far as the hospital is along it.
    noise = 1.0 / n + 1.0 / others + difference**2 * float(np.sum(1.0 / classes.n))
    at_random = classes.prevalence * (1.0 - classes.prevalence) * (1.0 / n + 1.0 / others)
    error = float(np.sqrt((1.0 / n + 1.0 / others) / length + at_random))
    quadratic = float(own @ inverse @ own) - difference**2 * length
    residual, degrees = max(quadratic, 0.0) / noise, rank - 1
    freedom = n + others - 2.0 - degrees
    p = float("nan")
    if degrees > 0 and freedom > 0:
        p = float(special.fdtrc(degrees, freedom, residual / degrees * freedom / (n + others - 2.0)))
    along = max(difference**2 * length - 1.0 / n - 1.0 / others, 0.0)
    off = max(quadratic - degrees * noise, 0.0)
    share = along / (along + off) if along + off > 0 else float("nan")
    return LabelShift(difference, error, two_sided_p(difference / error), residual, degrees, p, share)


@dataclass(frozen=True)
class Prevalence:
    """The frequency of the outcome at a hospital, as its high scores tell, with 95 % limits; all cut to [0, 1].

    Attributes
    ----------
    possible_
        Whether some frequency lies within the limits: else not only the frequency differs.
    """

    value_: float
    low_: float
    high_: float
    possible_: bool = True


def estimated_prevalence(above: Counts, classes: Classes) -> Prevalence | None:
    """Black box shift estimation with two classes; None where the score does not tell the classes apart.

    (q - f) / (t - f), q being the share of high scores at the hospital, t and f sensitivity and false positive rate;
    limits by the delta method, from the errors of all three.

    Parameters
    ----------
    above
        (2,) patients of the hospital with a low and a high score.
    """
    n = float(above.sum())
    share = float(above[1]) / n
    false, true = classes.rates.tolist()
    apart = true - false
    if apart < LEAST_APART:
        return None
    value = (share - false) / apart
    rates = (true * (1 - true) / classes.n[1], false * (1 - false) / classes.n[0])
    variance = share * (1 - share) / n + value**2 * rates[0] + (1 - value) ** 2 * rates[1]
    half = Z975 * float(np.sqrt(variance)) / apart
    cut = np.clip([value, value - half, value + half], 0.0, 1.0).tolist()
    return Prevalence(cut[0], cut[1], cut[2], value - half <= 1.0 and value + half >= 0.0)
