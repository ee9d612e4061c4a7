"""common/statistics: one site's own calibration, and its scores within each class beside those of training.

A score that is calibrated at a site holds there, whoever its patients are. One that is not, while patients with and
without the outcome have the scores that they have elsewhere, meets another frequency of the outcome; one for which
neither holds meets another relation of predictors and outcome.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, SiteView, Summary
from common.federation.runner import attempt
from common.statistics.calibration import Calibration, calibration, logit
from common.statistics.chi_square import fisher_exact
from common.statistics.counts import hide_in_row
from common.statistics.distributions import chi2_p, two_sided_p
from common.study.ranges import LARGEST
from common.study.recipe import Frame, logistic_function
from common.study.table import FloatArray

CLASSES = 2
_OF_DEVIATES = 2
"""Decimals of a difference in standard errors."""
_SURE = 0.0005
"""Risks are kept this far from 0 and 1: their logit enters means."""


def linear_predictor(frame: Frame, column: str) -> FloatArray:
    """(n,) logit of the score, of risks that are kept off 0 and 1."""
    return logit(np.clip(frame.columns[column], _SURE, 1.0 - _SURE))


@dataclass(frozen=True)
class ScoreMoments(Query):
    """Sums of the logit of a score, and of its square, by class of an endpoint, and what they tell of a line on it."""

    name: ClassVar[str] = "query.score_moments"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    column: str

    def blocks(self) -> Mapping[str, Block]:
        """(2,) each: `n`, `sum`, `square`; `information` (3,) of a line on the logit, lower triangle."""
        return {
            "n": Block((CLASSES,), Kind.COUNT),
            "sum": Block((CLASSES,), Kind.REAL),
            "square": Block((CLASSES,), Kind.REAL),
            "information": Block((3,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"mean and spread of {self.column} by class of {self.endpoint}, cohort {self.cohort}"

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases."""
        values, y = linear_predictor(frame, self.column), frame.endpoints[self.endpoint].astype(np.int64)
        risk = logistic_function(values)
        weight = risk * (1.0 - risk)
        return {
            "n": np.bincount(y, minlength=CLASSES).astype(np.int64),
            "sum": np.bincount(y, weights=values, minlength=CLASSES),
            "square": np.bincount(y, weights=np.square(values), minlength=CLASSES),
            "information": np.array([weight.sum(), weight @ values, weight @ np.square(values)]),
        }


@dataclass(frozen=True)
class ScoreShiftAlone(Alone):
    """One site's own calibration, and how its scores differ from those of training within each class.

    Attributes
    ----------
    reference
        (2, 3) of the training cohort by class: patients, mean and variance of the logit of the score.
    part
        Whether this site's patients are among those of the training cohort.
    """

    name: ClassVar[str] = "query.score_shift_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    column: str
    min_class: int
    reference: FloatField
    part: bool

    @property
    def adds_up(self) -> bool:
        """See `Query`: the mean score of each class follows from its distance to that of training."""
        return True

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`, `estimable` (), `large` (2,) calibration in the large and its error, `line` (2,)
        intercept and slope, `covariance` (3,) of them, lower triangle, `ratio` (3,) observed to expected whole patients
        with its limits, `apart` (2,) difference of the scores from those of training within each class, in standard
        errors.
        """
        return {
            "classes": Block((3,), Kind.COUNT),
            "estimable": Block((), Kind.COUNT),
            "large": Block((2,), Kind.REAL),
            "line": Block((2,), Kind.REAL),
            "covariance": Block((3,), Kind.REAL),
            "ratio": Block((3,), Kind.REAL),
            "apart": Block((CLASSES,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own calibration of {self.column}, and its scores by class of {self.endpoint}"

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`."""
        numbers = np.concatenate([summary[name] for name in ("large", "line", "covariance", "ratio", "apart")])
        told = int(summary["estimable"])
        sound = super().plausible(summary, sites) and told in (0, 1) and bool(np.all(np.abs(numbers) <= LARGEST))
        ratio, low, high = summary["ratio"].tolist()
        return sound and (told == 0 or 0.0 < low <= ratio <= high)

    def consistent(self) -> bool:
        """See `Query`."""
        return self.reference.shape == (CLASSES, 3) and bool(np.all(self.reference[:, [0, 2]] > 0))

    def respond(self, site: SiteView) -> Summary:
        """Only counts are told with fewer than `min_class` patients in a class, or where the calibration fails."""
        frame = site.frame(self)
        events = int(np.nansum(frame.endpoints[self.endpoint]))
        none = {"large": 2, "line": 2, "covariance": 3, "ratio": 3, "apart": CLASSES}
        summary: Summary = {
            "classes": hide_in_row(np.array([frame.n - events, events, 0], dtype=np.int64), self.min_cell),
            "estimable": np.array(0, dtype=np.int64),
            **{name: np.zeros(size) for name, size in none.items()},
        }
        if min(events, frame.n - events) < max(self.min_class, 2):
            return summary
        fit = self.conclude(site, attempt(calibration(self.cohort, self.recipe, self.endpoint, self.column)))
        if isinstance(fit, Calibration):
            summary["estimable"] = np.array(1, dtype=np.int64)
            error, errors = fit.in_the_large_std_err_, np.sqrt(np.diagonal(fit.covariance_))
            summary["large"] = np.array([_beside(fit.in_the_large_, error), _short(error)])
            line = zip((fit.intercept_, fit.slope_), errors.tolist(), strict=True)
            summary["line"] = np.array([_beside(value, own) for value, own in line])
            summary["covariance"] = np.array([_short(value) for value in fit.covariance_[np.tril_indices(2)].tolist()])
            summary["ratio"] = np.array(fit.in_whole_patients().observed_to_expected)
            summary["apart"] = np.round(self._apart(frame), _OF_DEVIATES)
        return summary

    def _apart(self, frame: Frame) -> FloatArray:
        """A site that is part of the training cohort differs from it by less, and by the same share less at random."""
        values, y = linear_predictor(frame, self.column), frame.endpoints[self.endpoint]
        found = np.zeros(CLASSES)
        for label, (n, mean, variance) in enumerate(self.reference.tolist()):
            own = values[y == label]
            share = 1.0 / own.size - 1.0 / n if self.part else 1.0 / own.size + 1.0 / n
            if share > 0:
                found[label] = (float(own.mean()) - mean) / np.sqrt(variance * share)
        return found


def _beside(value: float, error: float) -> float:
    """A number to less than a tenth of its standard error: more digits tell of patients and not of the hospital."""
    return round(value, math.ceil(1.0 - math.log10(error))) + 0.0


def _short(value: float) -> float:
    """A standard error, or a covariance, to three significant digits."""
    return float(f"{value:.2e}")


@dataclass(frozen=True)
class ScoreShift:
    """What outcomes tell of a score at a site.

    Attributes
    ----------
    n_, events_
        Patients, and those with the outcome; None where hidden.
    in_the_large_, in_the_large_std_err_
        Calibration in the large: 0 where risks are right on average.
    slope_, slope_std_err_
        1 where risks are neither too extreme nor too moderate.
    observed_expected_
        Ratio with its 95 % limits.
    calibration_p_
        Of the expected intercept and slope together (Cox 1958), by Wald's test on two degrees of freedom.
    classes_p_
        Of scores that are, within both classes, those of training, on two degrees of freedom.
    large_p_
        Of calibration in the large alone.
    """

    n_: int | None
    events_: int | None
    in_the_large_: float
    in_the_large_std_err_: float
    slope_: float
    slope_std_err_: float
    observed_expected_: tuple[float, float, float]
    calibration_p_: float
    classes_p_: float
    large_p_: float


@dataclass(frozen=True)
class Expected:
    """The calibration line that a score is expected to have where nothing differs.

    Attributes
    ----------
    line
        (2,) intercept and slope.
    covariance
        (2, 2) of both, from the patients by whom they are known.
    """

    line: FloatArray = field(default_factory=lambda: np.array([0.0, 1.0]))
    covariance: FloatArray = field(default_factory=lambda: np.zeros((2, 2)))


def covariance_of(part: Summary) -> FloatArray:
    """(2, 2) of the intercept and slope that a site tells."""
    lower = part["covariance"]
    return np.array([[lower[0], lower[1]], [lower[1], lower[2]]])


def score_shift(part: Summary, expected: Expected) -> ScoreShift | None:
    """What a site's own answer says; None where it told counts only, or an impossible covariance."""
    covariance, error = covariance_of(part), float(part["large"][1])
    if int(part["estimable"]) != 1 or not (error > 0 and float(np.linalg.eigvalsh(covariance)[0]) > 0):
        return None
    off = part["line"] - expected.line
    chi2 = float(off @ np.linalg.solve(covariance + expected.covariance, off))
    large = float(part["large"][0])
    classes = [int(count) for count in part["classes"][:2]]
    shown = min(classes) >= 0
    ratio = part["ratio"].tolist()
    return ScoreShift(
        n_=sum(classes) if shown else None,
        events_=classes[1] if shown else None,
        in_the_large_=large,
        in_the_large_std_err_=error,
        slope_=float(part["line"][1]),
        slope_std_err_=float(np.sqrt(covariance[1, 1])),
        observed_expected_=(ratio[0], ratio[1], ratio[2]),
        calibration_p_=chi2_p(chi2, 2),
        classes_p_=chi2_p(float(np.square(part["apart"]).sum()), CLASSES),
        large_p_=two_sided_p(large / error),
    )


def frequency_p(part: Summary, training: FloatArray, *, inside: bool) -> float:
    """p of the same frequency of the outcome at a site as among the others, by Fisher's exact test; NaN where hidden.

    Where only that differs, it is told by a site's two counts sooner than by what they do to its calibration.

    Parameters
    ----------
    part
        What the site says of itself, see `ScoreShiftAlone`.
    training
        (2,) patients of the training cohort by class.
    inside
        Whether the site is one of its hospitals; the others are then without it.
    """
    own = np.asarray(part["classes"][:CLASSES], dtype=np.int64)
    return class_frequency_p(own, np.round(training).astype(np.int64) - (own if inside else 0))


def class_frequency_p(own: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    """p of the same frequency in two groups of patients, (2,) counts by class each; NaN where one is hidden (< 0)."""
    if int(own.min()) < 0 or int(others.min()) < 0:
        return float("nan")
    return fisher_exact(np.array([own, others]))[1]


def reference_of(sums: Summary, cohort: str, endpoint: str) -> FloatArray:
    """(2, 3) patients, mean and variance by class, of summed `ScoreMoments`.

    Raises
    ------
    FedmviError
        602 fewer than two patients of a class, or scores that are all alike in one.
    """
    n = sums["n"].astype(np.float64)
    if not bool(np.all(n > 1)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    mean = sums["sum"] / n
    variance = (sums["square"] - n * np.square(mean)) / (n - 1.0)
    if not bool(np.all(variance > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    return np.column_stack([n, mean, variance])


def middle_of(reference: FloatArray) -> float:
    """Mean logit of all patients of a reference."""
    return float(reference[:, 0] @ reference[:, 1] / reference[:, 0].sum())


def line_covariance(sums: Summary) -> FloatArray:
    """(2, 2) of intercept and slope of a line on the logit, of summed `ScoreMoments`: how far a fit is left to chance.

    A score that is fitted anew to other patients of the same kind has another line, by about as much (Cox 1958).
    """
    whole, first, second = sums["information"].tolist()
    return np.asarray(np.linalg.inv(np.array([[whole, first], [first, second]])), dtype=np.float64)


def line_together(found: Collection[Summary]) -> Expected:
    """The line of hospitals together: the mean of their own, weighed by the inverse of its covariance.

    What the patients of training are measured by of a score that is not right in them on average, as penalised ones.
    """
    told = [(part["line"], covariance_of(part)) for part in found if int(part["estimable"]) == 1]
    sound = [(line, np.linalg.inv(matrix)) for line, matrix in told if float(np.linalg.eigvalsh(matrix)[0]) > 0]
    if not sound:
        return Expected()
    weights = np.array([weight for _, weight in sound])
    together = np.sum([weight @ line for line, weight in sound], axis=0)
    return Expected(np.linalg.solve(weights.sum(axis=0), together))


def line_elsewhere(slope: float, middle: float, covariance: FloatArray) -> Expected:
    """The line in other patients of a score that is right in its own: its slope there, about a logit that stays right.

    Parameters
    ----------
    slope
        See `shrinkage`.
    middle
        See `middle_of`.
    covariance
        (2, 2) see `line_covariance`.
    """
    return Expected(np.array([(1.0 - slope) * middle, slope]), covariance)


def expected_elsewhere(reference: FloatArray, slope: float) -> FloatArray:
    """(2, 3) the reference with means as they are expected in other patients: nearer to each other, as the slope is."""
    middle, found = middle_of(reference), reference.copy()
    found[:, 1] = middle + slope * (reference[:, 1] - middle)
    return found


def out_of_fold(sums: Summary, cohort: str, endpoint: str) -> tuple[FloatArray, Expected]:
    """What a score that was chosen among many columns has in other patients, of summed `ThresholdCounts` of its
    out-of-fold scores at `HUNDREDTHS`.

    In the patients by whom it was chosen the classes lie farther apart than anywhere else, and no test of the fit says
    by how much. Out-of-fold scores tell what such scores have on average over training cohorts, and hardly more of the
    one that was made of this cohort (Bates, Hastie & Tibshirani, J Am Stat Assoc 2024;119:1434): how far that
    one is off adds as much chance again, so that each patient counts for half.

    Returns
    -------
    tuple
        (2, 3) as of `reference_of`, and the calibration line, as of half as many patients.

    Raises
    ------
    FedmviError
        602 as of `reference_of`, 604 where no line is found.
    """
    from scipy.optimize import root  # only the coordinator needs it; a site's process lives for one message

    above = np.concatenate([sums["n"], sums["positive"][0]]).astype(np.float64)
    counts = above - np.concatenate([above[1:], np.zeros((1, CLASSES))])
    values = logit(np.clip((np.arange(len(counts)) + 0.5) / len(counts), _SURE, 1.0 - _SURE))
    moments = {"n": counts.sum(axis=0), "sum": values @ counts, "square": np.square(values) @ counts}
    reference = reference_of(moments, cohort, endpoint)
    design, n = np.column_stack([np.ones_like(values), values]), counts.sum(axis=1)

    def slope(line: FloatArray) -> FloatArray:
        return np.asarray(design.T @ (counts[:, 1] - n * logistic_function(design @ line)))

    def information(line: FloatArray) -> FloatArray:
        risk = logistic_function(design @ line)
        return np.asarray(design.T @ (design * (n * risk * (1.0 - risk))[:, np.newaxis]))

    found = root(slope, np.array([0.0, 1.0]), jac=lambda line: -information(line))
    if not found.success:
        raise FedmviError(604, model=f"the calibration of out-of-fold scores in {cohort}")
    reference[:, 0] /= 2.0
    return reference, Expected(found.x, np.asarray(2.0 * np.linalg.inv(information(found.x)), dtype=np.float64))


def shrinkage(chi2: float, predictors: int) -> float:
    """Calibration slope that a fit has in other patients of the same kind, from 0 to 1.

    (chi2 - p) / chi2 of the likelihood-ratio test of all predictors (van Houwelingen & le Cessie, Stat Med
    1990;9:1303, equation 4).
    """
    return min(max((chi2 - predictors) / chi2, 0.0), 1.0) if chi2 > 0 else 0.0
