"""server/study: what is published of hospitals that differ: one result a hospital, with its verdict."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.errors import FedmviError
from common.published.results import Estimate, Result
from common.statistics.distributions import Z975
from common.statistics.label_shift import LEAST_APART, LabelShift, Prevalence
from common.statistics.residuals import Residuals
from common.statistics.score_shift import ScoreShift
from common.statistics.shift_detection import Detection, SiteShift
from common.statistics.shift_verdict import LEAST_PATIENTS, Verdict
from common.study.protocol import Study
from common.study.shifted import compared_by, compared_cohorts, compared_model
from server.study.models import refusal
from server.study.shift import Labelled, Looked
from server.study.subject import number

SENTENCES = {
    Verdict.NONE_DETECTED: "No difference was detected, which is not the same as none",
    Verdict.COVARIATE: "The patients or their examinations differ, in a way that another frequency of the outcome does "
    "not explain (covariate shift)",
    Verdict.LABEL: "What differs is what another frequency of the outcome would change (label shift)",
    Verdict.CONCEPT: "The outcome itself is related to the predictors in another way (concept shift)",
    Verdict.SEVERAL: "The hospital differs in more than one way: along the line between the classes, and off it",
    Verdict.CANNOT_TELL: "Which kind of difference it is cannot be told",
}

ASSUMPTIONS = (
    "No outcome of the hospital was used: another relation of predictors and outcome cannot be seen, and patients who "
    "differ just as those with and without the outcome do cannot be told from another frequency of it."
)

UNTRAINED = (
    "This was looked at before anything was trained; of outcomes only those of the training cohort were used, to know "
    "what another frequency of them would change."
)


def publish_shift(study: Study, looked: Looked | None) -> list[Result]:
    """One result for each hospital of training and of the compared cohorts."""
    model = compared_by(study)
    if looked is None or model is None:
        return []
    if isinstance(looked.detection, FedmviError):
        cohorts = (model.cohort, *compared_cohorts(study))
        return [
            _silent(study, cohort, site, looked.detection) for cohort in cohorts for site in study.cohort(cohort).sites
        ]
    return [_one(study, looked, looked.detection, one) for one in looked.detection.sites_]


def _result(cohort: str, site: str, **facts: Any) -> Result:
    return Result(
        id=f"shift.{cohort}.{site}",
        statistic="shift",
        title=f"Shift of {site}, cohort {cohort}",
        cohort=cohort,
        sites=[site],
        how="site-alone",
        **facts,
    )


def _silent(study: Study, cohort: str, site: str, error: FedmviError, n: int | None = None) -> Result:
    status, why = refusal(error)
    small = n is not None and n < study.limits.min_cell
    return _result(cohort, site, status=status, verdict=Verdict.CANNOT_TELL.value, note=why, n=None if small else n)


def _one(study: Study, looked: Looked, detection: Detection, one: SiteShift) -> Result:
    if one.error is not None:
        return _silent(study, one.cohort, one.site, one.error, one.n_)
    verdict = looked.verdict(one)
    labelled = looked.labelled.get((one.cohort, one.site)) if isinstance(looked.labelled, dict) else None
    found = labelled.found if labelled is not None else None
    estimates = [
        *_columns(detection, one),
        *_together(detection, one),
        *_label(detection, one),
        *(_outcomes(found, labelled) if found is not None and labelled is not None else []),
        *(_residuals(labelled.residuals) if labelled is not None and labelled.residuals is not None else []),
    ]
    note = " ".join([*_said(detection, one, verdict), _of_outcomes(study, looked, labelled)])
    events = found.events_ if found is not None and found.n_ == one.n_ else None
    return _result(one.cohort, one.site, verdict=verdict.value, n=one.n_, events=events, estimates=estimates, note=note)


def _columns(detection: Detection, one: SiteShift) -> list[Estimate]:
    columns, numbers = detection.compared.columns, detection.compared.numbers
    if one.difference_ is None or one.std_err_ is None or one.difference_p_ is None:
        return []
    found = [
        _estimate("standardised_difference", name, *three)
        for name, *three in zip(columns, one.difference_, one.std_err_, one.difference_p_, strict=True)
    ]
    if one.distance_ is None or one.distance_p_ is None:
        return found
    return found + [
        Estimate(name="ks", term=name, value=number(distance), p=number(p), note=_UNTOLD if np.isnan(distance) else "")
        for name, distance, p in zip(numbers, one.distance_.tolist(), one.distance_p_.tolist(), strict=True)
    ]


_UNTOLD = "not told: the same for all patients, or a level or bins with few of them, there or at few other hospitals"


def _estimate(name: str, term: str, value: float, std_err: float, p: float) -> Estimate:
    if np.isnan(value):
        return Estimate(name=name, term=term, value=None, note=_UNTOLD)
    half = Z975 * std_err
    return Estimate(
        name=name, term=term, value=float(value), low=float(value - half), high=float(value + half),
        std_err=float(std_err), p=number(float(p)),
    )  # fmt: skip


def _together(detection: Detection, one: SiteShift) -> list[Estimate]:
    """The classifier, the score, and what would have been found."""
    found = []
    if one.area_ is not None and one.area_p_ is not None:
        value, low, high = (number(x) for x in one.area_)
        found.append(Estimate(name="two_sample_auc", value=value, low=low, high=high, p=number(one.area_p_)))
    if detection.compared.scored and one.score_ is not None and one.score_p_ is not None:
        why = "of the columns that are told" if one.untold_ else ""
        found.append(Estimate(name="score_difference", value=number(one.score_), p=number(one.score_p_), note=why))
    if one.smallest_detectable_ is not None:
        found.append(Estimate(name="smallest_detectable", value=one.smallest_detectable_))
    if detection.compared.scored and one.smallest_detectable_ is not None:
        why = "no difference of the outcome's frequency" if one.smallest_frequency_ is None else ""
        found.append(Estimate(name="smallest_detectable_prevalence", value=one.smallest_frequency_, note=why))
    return found


def _label(detection: Detection, one: SiteShift) -> list[Estimate]:
    found = [Estimate(name="reference_prevalence", value=detection.reference_prevalence_)]
    if detection.compared.scored:
        found.append(_prevalence(one.prevalence_))
    if one.label_ is not None:
        found += _split(one.label_)
    return found


def _prevalence(own: Prevalence | None) -> Estimate:
    """As the score tells it."""
    if own is None:
        why = (
            "not told: few patients with a low or a high score, a column that is not told, or a score whose "
            f"sensitivity and false positive rate differ by less than {LEAST_APART:g}"
        )
        return Estimate(name="estimated_prevalence", value=None, note=why)
    if not own.possible_:
        why = "no frequency of the outcome would give so many, or so few, high scores"
        return Estimate(name="estimated_prevalence", value=None, note=why)
    note = "if only the frequency of the outcome differs"
    return Estimate(name="estimated_prevalence", value=own.value_, low=own.low_, high=own.high_, note=note)


def _split(label: LabelShift) -> list[Estimate]:
    half = Z975 * label.std_err_
    return [
        Estimate(
            name="label_component", value=label.difference_, low=label.difference_ - half,
            high=label.difference_ + half, std_err=label.std_err_, p=label.p_,
            note="difference of the frequency of the outcome that the means along the line between the classes tell",
        ),
        Estimate(
            name="residual", term=f"df={label.degrees_}", value=label.residual_, p=number(label.residual_p_),
            note="of the means off that line",
        ),
    ]  # fmt: skip


def _outcomes(found: ScoreShift, labelled: Labelled) -> list[Estimate]:
    large, slope = Z975 * found.in_the_large_std_err_, Z975 * found.slope_std_err_
    ratio, low, high = found.observed_expected_
    return [
        Estimate(
            name="calibration_intercept", value=found.in_the_large_, low=found.in_the_large_ - large,
            high=found.in_the_large_ + large, std_err=found.in_the_large_std_err_, p=found.large_p_,
            note="in the large",
        ),
        Estimate(
            name="calibration_slope", value=found.slope_, low=found.slope_ - slope, high=found.slope_ + slope,
            std_err=found.slope_std_err_,
        ),
        Estimate(
            name="calibration", value=None, p=number(labelled.calibration_p), note="of intercept and slope as expected"
        ),
        Estimate(name="observed_expected", value=ratio, low=low, high=high),
        Estimate(
            name="class_conditional", value=None, p=number(labelled.classes_p),
            note="of the same scores as in training within both classes",
        ),
        Estimate(
            name="outcome_frequency", value=None, p=number(labelled.frequency_p),
            note="of the same frequency of the outcome as among the others",
        ),
        Estimate(name="smallest_detectable_odds_ratio", value=labelled.detectable_odds),
        Estimate(
            name="smallest_detectable_frequency", value=labelled.detectable_frequency,
            note="none would be found, or the counts are hidden" if labelled.detectable_frequency is None else "",
        ),
    ]  # fmt: skip


def _residuals(found: Residuals) -> list[Estimate]:
    why = "of the column beside the score, after the hospital's own intercept; a deviate, adjusted over all hospitals"
    untold = "not told: the same for nearly all patients of a class, or a level with few of them"
    return [
        Estimate(name="residual_test", term=name, value=number(z), p=number(p), note=untold if np.isnan(z) else why)
        for name, z, p in zip(found.columns, found.z_.tolist(), found.p_.tolist(), strict=True)
    ]


def _said(detection: Detection, one: SiteShift, verdict: Verdict) -> list[str]:
    with_whom = "the other training hospitals" if one.cohort == detection.compared.cohort else "training"
    found = [f"{SENTENCES[verdict]}."]
    if one.smallest_detectable_ is not None:
        found.append(
            f"With {one.n_} patients beside {one.others_} of {with_whom}, a standardised difference of "
            f"{one.smallest_detectable_:.2f} in one column is found with a power of 80 %{_frequency(detection, one)}"
        )
    found.append(
        "Tests of all hospitals and columns together are at 5 % (largest test, "
        f"{detection.compared.deals} deals of the training patients to hospitals); hospitals with fewer than "
        f"{LEAST_PATIENTS} patients are not compared."
    )
    if one.untold_:
        names = ", ".join(one.untold_)
        found.append(f"Not told, because few patients differ in them here or at few other hospitals: {names}.")
    return found


def _frequency(detection: Detection, one: SiteShift) -> str:
    """The end of the sentence on what would have been found."""
    if not detection.compared.scored:
        return "."
    if one.smallest_frequency_ is None:
        return "; no other frequency of the outcome is, unless outcomes are used."
    return f", and one of {one.smallest_frequency_:.2f} in the frequency of the outcome, if nothing else differs."


def _of_outcomes(study: Study, looked: Looked, labelled: Labelled | None) -> str:
    if isinstance(looked.labelled, FedmviError):
        return f"Outcomes could not be used: {refusal(looked.labelled)[1]} {ASSUMPTIONS}"
    if compared_model(study) is None:
        return f"{UNTRAINED} {ASSUMPTIONS}"
    if labelled is None:
        return ASSUMPTIONS
    if labelled.error is not None:
        return f"Outcomes could not be used: {refusal(labelled.error)[1]} {ASSUMPTIONS}"
    if labelled.found is None:
        few = f"fewer than {study.limits.min_test_class} patients in a class, or no calibration could be fitted"
        return f"Outcomes say nothing: {few}. {ASSUMPTIONS}"
    return (
        "Outcomes were used when the models were frozen; their three tests of all hospitals are at 5 % together. "
        "Outside training they allow for what chance and overfitting made of the fit (a slope somewhat below 1; of a "
        "model with a reduction that of its out-of-fold scores)."
        f"{_would_be_found(labelled)}"
    )


def _would_be_found(labelled: Labelled) -> str:
    """A sentence on what the tests with outcomes reach, with a space before it; "" where that is not known."""
    if labelled.detectable_odds is None:
        return ""
    more = labelled.detectable_frequency
    frequency = "" if more is None else f", and a frequency of it that is higher by {more:.2f}"
    return (
        f" With outcomes, odds of the outcome {labelled.detectable_odds:.1f} times those that the score says are found "
        f"with a power of 80 %{frequency}."
    )
