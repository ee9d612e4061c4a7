"""simulation: benchmarks: shift: whether the product finds a hospital that differs, and what it calls the difference.

The target shows `PATIENTS` patients. It is compared by the predictors and the score of the model without any action.
Hospitals that train have one scanner here, unlike those whose models are compared: these differ a little from each
other and from any target, which would be found, and rightly so, and pass for the scenario's shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.query import Summary, each, total
from common.federation.runner import Conclusion, conclude
from common.statistics.multiplicity import holm
from common.statistics.prior_correction import prior_shift
from common.statistics.score_shift import (
    ScoreMoments,
    ScoreShiftAlone,
    expected_elsewhere,
    frequency_p,
    line_covariance,
    line_elsewhere,
    middle_of,
    reference_of,
    score_shift,
    shrinkage,
)
from common.statistics.shift_detection import Compared, Detection, detect_shift
from common.statistics.shift_verdict import Verdict, with_outcomes
from common.study.recipe import Frame, Recipe, logistic_function
from simulation.benchmarks.shift.methods import NOTHING, developed
from simulation.benchmarks.shift.models import Developed
from simulation.benchmarks.shift.patients import PREVALENCE
from simulation.benchmarks.shift.recalibrating import logit
from simulation.benchmarks.shift.scenarios import TRAINING_SITES
from simulation.benchmarks.shift.sites import ENDPOINT, TRAIN, Hospital, port_to

PATIENTS = 100
"""Of the target, in each look."""
DEALS = 199
MIN_CELL, MIN_CLASS = 5, 10
LOOKED = "looked-at"
_HIDDEN = frozenset({Verdict.NONE_DETECTED, Verdict.CANNOT_TELL})


@dataclass(frozen=True)
class Look:
    """One look at one target.

    Attributes
    ----------
    verdict
        Without outcomes.
    alarms
        Sites of training that are said to differ.
    reference, prevalence
        Of MVI in training, and at the target as it is estimated without outcomes; None where it is not told.
    with_outcomes
        The verdict when they are used as well; "" where they say nothing.
    """

    verdict: str
    alarms: tuple[str, ...]
    reference: float
    prevalence: float | None
    with_outcomes: str

    @property
    def found(self) -> bool:
        """Whether the target is said to differ."""
        return Verdict(self.verdict) not in _HIDDEN

    @property
    def found_with_outcomes(self) -> bool:
        """The same, when outcomes are used."""
        return bool(self.with_outcomes) and Verdict(self.with_outcomes) not in _HIDDEN


def look(train: Mapping[str, Frame], target: Frame, model: Developed) -> Look:
    """Compare a target's patients with those of training."""
    score = model.score
    port = port_to({
        **{name: Hospital({TRAIN: frame}) for name, frame in train.items()}, "target": Hospital({LOOKED: target})
    })  # fmt: skip
    compared = Compared(
        TRAIN, Recipe(), ENDPOINT, score.names, score.names, score.intercept, score.coefficients, PREVALENCE,
        ((LOOKED, Recipe()),), DEALS, MIN_CELL,
    )  # fmt: skip
    detection: Detection
    detection, later = conclude(port, [detect_shift(compared), _scores(model)])
    found = detection.of(LOOKED, "target")
    alarms = tuple(one.site for one in detection.sites_ if one.cohort == TRAIN and one.verdict not in _HIDDEN)
    prevalence = found.prevalence_.value_ if found.prevalence_ is not None else None
    reference = float(detection.reference_prevalence_)
    return Look(str(found.verdict), alarms, reference, prevalence, _named(found.verdict, later))


def _scores(model: Developed) -> Conclusion[tuple[float, float, float] | None]:
    """As a study does it once outcomes may be used: the score is expected to be as overfitted as its own test says."""
    recipe, score = Recipe().then(model.score), model.score
    sums = yield total(ScoreMoments(TRAIN, recipe, ENDPOINT, score.column))
    reference, slope = reference_of(sums, TRAIN, ENDPOINT), shrinkage(model.chi2, len(score.names))
    elsewhere = expected_elsewhere(reference, slope)
    parts = yield each(
        ScoreShiftAlone(LOOKED, recipe, ENDPOINT, score.column, MIN_CLASS, elsewhere, part=False, min_cell=MIN_CELL)
    )
    answer: Summary | FedmviError = parts["target"]
    if isinstance(answer, FedmviError):
        return None
    found = score_shift(answer, line_elsewhere(slope, middle_of(reference), line_covariance(sums)))
    if found is None:
        return None
    return found.calibration_p_, found.classes_p_, frequency_p(answer, reference[:, 0], inside=False)


def _named(before: Verdict, tests: tuple[float, float, float] | None) -> str:
    """Adjusted as for as many hospitals as are looked at: each of those that train has three tests in a study, too."""
    if tests is None:
        return ""
    family = np.vstack([tests, np.ones((TRAINING_SITES, 3))])
    calibration, classes, frequency = holm(family)[0].tolist()
    return str(with_outcomes(before, calibration, classes, frequency))


def model_of(train: Mapping[str, Frame]) -> Developed:
    """The model without any action, of these hospitals."""
    port = port_to({name: Hospital({TRAIN: frame}) for name, frame in train.items()})
    (model,) = conclude(port, [developed(NOTHING)])
    found: Developed = model
    return found


def prior_error(model: Developed, test: Frame, seen: Look) -> tuple[float, float] | None:
    """|logit O/E| at the target before and after the prior correction; None where there is no estimate in (0, 1)."""
    if seen.prevalence is None or not 0.0 < seen.prevalence < 1.0:
        return None
    observed = logit(float(test.endpoints[ENDPOINT].mean()))
    linear = model.score.linear_predictor(model.before.apply_to(test))
    shift = prior_shift(seen.reference, seen.prevalence)
    before, after = (logit(float(np.mean(logistic_function(linear + by)))) for by in (0.0, shift))
    return abs(observed - before), abs(observed - after)
