"""common/study: what a protocol says of a coded column: its plausible range, and the levels that a table of it has."""

from __future__ import annotations

import math

from common.study.coding import CodedColumn, coded_columns
from common.study.protocol import Study
from common.study.terms import Term

Range = tuple[float, float]

LARGEST = 1e6
"""Largest coefficient, and largest standardised value that a plausible patient may have."""

NUMBERS = ("linear", "log", "asinh")
"""Codings of a column that has no levels."""

BETWEEN_LEVELS: Range = (0.001, 0.999)
"""Limits of the values that fill a binary column: never a level itself, so that they are told from known ones."""


def plausible_range(study: Study, column: CodedColumn) -> Range:
    """The lowest and highest plausible value of a column, infinite where the variable declares none."""
    if column not in study.worked_out:
        study.worked_out[column] = _plausible_range(study, column)
    known: Range = study.worked_out[column]
    return known


def _plausible_range(study: Study, column: CodedColumn) -> Range:
    if column.coding not in NUMBERS:
        return (1.0, 1.0) if column.coding == "known" else (0.0, 1.0)
    variable = study.variable(column.variable)
    low = -math.inf if variable.low is None else variable.low
    high = math.inf if variable.high is None else variable.high
    if column.coding == "log":
        return (math.log1p(low) if low > -1 else -math.inf), math.log1p(high)
    return (math.asinh(low), math.asinh(high)) if column.coding == "asinh" else (low, high)


def narrowest(study: Study, column: CodedColumn) -> float:
    """The least standard deviation by which a column may be divided; 0 where it has no declared range.

    By a smaller one a plausible patient's value would be beyond `LARGEST`, which every site refuses.
    """
    low, high = plausible_range(study, column)
    return (high - low) / LARGEST if math.isfinite(high - low) else 0.0


def filled_range(study: Study, column: CodedColumn) -> Range:
    """The limits of values that fill missing ones: the plausible range, of a binary column between its levels."""
    return plausible_range(study, column) if column.coding in NUMBERS else BETWEEN_LEVELS


def table_columns(study: Study, terms: tuple[Term, ...]) -> tuple[tuple[CodedColumn, int], ...]:
    """For tables of counts: a column and its number of levels for each term.

    A categorical or binary variable is one column with the index of its level, a cut-off a column of 0 and 1.
    """
    columns = []
    for term in terms:
        if term.coding == "levels":
            variable = study.variable(term.variable)
            columns.append((CodedColumn(variable.name, variable.name, "linear"), len(variable.level_names)))
        else:
            columns.append((coded_columns(study, (term,))[0], 2))
    return tuple(columns)
