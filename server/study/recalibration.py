"""server/study: step: risks are corrected in calibration cohorts, frozen a second time, and evaluated with and without.

Models are frozen first; a correction is fitted in patients who are neither trained nor tested on; then the corrected
scores are frozen beside the others, and only now the endpoints of test cohorts are opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.codec import pack
from common.federation.query import Summary, each, perform
from common.federation.runner import Conclusion, attempt, together
from common.federation.tasks import Freeze, FreezeCorrections
from common.statistics.guaranteed_sensitivity import GuaranteedAlone, GuaranteedSensitivity, guaranteed_sensitivity
from common.statistics.prior_correction import PriorCorrection, Scored, prior_correction
from common.statistics.recalibration import RecalibrationResult, Rule, recalibrate
from common.statistics.recalibration_alone import RecalibrationAlone, read_recalibration
from common.statistics.risk_quality import RiskQuality, RiskQualityAlone, read_quality, risk_quality
from common.statistics.shift_detection import Detection
from common.statistics.shift_verdict import Verdict
from common.study.correcting import Correction
from common.study.protocol import Cohort, Study
from common.study.recipe import SCORE_DECIMALS, Recipe, Score
from common.study.shifted import compared_cohorts
from common.study.shifting import Recalibration
from server.study.models import ScoredModel
from server.study.reduced import ReducedModel
from server.study.shift import Looked

DEFAULT_THRESHOLD = 0.5
_NOT_TO_BE_CORRECTED = 604


@dataclass(frozen=True)
class Recalibrated:
    """What a recalibration gave; each part is a result or the error that it met.

    Attributes
    ----------
    base
        The model that is corrected.
    fit
        The correction.
    guaranteed
        The cut-off of the frozen score whose sensitivity is guaranteed; None where none is wanted.
    """

    declared: Recalibration
    base: ScoredModel
    fit: RecalibrationResult | PriorCorrection | FedmviError
    guaranteed: GuaranteedSensitivity | FedmviError | None = None

    @property
    def correction(self) -> Correction | None:
        """What is frozen; None where nothing could be fitted."""
        recipe, fit = self.base.scoring, self.fit
        if recipe is None or isinstance(fit, FedmviError):
            return None
        if isinstance(fit, PriorCorrection):
            return Correction(self.declared.name, recipe, fit.intercept_, 1.0, (), self._cutoff)
        if fit.refit_ is not None:
            intercept, *coefficients = (float(number) for number in fit.refit_.coef_)
            # Patients to whom coefficients were fitted guarantee nothing about them.
            return Correction(self.declared.name, recipe, intercept, 1.0, tuple(coefficients))
        return Correction(self.declared.name, recipe, fit.intercept_, fit.slope_, (), self._cutoff)

    @property
    def _cutoff(self) -> float | None:
        return self.guaranteed.cutoff_ if isinstance(self.guaranteed, GuaranteedSensitivity) else None


def fit_corrections(
    study: Study, fitted: Sequence[ScoredModel], looked: Looked | None = None
) -> Conclusion[list[Recalibrated]]:
    """Every recalibration of the study in its calibration cohort, in lock-step; the models must be frozen.

    `looked`: how hospitals were found to differ without outcomes, if the study compares them.
    """
    of_name = {model.model.name: model for model in fitted}
    return (yield from together(*(_one(study, one, of_name[one.model], looked) for one in study.recalibrations)))


def _one(study: Study, one: Recalibration, base: ScoredModel, looked: Looked | None) -> Conclusion[Recalibrated]:
    unfit = _of_another_kind(study, one, looked)
    if unfit is not None:
        return Recalibrated(one, base, unfit)
    recipe, score = base.scoring, base.score
    if recipe is None or score is None:
        why = FedmviError(_NOT_TO_BE_CORRECTED, "the model that is corrected could not be fitted", model=one.model)
        return Recalibrated(one, base, why)
    cohort = study.cohort(one.cohort)
    alone = len(cohort.sites) < study.limits.min_sites
    wanted: list[Conclusion[Any]] = [attempt(_fit(study, one, base, recipe, score, alone=alone))]
    if one.sensitivity is not None:
        wanted.append(attempt(_guaranteed(study, one, recipe, score, one.sensitivity, alone=alone)))
    fit, *guaranteed = yield from together(*wanted)
    return Recalibrated(one, base, fit, guaranteed[0] if guaranteed else None)


def _fit(
    study: Study, one: Recalibration, base: ScoredModel, recipe: Recipe, score: Score, *, alone: bool
) -> Conclusion[RecalibrationResult | PriorCorrection]:
    if one.method == "prior":
        return (yield from _prior(study, one, base, recipe, score, alone=alone))
    rule = Rule(one.method)
    columns = score.names if rule is Rule.CLOSED_TESTING else ()
    if not alone:
        return (yield from recalibrate(one.cohort, recipe, score.endpoint, score.column, columns, rule))
    limits = study.limits
    query = RecalibrationAlone(
        one.cohort, recipe, score.endpoint, score.column, columns, rule, limits.min_test_class, min_cell=limits.min_cell
    )
    found = read_recalibration(query, _single((yield each(query))))
    if isinstance(found, FedmviError):
        raise found
    return found


def _single(parts: Mapping[str, Summary | FedmviError]) -> Summary:
    """What the one site of a cohort told; raises the error that it met."""
    (part,) = parts.values()
    if isinstance(part, FedmviError):
        raise part
    return part


def _prior(
    study: Study, one: Recalibration, base: ScoredModel, recipe: Recipe, score: Score, *, alone: bool
) -> Conclusion[PriorCorrection]:
    """In training by out-of-fold scores where there are some, else by the apparent ones."""
    folded = base.out_of_fold if isinstance(base, ReducedModel) else None
    training = Scored(base.model.cohort, folded or base.training or recipe)
    return (
        yield from prior_correction(
            training,
            Scored(one.cohort, recipe),
            score.endpoint,
            score.column,
            threshold_of(base),
            alone=alone,
            min_cell=study.limits.min_cell,
        )
    )


def _of_another_kind(study: Study, one: Recalibration, looked: Looked | None) -> FedmviError | None:
    """Error 657 for a correction of the prevalence where hospitals of its cohort differ in anything else, or nothing.

    It is right if only the frequency of the outcome differs, and moves all risks by what else differs if not. Where a
    study compares no hospitals that is the author's assumption, and its result says so.
    """
    if one.method != "prior" or looked is None:
        return None
    sites = study.cohort(one.cohort).sites
    found = looked.detection.sites_ if isinstance(looked.detection, Detection) else ()
    verdicts = dict.fromkeys(sites, Verdict.CANNOT_TELL)
    for seen in found:
        if seen.cohort in compared_cohorts(study) and seen.site in verdicts:
            verdicts[seen.site] = seen.verdict
    kinds = set(verdicts.values())
    if Verdict.LABEL in kinds and kinds <= {Verdict.LABEL, Verdict.NONE_DETECTED}:
        return None
    return FedmviError(657, cohort=one.cohort, found=", ".join(f"{site}: {kind}" for site, kind in verdicts.items()))


def threshold_of(base: ScoredModel) -> float:
    """The cut-off that was frozen with a model, to a whole hundredth, at which counts are those of public bins.

    Raises
    ------
    FedmviError
        What was met when the cut-off was chosen.
    """
    if isinstance(base.cutoff, FedmviError):
        raise base.cutoff
    cutoff = DEFAULT_THRESHOLD if base.cutoff is None else base.cutoff
    return min(max(round(cutoff * 100.0), 1), 99) / 100.0


def _guaranteed(
    study: Study, one: Recalibration, recipe: Recipe, score: Score, target: float, *, alone: bool
) -> Conclusion[GuaranteedSensitivity]:
    if not alone:
        return (yield from guaranteed_sensitivity(one.cohort, recipe, score.endpoint, score.column, target))
    limits = study.limits
    query = GuaranteedAlone(
        one.cohort, recipe, score.endpoint, score.column, target, limits.min_test_class, min_cell=limits.min_cell
    )
    return query.read(_single((yield each(query))))


# ------------------------------------------------------------------------------------------------ the second freeze


def correct(
    study: Study, fitted: Sequence[ScoredModel], manifest: Freeze, looked: Looked | None = None
) -> Conclusion[list[Recalibrated]]:
    """Fit the corrections of a study, and freeze them beside what was frozen.

    They are frozen also where none could be made, because that opens the test cohorts.

    Parameters
    ----------
    manifest
        What was frozen at every site.
    looked
        How hospitals were found to differ without outcomes, if the study compares them.
    """
    if not study.recalibrations:
        return []
    recalibrated = yield from fit_corrections(study, fitted, looked)
    corrections = tuple(one.correction for one in recalibrated if one.correction is not None)
    yield perform(FreezeCorrections(pack(manifest, Freeze).digest, corrections))
    return recalibrated


# ------------------------------------------------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class Evaluated:
    """A recalibrated model in one cohort, over all sites or at one that tells its own.

    Attributes
    ----------
    site
        "" over all sites.
    before, after
        Without and with the correction.
    """

    recalibrated: Recalibrated
    cohort: Cohort
    site: str
    before: RiskQuality | FedmviError
    after: RiskQuality | FedmviError


def evaluate_corrections(study: Study, recalibrated: Sequence[Recalibrated]) -> Conclusion[list[Evaluated]]:
    """Risks without and with each correction, in every cohort in which the base model is evaluated, in lock-step."""
    parts = [
        _evaluate(study, one, study.cohort(name))
        for one in recalibrated
        if one.correction is not None
        for name in one.base.model.evaluate
    ]
    groups: list[list[Evaluated]] = yield from together(*parts)
    return [one for group in groups for one in group]


def _evaluate(study: Study, one: Recalibrated, cohort: Cohort) -> Conclusion[list[Evaluated]]:
    correction, limits = one.correction, study.limits
    if correction is None:
        raise ValueError("only what was corrected is evaluated")
    recipe, endpoint = correction.corrected, correction.score.endpoint
    columns = (f"score.{one.declared.model}", correction.score.column)
    threshold = threshold_of(one.base) if not isinstance(one.base.cutoff, FedmviError) else DEFAULT_THRESHOLD
    if len(cohort.sites) >= limits.min_sites:
        asked = (risk_quality(cohort.name, recipe, endpoint, name, threshold, limits.min_cell) for name in columns)
        before, after = yield from together(*(attempt(question) for question in asked))
        return [Evaluated(one, cohort, "", before, after)]
    queries = [
        RiskQualityAlone(
            cohort.name, recipe, endpoint, name, threshold, limits.min_test_class, min_cell=limits.min_cell
        )
        for name in columns
    ]
    answers = yield tuple(each(query) for query in queries)
    found = []
    for site in sorted(answers[0]):
        told = [_read(query, answer[site]) for query, answer in zip(queries, answers, strict=True)]
        found.append(Evaluated(one, cohort, site, told[0], told[1]))
    return found


def _read(query: RiskQualityAlone, answer: Summary | FedmviError) -> RiskQuality | FedmviError:
    return answer if isinstance(answer, FedmviError) else read_quality(query, answer)


def corrected_cutoff(correction: Correction, cutoff: float) -> float:
    """The cut-off of the corrected score that calls nobody low whom a cut-off of the frozen one calls high.

    Scores are rounded: of those who reach the cut-off the lowest risk is half a unit of the last decimal less.
    """
    lowest = cutoff - 0.5 * 10.0**-SCORE_DECIMALS
    linear = correction.intercept + correction.slope * math.log(lowest / (1.0 - lowest))
    return float(np.round(1.0 / (1.0 + math.exp(-linear)), SCORE_DECIMALS))
