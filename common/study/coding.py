"""common/study: the columns that the terms of a model become: numbers as they are, logarithms, cut, or levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.errors import FedmviError
from common.federation.codec import STRICT
from common.study.dictionary import Variable
from common.study.modelling import is_score
from common.study.protocol import Study
from common.study.table import Column, FloatArray
from common.study.terms import Term

MANY_TERMS = 20
"""So many features take a while to be looked up, and are for every question."""


@dataclass(frozen=True)
class CodedColumn:
    """One column made from one variable: `afp>20`, `child_pugh=B`, `age`; `known` is 1 wherever there is a value."""

    __pydantic_config__ = STRICT
    name: str
    variable: str
    coding: Literal["linear", "log", "asinh", "above", "equals", "known"]
    cutoff: float = 0.0
    level: str = ""

    def code(self, column: Column) -> FloatArray:
        """(n,) the coded values; a censored cell is used only where the cut-off decides it."""
        missing = np.isnan(column.values)
        if self.coding == "known":
            return np.where(missing, np.nan, 1.0)
        if self.coding == "equals":
            return np.where(missing, np.nan, (column.values == column.levels.index(self.level)).astype(np.float64))
        if self.coding == "above":
            return np.where(missing, np.nan, self._above(column))
        if bool(np.any(column.censored[~missing] != 0)):
            raise FedmviError(305, variable=self.variable)
        if self.coding == "asinh":
            return np.arcsinh(column.values)
        return column.values if self.coding == "linear" else np.log1p(column.values)

    def _above(self, column: Column) -> FloatArray:
        # "<20" is below 20 and so never above a cut-off of 20 or more; ">20" is above 20.
        undecided = ((column.censored < 0) & (column.values > self.cutoff)) | (
            (column.censored > 0) & (column.values < self.cutoff)
        )
        if bool(np.any(undecided)):
            raise FedmviError(305, variable=self.variable)
        return ((column.values > self.cutoff) | ((column.censored > 0) & (column.values >= self.cutoff))).astype(
            np.float64
        )


def coded_columns(study: Study, terms: tuple[Term, ...]) -> tuple[CodedColumn, ...]:
    """The columns that the terms of a model become, in order; a variable of k levels becomes k - 1 columns."""
    known = study.worked_out.get(id(terms))
    if known is None:
        columns = tuple(column for term in terms for column in columns_of(study.variable(term.variable), term))
        if len(terms) < MANY_TERMS:
            return columns
        # The terms are kept beside the columns, so that their identity stays theirs.
        known = study.worked_out[id(terms)] = (terms, columns)
    found: tuple[CodedColumn, ...] = known[1]
    return found


def columns_of(variable: Variable, term: Term) -> tuple[CodedColumn, ...]:
    """The columns that one term becomes, where its variable is this one.

    Of a score the cut-off is chosen in training, and no part of the column's name.
    """
    if is_score(variable.name) and term.coding == "above":
        return (CodedColumn(f"{variable.name}>=cut-off", variable.name, "above", cutoff=term.cutoff or 0.0),)
    if term.coding == "levels":
        levels = variable.level_names[1:]
        return tuple(CodedColumn(f"{variable.name}={level}", variable.name, "equals", level=level) for level in levels)
    if term.coding == "above":
        cutoff = term.cutoff if term.cutoff is not None else variable.cutoff
        if cutoff is None:
            raise FedmviError(103, f"'{variable.name}' has no cut-off", count=1)
        return (CodedColumn(f"{variable.name}>{cutoff:g}", variable.name, "above", cutoff=cutoff),)
    name = variable.name if term.coding == "linear" else f"{term.coding}({variable.name})"
    return (CodedColumn(name, variable.name, term.coding),)
