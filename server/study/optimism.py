"""server/study: the optimism of a model's apparent performance, by bootstrap sets on which everything is fitted anew.

Each set's model is measured on its own set and on the patients as they are; the mean difference is the optimism, and
the apparent measure less the optimism is what may be expected of other patients like these (Harrell, Lee & Mark, Stat
Med 1996;15:361). For decisions the cut-off is part of the model: each set chooses its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.statistics.cutoffs import cutoffs, table_at
from common.statistics.refinement import Counts
from common.statistics.roc import class_leaves, roc
from common.study.protocol import Model
from common.study.recipe import DraftScore, Recipe, Resample
from common.study.table import FloatArray

Formula = tuple[tuple[str, ...], tuple[float, ...], float]
"""Columns, coefficients and intercept."""


@dataclass(frozen=True)
class Optimism:
    """Performance of the models of bootstrap sets.

    Attributes
    ----------
    own_, original_
        (sets,) areas on the set that the model was fitted on, and on the patients as they are.
    failed_
        Sets on which the model could not be fitted, or not be measured; they are left out.
    own_balanced_, original_balanced_
        (sets,) balanced accuracies likewise, at the cut-off of the set's model; empty where they were not asked for.
        Sets without a cut-off that leaves enough patients on its sides are left out.
    """

    own_: FloatArray
    original_: FloatArray
    failed_: int
    own_balanced_: FloatArray = field(default_factory=lambda: np.empty(0))
    original_balanced_: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def mean(self) -> float:
        """Mean difference of the two areas; NaN without a set."""
        return _mean(self.own_ - self.original_)

    @property
    def mean_balanced(self) -> float:
        """Mean difference of the two balanced accuracies; NaN without a set."""
        return _mean(self.own_balanced_ - self.original_balanced_)


def corrected(
    model: Model, base: Recipe, sets: Sequence[Formula | None], min_cell: int | None = None
) -> Conclusion[Optimism]:
    """Measure the model of each bootstrap set on its set and on everybody, all in lock-step.

    A model without a column scores all alike, and has an area of one half on any patients.

    Parameters
    ----------
    min_cell
        Patients that a cut-off must leave in each cell of its table, where balanced accuracies are measured too.
    """
    drafts = [
        (b + 1, DraftScore(model.name, model.endpoint, formula[0], (formula[1],), (formula[2],), b + 1))
        for b, formula in enumerate(sets)
        if formula is not None and formula[0]
    ]
    found: list[_Measured | FedmviError] = yield from together(
        *(attempt(_measure(model, base, draft, b, min_cell)) for b, draft in drafts)
    )
    measured = [one for one in found if isinstance(one, _Measured)]
    empty = sum(formula is not None and not formula[0] for formula in sets)
    areas = np.array([*(one.areas for one in measured), *[(0.5, 0.5)] * empty]).reshape(-1, 2)
    shares = np.array([one.balanced for one in measured if one.balanced is not None]).reshape(-1, 2)
    return Optimism(areas[:, 0], areas[:, 1], len(sets) - len(areas), shares[:, 0], shares[:, 1])


@dataclass(frozen=True)
class _Measured:
    """One set's model on its own set and on everybody: areas, and balanced accuracies where it has a cut-off."""

    areas: tuple[float, float]
    balanced: tuple[float, float] | None


def _measure(
    model: Model, base: Recipe, draft: DraftScore, replicate: int, min_cell: int | None
) -> Conclusion[_Measured]:
    here, everybody = base.then(Resample(replicate, model.endpoint), draft), base.then(draft)
    asked = (model.cohort, everybody, model.endpoint)
    asks: list[Conclusion[Any]] = [roc(model.cohort, here, model.endpoint, draft.column), roc(*asked, draft.column)]
    if min_cell is not None:  # their questions are those of the areas, and travel once
        asks.append(attempt(cutoffs(model.cohort, here, model.endpoint, (draft.column,), min_cell=min_cell)))
        asks.append(class_leaves(*asked, (draft.column,)))
    own, original, *decided = yield from together(*asks)
    areas = (own.auc_, original.auc_)
    if not decided or isinstance(decided[0], FedmviError):
        return _Measured(areas, None)
    (cut,), (leaves,) = decided
    table = yield from table_at(*asked, draft.column, leaves, cut.value_)
    return _Measured(areas, (balanced_accuracy(cut.table_), balanced_accuracy(table)))


def balanced_accuracy(table: Counts) -> float:
    """The mean of sensitivity and specificity of a (2, 2) table by class and test."""
    return float(np.mean(np.diag(table) / table.sum(axis=1)))


def _mean(differences: FloatArray) -> float:
    return float(np.mean(differences)) if differences.size else float("nan")
