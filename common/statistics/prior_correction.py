"""common/statistics: a correction of the intercept by a prevalence that is estimated without outcomes.

If only the outcome is more or less frequent than in training, the log odds of all patients differ by the difference of
the prevalences' log odds (Saerens et al., Neural Comput 2002;14:21; Elkan, IJCAI 2001, theorem 2). The prevalence is
estimated from how many patients have a high score (`label_shift`). Where more than the prevalence differs, it is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.query import HIDDEN, Block, Kind, Query, Risk, Summary, each, total
from common.federation.runner import Conclusion
from common.statistics.confusion import ThresholdCounts
from common.statistics.counts import Counts, hide_in_row
from common.statistics.label_shift import Classes, Prevalence, estimated_prevalence
from common.statistics.refinement import public_thresholds
from common.study.recipe import Frame, Recipe

NOT_TOLD = 646


@dataclass(frozen=True)
class PredictedPositives(Query):
    """How many patients have a score at or above a cut-off, whatever their outcome.

    Attributes
    ----------
    guarded
        One site on its own, which hides small counts; else a sum.
    """

    name: ClassVar[str] = "query.predicted_positives"
    risk: ClassVar[Risk] = Risk.CELLS

    column: str
    cutoff: float
    min_cell: int
    guarded: bool

    def blocks(self) -> Mapping[str, Block]:
        """`n` (2,) below the cut-off, and at or above it."""
        return {"n": Block((2,), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"patients below and from a cut-off of {self.column} on, cohort {self.cohort}"

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        return public_thresholds(np.array([self.cutoff]))

    @property
    def once(self) -> tuple[str, ...]:
        """Two cut-offs would tell who is between them."""
        return ("cutoff",)

    @property
    def pooled(self) -> bool:
        """See `Query`."""
        return not self.guarded

    @property
    def hides_below(self) -> int:
        """See `Query`."""
        return self.min_cell if self.guarded else 0

    def consistent(self) -> bool:
        """See `Query`."""
        return 0.0 <= self.cutoff <= 1.0

    def answer(self, frame: Frame) -> Summary:
        """Patients without a score are left out."""
        score = frame.columns[self.column]
        known = score[~np.isnan(score)]
        high = int(np.count_nonzero(known >= self.cutoff))
        n = np.array([known.size - high, high], dtype=np.int64)
        return {"n": hide_in_row(n, self.min_cell) if self.guarded else n}


@dataclass(frozen=True)
class PriorCorrection:
    """A correction of the intercept.

    Attributes
    ----------
    intercept_, low_, high_
        What is added to the log odds, with the 95 % limits of the prevalence; None where a limit is 0 or 1.
    source_, target_
        Prevalence in training, and the estimated one.
    n_
        Patients whose prevalence is estimated.
    sensitivity_, false_positive_rate_
        Of the cut-off, in training.
    """

    intercept_: float
    low_: float | None
    high_: float | None
    source_: float
    target_: Prevalence
    n_: int
    sensitivity_: float
    false_positive_rate_: float

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row."""
        return [
            {
                "intercept": self.intercept_,
                "intercept_low": self.low_,
                "intercept_high": self.high_,
                "source_prevalence": self.source_,
                "target_prevalence": self.target_.value_,
                "n": self.n_,
            }
        ]


def prior_shift(source: float, target: float) -> float:
    """What a change of prevalence from `source` to `target`, both between 0 and 1, adds to the log odds."""
    return float(np.log(target / (1.0 - target)) - np.log(source / (1.0 - source)))


@dataclass(frozen=True)
class Scored:
    """A cohort and the recipe of its scores."""

    cohort: str
    recipe: Recipe


def prior_correction(
    training: Scored, target: Scored, endpoint: str, column: str, cutoff: float, *, alone: bool, min_cell: int
) -> Conclusion[PriorCorrection]:
    """Correct the score in `column` for the prevalence in the target cohort, whose endpoint is not asked; one round.

    Parameters
    ----------
    cutoff
        From which on a score is high.
    alone
        Whether the target cohort is one site, which tells its own counts, those below `min_cell` hidden.

    Raises
    ------
    FedmviError
        602 one class only in training, 646 a score that does not tell the classes apart, or a prevalence of 0 or 1;
        610 hidden counts; and what the one site met.
    """
    asked = PredictedPositives(target.cohort, target.recipe, column, cutoff, min_cell, guarded=alone)
    thresholds = np.array([[cutoff]])
    sums, answer = yield (
        total(ThresholdCounts(training.cohort, training.recipe, (column,), endpoint, thresholds)),
        each(asked) if alone else total(asked),
    )
    n = sums["n"][0]
    if not bool(np.all(n > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=training.cohort)
    above = _counts(answer, target.cohort, min_cell) if alone else answer["n"]
    classes = Classes(n, np.zeros((2, 0)), np.zeros((0, 0)), sums["positive"][0, 0])
    told = estimated_prevalence(above, classes) if int(above.sum()) else None
    if told is None or not 0.0 < told.value_ < 1.0:
        raise FedmviError(NOT_TOLD, column=column, cohort=target.cohort)
    source = classes.prevalence
    low, high = (prior_shift(source, end) if 0.0 < end < 1.0 else None for end in (told.low_, told.high_))
    false, true = classes.rates.tolist()
    return PriorCorrection(
        prior_shift(source, told.value_), low, high, source, told, int(above.sum()), float(true), float(false)
    )


def _counts(parts: Mapping[str, Summary | FedmviError], cohort: str, min_cell: int) -> Counts:
    """Those of the one site."""
    (part,) = parts.values()
    if isinstance(part, FedmviError):
        raise part
    if HIDDEN in part["n"].tolist():
        raise FedmviError(610, limit=min_cell, cohort=cohort)
    counts: Counts = part["n"]
    return counts
