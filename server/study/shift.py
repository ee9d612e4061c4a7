"""server/study: step: which hospitals differ from those of training, in what, and of what kind that is.

Before the models are frozen hospitals are compared without any outcome but those of training. When everything is
frozen, outcomes say more: where the score holds, and whether what differs is the outcome itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.errors import FedmviError
from common.federation.query import Summary, each, total
from common.federation.runner import Conclusion, attempt
from common.statistics.logistic import LogisticResult
from common.statistics.multiplicity import holm
from common.statistics.score_shift import (
    Expected,
    ScoreMoments,
    ScoreShift,
    ScoreShiftAlone,
    expected_elsewhere,
    frequency_p,
    line_covariance,
    middle_of,
    reference_of,
    score_shift,
    shrinkage,
)
from common.statistics.shift_detection import Compared, Detection, SiteShift, detect_shift
from common.statistics.shift_verdict import Verdict, with_outcomes
from common.study.protocol import Study
from common.study.recipe import Recipe
from common.study.shifted import compared_cohorts, compared_model, labelled_cohorts, number_columns
from common.study.table import FloatArray
from server.study.counts import Counted
from server.study.models import FittedModel, ScoredModel

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
    """

    found: ScoreShift | None
    calibration_p: float
    classes_p: float
    frequency_p: float
    error: FedmviError | None = None


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
    model = compared_model(study)
    if model is None or study.shift is None:
        return None
    own = next(one for one in fitted if one.model.name == model.name)
    compared = _compared(study, own, counts)
    if isinstance(compared, FedmviError):
        return Looked(compared, {})
    detection: Detection | FedmviError = yield from attempt(detect_shift(compared))
    return Looked(detection, {})


def _compared(study: Study, own: ScoredModel, counts: Counted) -> Compared | FedmviError:
    """By what hospitals are compared, or why they are not."""
    parts, score, model, shift = own.parts, own.score, own.model, study.shift
    if parts is None or score is None or shift is None:
        return FedmviError(501, f"the model {model.name} could not be fitted")
    frame = Recipe(parts.recipe(study.endpoint(model.endpoint).keys).steps[:-1])
    classes = counts.classes[model.cohort, model.endpoint].pooled
    if classes is None:
        return FedmviError(601, cohort=model.cohort)
    cutoff = own.cutoff if isinstance(own.cutoff, float) and 0.0 < own.cutoff < 1.0 else None
    frequency = float(classes[1]) / float(classes[0] + classes[1])
    return Compared(
        cohort=model.cohort,
        recipe=frame,
        endpoint=model.endpoint,
        columns=score.names,
        numbers=number_columns(study, model, score.names),
        intercept=score.intercept,
        coefficients=score.coefficients,
        high_risk=frequency if cutoff is None else cutoff,
        others=tuple((cohort, frame) for cohort in compared_cohorts(study)),
        deals=shift.permutations,
        min_cell=study.limits.min_cell,
    )


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
    sums = yield total(ScoreMoments(model.cohort, recipe, model.endpoint, score.column))
    reference, limits = reference_of(sums, model.cohort, model.endpoint), study.limits
    slope, cohorts = expected_slope(own), labelled_cohorts(study)
    elsewhere = expected_elsewhere(reference, slope)
    asks = [
        ScoreShiftAlone(
            cohort, recipe, model.endpoint, score.column, limits.min_test_class,
            reference if cohort == model.cohort else elsewhere, cohort == model.cohort, min_cell=limits.min_cell,
        )
        for cohort in cohorts
    ]  # fmt: skip
    replies = yield tuple(each(ask) for ask in asks)
    parts: dict[Place, Summary | FedmviError] = {
        (cohort, site): part for cohort, reply in zip(cohorts, replies, strict=True) for site, part in reply.items()
    }
    fitted = model.fixed is None
    chance = line_covariance(sums) if fitted else np.zeros((2, 2))
    return _adjusted(parts, model.cohort, reference[:, 0], Expected(slope, middle_of(reference), chance))


def expected_slope(own: ScoredModel) -> float:
    """Of the model's calibration in other patients; 1 of one that is penalised, or comes from elsewhere."""
    fit = own.fit if isinstance(own, FittedModel) else None
    if not isinstance(fit, LogisticResult) or fit.ridge:
        return 1.0
    chi2, degrees, _ = fit.likelihood_ratio
    return shrinkage(chi2, degrees)


def _adjusted(
    parts: dict[Place, Summary | FedmviError], training: str, classes: FloatArray, elsewhere: Expected
) -> dict[Place, Labelled]:
    """`classes` has the patients of training by class; `elsewhere` is the line of other patients than those, whose own
    are among those it was fitted to."""
    found: dict[Place, ScoreShift | None] = {}
    tests = np.full((len(parts), 3), np.nan)
    for i, (place, part) in enumerate(parts.items()):
        own = None if isinstance(part, FedmviError) else score_shift(part, _line(place, training, elsewhere))
        if own is not None and not isinstance(part, FedmviError):
            tests[i] = own.calibration_p_, own.classes_p_, frequency_p(part, classes, inside=place[0] == training)
        found[place] = own
    adjusted = holm(tests).tolist()
    return {
        place: Labelled(found[place], line, within, frequency, part if isinstance(part, FedmviError) else None)
        for (place, part), (line, within, frequency) in zip(parts.items(), adjusted, strict=True)
    }


def _line(place: Place, training: str, elsewhere: Expected) -> Expected:
    return Expected() if place[0] == training else elsewhere
