"""server/study: what is published of recalibrations: how the correction was chosen, and risks without and with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.published.results import Estimate, Result
from common.statistics.distributions import Z975
from common.statistics.guaranteed_sensitivity import GuaranteedSensitivity
from common.statistics.prior_correction import PriorCorrection
from common.statistics.recalibration import Method, RecalibrationResult, Rule
from common.statistics.risk_quality import MEASURES, RiskQuality
from common.study.protocol import Study
from server.study.models import refusal
from server.study.recalibration import Evaluated, Recalibrated, corrected_cutoff
from server.study.subject import number

BEFORE, AFTER = "before", "after"


def publish_recalibrations(study: Study, recalibrated: Sequence[Recalibrated]) -> list[Result]:
    """One result a recalibration."""
    return [_fitted(study, one) for one in recalibrated]


def publish_evaluations(study: Study, evaluated: Sequence[Evaluated]) -> list[Result]:
    """One result a recalibration and cohort, or a site of a cohort that has too few to be summed."""
    return [_compared(study, one) for one in evaluated]


def _fitted(study: Study, one: Recalibrated) -> Result:
    declared, fit = one.declared, one.fit
    cohort = study.cohort(declared.cohort)
    base: dict[str, Any] = {
        "id": f"recalibration.{declared.name}",
        "statistic": "recalibration",
        "title": f"Recalibration of {one.base.model.title}: {declared.title}",
        "cohort": cohort.name,
        "sites": sorted(cohort.sites),
        "how": "exact" if len(cohort.sites) >= study.limits.min_sites else "site-alone",
    }
    guaranteed = list(_guaranteed(one))
    if isinstance(fit, FedmviError):
        status, why = refusal(fit)
        return Result.model_validate({**base, "status": status, "note": why, "estimates": guaranteed})
    if isinstance(fit, PriorCorrection):
        shown = {"n": fit.n_, "verdict": "prior", "note": f"{_PRIOR_NOTE} {_KIND[study.shift is not None]}"}
        return Result.model_validate({**base, **shown, "estimates": [*_prior(fit), *guaranteed]})
    shown = {
        "n": fit.n_ if fit.n_ >= 0 else None,
        "events": fit.events_ if fit.events_ >= 0 else None,
        "verdict": fit.method_.value,
        "note": _note(fit, Rule(declared.method)),
    }
    return Result.model_validate({**base, **shown, "estimates": [*_chosen(one, fit), *guaranteed]})


_PRIOR_NOTE = (
    "No outcome of this cohort was used for it. The prevalence is estimated from the share of high scores, which is "
    "right only if patients with and without the endpoint have scores as in training, and are more or less frequent."
)


_KIND = {
    True: "Hospitals of this cohort were found to differ in that alone, without outcomes and before the freeze.",
    False: "Nobody looked whether that is so: the study has no [shift].",
}
"""By whether hospitals were compared; where they differ otherwise nothing is corrected."""


def _note(fit: RecalibrationResult, rule: Rule) -> str:
    how = {
        Rule.CLOSED_TESTING: "The least correction that likelihood-ratio tests at 5 % do not reject against the "
        "largest that the patients allow.",
        Rule.INTERCEPT: "The intercept is corrected, as the protocol says.",
        Rule.SLOPE: "Intercept and slope are corrected, as the protocol says.",
    }[rule]
    shrunk = " The slope is shrunk towards 1." if fit.method_ is Method.SLOPE else ""
    unfit = "".join(f" No {method.value}: {why}." for method, why in fit.unfit_.items())
    return how + shrunk + unfit


def _chosen(one: Recalibrated, fit: RecalibrationResult) -> Iterator[Estimate]:
    for test in fit.tests_:
        term = f"{test.method.value} v {test.against.value}"
        yield Estimate(name="chi2", term=term, value=test.chi2, p=number(test.p), note=f"df={test.degrees}")
    errors = np.sqrt(np.diag(fit.covariance_)).tolist()
    if fit.method_ is Method.REFIT and fit.refit_ is not None and one.base.score is not None:
        terms = ("intercept", *one.base.score.names)
        for term, coef, std_err in zip(terms, fit.refit_.coef_, fit.refit_.std_err_, strict=True):
            yield _around("coef", term, float(coef), float(std_err))
        return
    if fit.method_ is Method.INTERCEPT:
        yield _around("intercept", "", fit.intercept_, errors[0])
    else:
        yield Estimate(name="intercept", value=fit.intercept_)
    yield Estimate(name="slope", value=fit.slope_)
    if fit.method_ is Method.SLOPE:
        yield _around("slope_unshrunk", "", fit.unshrunk_slope_, errors[1])
        yield Estimate(name="shrinkage", value=fit.shrinkage_)


def _around(name: str, term: str, value: float, std_err: float) -> Estimate:
    low, high = value - Z975 * std_err, value + Z975 * std_err
    return Estimate(name=name, term=term, value=value, low=low, high=high, std_err=std_err)


def _prior(fit: PriorCorrection) -> Iterator[Estimate]:
    yield Estimate(name="intercept", value=fit.intercept_, low=fit.low_, high=fit.high_)
    yield Estimate(name="slope", value=1.0)
    yield Estimate(name="reference_prevalence", value=fit.source_)
    told = fit.target_
    yield Estimate(name="estimated_prevalence", value=told.value_, low=told.low_, high=told.high_)
    yield Estimate(name="sensitivity", term="in training", value=fit.sensitivity_)
    yield Estimate(name="false_positive_rate", term="in training", value=fit.false_positive_rate_)


def _guaranteed(one: Recalibrated) -> Iterator[Estimate]:
    """The cut-off on the scale of the corrected risk, and beside it that of the risk as it was."""
    found, wanted = one.guaranteed, one.declared.sensitivity
    if wanted is None:
        return
    name = "guaranteed_sensitivity"
    if isinstance(found, FedmviError):
        yield Estimate(name=name, value=None, note=refusal(found)[1])
    elif isinstance(found, GuaranteedSensitivity):
        if one.correction is None or one.correction.refit:
            why = "the patients to whom all coefficients were fitted guarantee nothing about them"
            yield Estimate(name=name, value=None, note=why if one.correction is not None else "nothing was corrected")
        else:
            note = (
                f"From this corrected risk on at least {wanted:.0%} of patients with the endpoint are found, with 95 % "
                f"confidence (lower limit {found.lower_:.3f}), where patients are as in this cohort."
            )
            yield Estimate(name=name, value=corrected_cutoff(one.correction, found.cutoff_), note=note)
        yield Estimate(name=name, term=one.declared.model, value=found.cutoff_, note="of the risk as it was")


# ------------------------------------------------------------------------------------------------ without and with


def _compared(study: Study, one: Evaluated) -> Result:
    declared, cohort = one.recalibrated.declared, one.cohort
    site = f".{one.site}" if one.site else ""
    base: dict[str, Any] = {
        "id": f"recalibration.{declared.name}.{cohort.name}{site}",
        "statistic": "recalibration",
        "title": f"{declared.title} without and with its correction, cohort {cohort.name}"
        + (f", site {one.site}" if one.site else ""),
        "cohort": cohort.name,
        "sites": [one.site] if one.site else sorted(cohort.sites),
        "how": "site-alone" if one.site else "exact",
    }
    met = next((part for part in (one.before, one.after) if isinstance(part, FedmviError)), None)
    told = next((part for part in (one.before, one.after) if isinstance(part, RiskQuality)), None)
    if told is None and met is not None:
        status, why = refusal(met)
        return Result.model_validate({**base, "status": status, "note": why})
    estimates = [*_measures(study, BEFORE, one.before), *_measures(study, AFTER, one.after)]
    threshold = told.threshold if told is not None else 0.0
    shown = {"n": told.n_, "events": _events(study, told)} if told is not None else {}
    note = f"Net benefit at a risk of {threshold:.0%}. The intercept is that of calibration in the large."
    return Result.model_validate({**base, **shown, "estimates": estimates, "note": note})


def _events(study: Study, told: RiskQuality) -> int | None:
    """None where a class is small."""
    if told.n_ is None or told.events_ is None:
        return None
    return told.events_ if min(told.events_, told.n_ - told.events_) >= study.limits.min_cell else None


def _measures(study: Study, term: str, told: RiskQuality | FedmviError) -> Iterator[Estimate]:
    if isinstance(told, FedmviError):
        yield from (Estimate(name=name, term=term, value=None, note=refusal(told)[1]) for name in MEASURES)
        return
    few = _few(study, told)
    for name in MEASURES:
        one = told.measures_[name]
        if few:
            yield Estimate(name=name, term=term, value=None, note=few)
        elif one.value is None:
            small = f"fewer than {study.limits.min_cell} in a cell"
            why = refusal(told.unfit_)[1] if told.unfit_ is not None and name.startswith("calibration") else small
            yield Estimate(name=name, term=term, value=None, note=why)
        else:
            yield Estimate(name=name, term=term, value=number(one.value), low=_number(one.low), high=_number(one.high))


def _few(study: Study, told: RiskQuality) -> str:
    """Why nothing is published, as of an area; "" where it is."""
    if told.n_ is None or told.events_ is None:
        return ""
    least = study.limits.min_test_class
    return f"fewer than {least} patients in a class" if min(told.events_, told.n_ - told.events_) < least else ""


def _number(value: float | None) -> float | None:
    return None if value is None else number(value)
