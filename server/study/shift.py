"""server/study: step: which hospitals differ from those of training, in what, and of what kind that is.

Before the models are frozen, or before there are any, hospitals are compared without any outcome but those of training.
When everything is frozen, outcomes say more: where the score holds, and whether what differs is the outcome itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.errors import FedmviError
from common.federation.query import Summary, each, total
from common.federation.runner import Conclusion, attempt
from common.statistics.confusion import HUNDREDTHS, ThresholdCounts
from common.statistics.detectable import detectable_frequency, detectable_odds_ratio
from common.statistics.logistic import LogisticResult
from common.statistics.max_t import LEVEL
from common.statistics.moments import moments
from common.statistics.multiplicity import holm
from common.statistics.residuals import Residuals, ResidualsAlone, information_of, residuals
from common.statistics.score_shift import (
    Expected,
    ScoreMoments,
    ScoreShift,
    ScoreShiftAlone,
    covariance_of,
    expected_elsewhere,
    frequency_p,
    line_covariance,
    line_elsewhere,
    line_together,
    middle_of,
    out_of_fold,
    reference_of,
    score_shift,
    shrinkage,
)
from common.statistics.shift_detection import Compared, Detection, SiteShift, detect_shift
from common.statistics.shift_verdict import Verdict, with_outcomes
from common.study.protocol import Model, Study
from common.study.recipe import Recipe
from common.study.scores import plain_columns
from common.study.shifted import (
    compared_by,
    compared_cohorts,
    compared_model,
    known_recipe,
    labelled_cohorts,
    look_frame,
    number_columns,
)
from common.study.table import FloatArray
from server.study.counts import Counted
from server.study.models import FittedModel, ScoredModel
from server.study.reduced import ReducedModel

Place = tuple[str, str]
"""Cohort and site."""


@dataclass(frozen=True)
class Labelled:
    """What outcomes tell of one hospital.

    Attributes
    ----------
    found
        None where too few patients have the outcome, or have it not.
    calibration_p, classes_p, frequency_p
        Adjusted for all hospitals and the three tests (Holm); NaN where there is nothing.
    error
        Why the hospital did not answer; else None.
    residuals
        Tests of the model's columns beside its score; None of a model with a reduction, or where none was told.
    detectable_odds, detectable_frequency
        Odds ratio of the outcome at the same score, and difference of its frequency, that these tests would have found;
        None where nothing was told, or no frequency would have been.
    """

    found: ScoreShift | None
    calibration_p: float
    classes_p: float
    frequency_p: float
    error: FedmviError | None = None
    residuals: Residuals | None = None
    detectable_odds: float | None = None
    detectable_frequency: float | None = None


@dataclass(frozen=True)
class Looked:
    """What was found in a study.

    Attributes
    ----------
    detection
        Without outcomes; or why there is none.
    labelled
        By cohort and site, where outcomes may be used; or why there is nothing.
    """

    detection: Detection | FedmviError
    labelled: dict[Place, Labelled] | FedmviError

    def verdict(self, one: SiteShift) -> Verdict:
        """Of a hospital, by all that is known."""
        labelled = self.labelled.get((one.cohort, one.site)) if isinstance(self.labelled, dict) else None
        if labelled is None or labelled.found is None:
            return one.verdict
        return with_outcomes(one.verdict, labelled.calibration_p, labelled.classes_p, labelled.frequency_p)


def detect(study: Study, fitted: Sequence[ScoredModel], counts: Counted) -> Conclusion[Looked | None]:
    """Compare the hospitals without outcomes; None where the study has no `[shift]`."""
    model, by = compared_model(study), compared_by(study)
    if by is None:
        return None
    own = next((one for one in fitted if model is not None and one.model.name == model.name), None)
    compared = _untrained(study, by) if own is None else _compared(study, own, counts)
    if isinstance(compared, FedmviError):
        return Looked(compared, {})
    if own is None:
        yield from attempt(moments(compared.cohort, known_recipe(compared.recipe), compared.columns))
    detection: Detection | FedmviError = yield from attempt(detect_shift(compared))
    return Looked(detection, {})


def _untrained(study: Study, by: Model) -> Compared:
    """By what hospitals are compared before anything is trained: by columns, and by no score."""
    frame = look_frame(study, by)
    names = tuple(column.name for column in plain_columns(study, by))
    return _by_columns(study, by, frame, names, 0.0, (0.0,) * len(names), 0.5)


def _by_columns(
    study: Study,
    by: Model,
    frame: Recipe,
    names: tuple[str, ...],
    intercept: float,
    coefficients: tuple[float, ...],
    high_risk: float,
) -> Compared:
    return Compared(
        cohort=by.cohort,
        recipe=frame,
        endpoint=by.endpoint,
        columns=names,
        numbers=number_columns(study, by, names),
        intercept=intercept,
        coefficients=coefficients,
        high_risk=high_risk,
        others=tuple((cohort, frame) for cohort in compared_cohorts(study)),
        deals=study.shift.permutations if study.shift is not None else 0,
        min_cell=study.limits.min_cell,
    )


def _compared(study: Study, own: ScoredModel, counts: Counted) -> Compared | FedmviError:
    """By what hospitals are compared, or why they are not."""
    parts, score, model = own.parts, own.score, own.model
    if parts is None or score is None:
        return FedmviError(501, f"the model {model.name} could not be fitted")
    frame = Recipe(parts.recipe(study.endpoint(model.endpoint).keys).steps[:-1])
    classes = counts.classes[model.cohort, model.endpoint].pooled
    if classes is None:
        return FedmviError(601, cohort=model.cohort)
    cutoff = own.cutoff if isinstance(own.cutoff, float) and 0.0 < own.cutoff < 1.0 else None
    frequency = float(classes[1]) / float(classes[0] + classes[1])
    high_risk = frequency if cutoff is None else cutoff
    return _by_columns(study, model, frame, score.names, score.intercept, score.coefficients, high_risk)


def look_again(study: Study, fitted: Sequence[ScoredModel], looked: Looked | None) -> Conclusion[Looked | None]:
    """The same with outcomes, of training and of the cohorts in which the model is evaluated; it is frozen by now."""
    model = compared_model(study)
    if looked is None or model is None:
        return looked
    own = next(one for one in fitted if one.model.name == model.name)
    labelled = yield from attempt(_labelled(study, own))
    return replace(looked, labelled=labelled)


def _labelled(study: Study, own: ScoredModel) -> Conclusion[dict[Place, Labelled]]:
    model, recipe, score = own.model, own.scoring, own.score
    if recipe is None or score is None:
        raise FedmviError(501, f"the model {model.name} could not be fitted")
    training, limits = (model.cohort, model.endpoint), study.limits
    folded = own.out_of_fold if isinstance(own, ReducedModel) else None
    if folded is None:
        sums = yield total(ScoreMoments(model.cohort, recipe, model.endpoint, score.column))
        reference, slope = reference_of(sums, *training), expected_slope(own)
        chance = line_covariance(sums) if model.fixed is None else np.zeros((2, 2))
        elsewhere, line = expected_elsewhere(reference, slope), line_elsewhere(slope, middle_of(reference), chance)
    else:
        sums, counts = yield (
            total(ScoreMoments(model.cohort, recipe, model.endpoint, score.column)),
            total(ThresholdCounts(model.cohort, folded, (score.column,), model.endpoint, HUNDREDTHS[np.newaxis])),
        )
        reference = reference_of(sums, *training)
        elsewhere, line = out_of_fold(counts, *training)
    cohorts = labelled_cohorts(study)
    asks = [
        ScoreShiftAlone(
            cohort, recipe, model.endpoint, score.column, limits.min_test_class,
            reference if cohort == model.cohort else elsewhere, cohort == model.cohort, min_cell=limits.min_cell,
        )
        for cohort in cohorts
    ]  # fmt: skip
    beside = _beside(study, own, recipe, cohorts) if folded is None else []
    replies = yield (*(each(ask) for ask in asks), *(each(ask) for ask in beside))
    parts: dict[Place, Summary | FedmviError] = {
        (cohort, site): part for cohort, reply in zip(cohorts, replies, strict=False) for site, part in reply.items()
    }
    of_training = [p for (cohort, _), p in parts.items() if cohort == model.cohort and not isinstance(p, FedmviError)]
    inside = Expected() if folded is None else line_together(of_training)
    labelled = _adjusted(parts, model.cohort, reference[:, 0], inside, line)
    tested = _tested(score.names, dict(zip(cohorts, replies[len(asks) :], strict=True)) if beside else {})
    return {place: replace(one, residuals=tested.get(place)) for place, one in labelled.items()}


def _beside(study: Study, own: ScoredModel, recipe: Recipe, cohorts: Sequence[str]) -> list[ResidualsAlone]:
    """By cohort: which of the model's columns say more, or something else, than its score.

    Not of a model with a reduction, whose columns say more than its shrunken score in the patients that it was chosen
    by, too.
    """
    model, score, fit = own.model, own.score, own.fit if isinstance(own, FittedModel) else None
    if score is None or fit is None or (isinstance(fit, LogisticResult) and fit.ridge):
        return []
    p = len(score.names)
    information = information_of(fit.covariance_) if isinstance(fit, LogisticResult) else np.zeros(p)
    numbers, limits = number_columns(study, model, score.names), study.limits
    return [
        ResidualsAlone(
            cohort, recipe, model.endpoint, score.names, numbers, score.column, limits.min_test_class, information,
            cohort == model.cohort, min_cell=limits.min_cell,
        )
        for cohort in cohorts
    ]  # fmt: skip


def _tested(
    names: tuple[str, ...], replies: Mapping[str, Mapping[str, Summary | FedmviError]]
) -> dict[Place, Residuals]:
    """Of the hospitals that told any of these tests."""
    told = {
        (cohort, site): part
        for cohort, reply in replies.items()
        for site, part in reply.items()
        if not isinstance(part, FedmviError) and bool(part["told"].any())
    }
    return dict(zip(told, residuals(names, list(told.values())), strict=True))


def expected_slope(own: ScoredModel) -> float:
    """Of the model's calibration in other patients; 1 of one that is penalised, or comes from elsewhere."""
    fit = own.fit if isinstance(own, FittedModel) else None
    if not isinstance(fit, LogisticResult) or fit.ridge:
        return 1.0
    chi2, degrees, _ = fit.likelihood_ratio
    return shrinkage(chi2, degrees)


def _adjusted(
    parts: dict[Place, Summary | FedmviError],
    training: str,
    classes: FloatArray,
    inside: Expected,
    elsewhere: Expected,
) -> dict[Place, Labelled]:
    """`classes` has the patients of training by class; the lines are those of hospitals of training, and of others."""
    found: dict[Place, ScoreShift | None] = {}
    tests = np.full((len(parts), 3), np.nan)
    for i, (place, part) in enumerate(parts.items()):
        within = place[0] == training
        own = None if isinstance(part, FedmviError) else score_shift(part, inside if within else elsewhere)
        if own is not None and not isinstance(part, FedmviError):
            tests[i] = own.calibration_p_, own.classes_p_, frequency_p(part, classes, inside=within)
        found[place] = own
    adjusted, level = holm(tests).tolist(), LEVEL / max(int(np.sum(~np.isnan(tests))), 1)
    return {
        place: _of_hospital(part, found[place], three, _others(part, classes, place[0] == training), expected, level)
        for (place, part), three in zip(parts.items(), adjusted, strict=True)
        for expected in (inside if place[0] == training else elsewhere,)
    }


def _others(part: Summary | FedmviError, classes: FloatArray, within: bool) -> FloatArray:
    """(2,) patients of training by class, without the hospital's own if it trains."""
    return classes - part["classes"][:2] if within and not isinstance(part, FedmviError) else classes


def _of_hospital(
    part: Summary | FedmviError,
    found: ScoreShift | None,
    adjusted: Sequence[float],
    others: FloatArray,
    expected: Expected,
    level: float,
) -> Labelled:
    """`level` is that at which the first of all tests is rejected (Holm's first step)."""
    line, within, frequency = adjusted
    if found is None or isinstance(part, FedmviError):
        return Labelled(found, line, within, frequency, part if isinstance(part, FedmviError) else None)
    odds = detectable_odds_ratio(covariance_of(part) + expected.covariance, level)
    more = None
    if found.n_ is not None and not np.isnan(frequency):
        more = detectable_frequency(found.n_, round(float(others[1])), round(float(others.sum())), level)
    return Labelled(found, line, within, frequency, detectable_odds=odds, detectable_frequency=more)
