"""server/study: the optimism of a model's apparent area, by bootstrap sets on which everything is fitted anew.

Each set's model is measured on its own set and on the patients as they are; the mean difference is the optimism, and
the apparent area less the optimism is what may be expected of other patients like these (Harrell, Lee & Mark, Stat Med
1996;15:361).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.statistics.roc import RocResult, roc
from common.study.protocol import Model
from common.study.recipe import DraftScore, Recipe, Resample
from common.study.table import FloatArray

Formula = tuple[tuple[str, ...], tuple[float, ...], float]
"""Columns, coefficients and intercept."""


@dataclass(frozen=True)
class Optimism:
    """Areas of the models of bootstrap sets.

    Attributes
    ----------
    own_, original_
        (sets,) on the set that the model was fitted on, and on the patients as they are.
    failed_
        Sets on which the model could not be fitted, or not be measured; they are left out.
    """

    own_: FloatArray
    original_: FloatArray
    failed_: int

    @property
    def mean(self) -> float:
        """Mean difference of the two; NaN without a set."""
        return float(np.mean(self.own_ - self.original_)) if self.own_.size else float("nan")


def corrected(model: Model, base: Recipe, sets: Sequence[Formula | None]) -> Conclusion[Optimism]:
    """Measure the model of each bootstrap set on its set and on everybody, all in lock-step.

    A model without a column scores all alike, and has an area of one half on any patients.
    """
    asks = []
    for b, formula in enumerate(sets):
        if formula is not None and formula[0]:
            names, coef, intercept = formula
            draft = DraftScore(model.name, model.endpoint, names, (coef,), (intercept,), b + 1)
            for recipe in (base.then(Resample(b + 1, model.endpoint), draft), base.then(draft)):
                asks.append(attempt(roc(model.cohort, recipe, model.endpoint, draft.column)))
    found: list[RocResult | FedmviError] = yield from together(*asks)
    pairs = []
    for own, original in zip(found[::2], found[1::2], strict=True):
        if isinstance(own, RocResult) and isinstance(original, RocResult):
            pairs.append((own.auc_, original.auc_))
    empty = sum(formula is not None and not formula[0] for formula in sets)
    measured = np.array([*pairs, *[(0.5, 0.5)] * empty]).reshape(-1, 2)
    return Optimism(measured[:, 0], measured[:, 1], len(sets) - len(measured))
