"""common/study: a site's table as the recipes see it: typed columns, endpoints, exclusions; never leaves a site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from common.study.coding import CodedColumn
    from common.study.expressed import GeneTable

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One variable for all patients of a site.

    Attributes
    ----------
    values
        (n,) float64. Continuous: the number in the variable's unit. Binary and categorical: the index into
        `levels`. NaN where missing.
    levels
        Names of the levels, reference first; empty for a continuous variable.
    censored
        (n,) int8: -1 where the cell said "below `values`", +1 "above", 0 a plain value.
    """

    values: FloatArray
    levels: tuple[str, ...]
    censored: NDArray[np.int8]

    def of(self, rows: NDArray[np.bool_]) -> Column:
        """The column of a part of the patients."""
        return Column(self.values[rows], self.levels, self.censored[rows])


def measured(values: FloatArray) -> Column:
    """A column of plain numbers."""
    return Column(values, (), np.zeros(values.size, np.int8))


@dataclass(frozen=True)
class SiteTable:
    """All patients of one site, before eligibility and cohorts.

    Attributes
    ----------
    patients
        Patient ids, in the order of all arrays.
    columns
        Variables by name.
    endpoints
        Binary endpoint `mvi`: (n,) of 0, 1, NaN under "mvi". Survival endpoint `os`: "os.time" in the
        endpoint's unit and "os.event" 0/1; NaN in both where missing.
    failed
        For each eligibility rule, in order: (n,) bool, True where the patient fails it.
    labels
        The free `cohort` label of each patient, "" where none.
    made
        What tasks made here and kept: (n,) columns by name, by the digest of the model that made them; NaN for
        patients whom it does not score. It is no part of the prepared table.
    declared
        The coded columns of models that a recipe names as a whole, by model. It is no part of the prepared table.
    expression
        Gene expression, in a study that compares it.
    second
        The second reader's values of features of images, and readings of traits, in a study that asks how well readers
        agree; NaN for patients whom one reader read.
    """

    patients: tuple[str, ...]
    columns: Mapping[str, Column]
    endpoints: Mapping[str, FloatArray]
    failed: Mapping[str, NDArray[np.bool_]]
    labels: tuple[str, ...]
    made: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)
    declared: Mapping[str, tuple[CodedColumn, ...]] = field(default_factory=dict)
    expression: GeneTable | None = None
    second: Mapping[str, Column] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of patients."""
        return len(self.patients)
