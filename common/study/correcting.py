"""common/study: corrections of frozen scores: what a second freeze adds, and the recipe that computes it.

A corrected score is another score beside the frozen one, of the same columns. Both sides make its recipe from the
correction by the same arithmetic, so that a site knows what is looked at and need not trust a digest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.federation.codec import STRICT
from common.study.protocol import Model, Study
from common.study.ranges import LARGEST
from common.study.recipe import Recipe, Score
from common.study.shifting import Recalibration

HUNDREDTHS = 100


@dataclass(frozen=True)
class Correction:
    """A frozen score and what is corrected of it.

    Attributes
    ----------
    name
        Of one of `[[recalibrations]]`.
    recipe
        Ends in the frozen score.
    intercept, slope
        Log odds = intercept + slope * those of the frozen score; of a refit the intercept itself, and 1.
    refit
        Coefficients of the frozen score's columns, in their order; empty unless all are fitted anew.
    cutoff
        A whole hundredth of the frozen score, whose sensitivity is guaranteed; None where none is wanted or found.
    """

    __pydantic_config__ = STRICT
    name: str
    recipe: Recipe
    intercept: float
    slope: float
    refit: tuple[float, ...] = ()
    cutoff: float | None = None

    @property
    def frozen(self) -> Score | None:
        """The frozen score; None where the recipe ends in no score."""
        last = self.recipe.steps[-1] if self.recipe.steps else None
        return last if isinstance(last, Score) else None

    @property
    def score(self) -> Score:
        """The corrected score."""
        base = self.frozen
        if base is None:
            raise ValueError("the recipe does not end in a score")
        if self.refit:
            return Score(self.name, base.endpoint, base.names, self.refit, self.intercept)
        coefficients = tuple(self.slope * coefficient for coefficient in base.coefficients)
        return Score(self.name, base.endpoint, base.names, coefficients, self.intercept + self.slope * base.intercept)

    @property
    def corrected(self) -> Recipe:
        """From a site's table to both scores."""
        return self.recipe.then(self.score)


def declared_recalibration(study: Study, name: str) -> Recalibration | None:
    """The recalibration of that name, if it is one."""
    return next((one for one in study.recalibrations if one.name == name), None)


def recalibrated_model(study: Study, name: str) -> Model | None:
    """The model whose score a recalibration of that name corrects, if there is one."""
    declared = declared_recalibration(study, name)
    return None if declared is None else next((m for m in study.models if m.name == declared.model), None)


def recalibrations_in(study: Study, cohort: str) -> tuple[Recalibration, ...]:
    """Those that are fitted in a cohort."""
    return tuple(one for one in study.recalibrations if one.cohort == cohort)


def admissible(study: Study, correction: Correction) -> bool:
    """Whether a study declares such a correction: its score, and what its method may change of it."""
    declared, base = declared_recalibration(study, correction.name), correction.frozen
    if declared is None or base is None or base.model != declared.model:
        return False
    numbers = (correction.intercept, correction.slope, *correction.refit)
    if not all(math.isfinite(number) and abs(number) <= LARGEST for number in numbers):
        return False
    score = correction.score
    if any(abs(number) > LARGEST for number in (score.intercept, *score.coefficients)):
        return False
    if correction.refit:
        sound = declared.method == "closed-testing" and len(correction.refit) == len(base.names)
        return sound and correction.slope == 1.0 and _cut(correction, declared)
    moved = declared.method in ("closed-testing", "slope") or correction.slope == 1.0
    return moved and correction.slope > 0 and _cut(correction, declared)


def _cut(correction: Correction, declared: Recalibration) -> bool:
    """A cut-off only where one is declared, and only between public bins."""
    cutoff = correction.cutoff
    if cutoff is None:
        return True
    public = 0.0 < cutoff < 1.0 and cutoff == round(cutoff * HUNDREDTHS) / HUNDREDTHS
    return declared.sensitivity is not None and public and not correction.refit
