"""client/cohort: one variable of the study for all patients: numbers in its unit, or indices of its levels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from client.cohort.cells import level_index, parse_number
from client.cohort.columns import Columns, Source
from client.cohort.problems import Problems
from client.cohort.units import Flags, check_values, conversion
from common.study.coding import CodedColumn
from common.study.dictionary import Variable
from common.study.ranges import NUMBERS
from common.study.readings import second_column
from common.study.table import Column, FloatArray


def read_variable(variable: Variable, n: int, columns: Columns, problems: Problems) -> Column:
    """The variable as the recipes see it; NaN where missing or wrong, and what is wrong is noted."""
    levels = variable.level_names
    source = columns.get(variable.name)
    if source is None:
        return Column(np.full(n, math.nan), levels, np.zeros(n, np.int8))
    if levels:
        return _levels(source, variable, levels, columns, problems)
    factor = conversion(source, variable, columns, problems)
    if factor is None:
        return Column(np.full(n, math.nan), (), np.zeros(n, np.int8))
    column = read_numbers(source, factor, columns, problems)
    check_values(source, variable, column.values, column.censored, columns, problems)
    return column


def read_again(variable: Variable, n: int, columns: Columns, problems: Problems) -> Column:
    """The second reader's readings of a trait; all NaN where the table has none: not every hospital has two readers."""
    again = variable.model_copy(update={"name": second_column(variable.name)})
    columns.get(again.name, required=False)
    return read_variable(again, n, columns, problems)


def read_numbers(source: Source, factor: float, columns: Columns, problems: Problems) -> Column:
    """Numbers times a factor, (n,); 303 and 304 are noted."""
    values = np.full(len(source.cells), math.nan)
    censored = np.zeros(len(source.cells), np.int8)
    for i, cell in enumerate(source.cells):
        if cell is None:
            continue
        number = parse_number(cell)
        if isinstance(number, int):
            problems.add(number, columns.place(source, i), repr(cell), variable=source.name)
        else:
            values[i], censored[i] = (number.times(factor) if factor != 1.0 else number).stored()
    return Column(values, (), censored)


def _levels(
    source: Source, variable: Variable, levels: tuple[str, ...], columns: Columns, problems: Problems
) -> Column:
    values = np.full(len(source.cells), math.nan)
    for i, cell in enumerate(source.cells):
        if cell is None:
            continue
        index = level_index(cell, levels)
        if index is None:
            detail = f"{cell!r}; levels: {', '.join(levels)}"
            problems.add(308, columns.place(source, i), detail, variable=variable.name)
        else:
            values[i] = index
    return Column(values, levels, np.zeros(len(source.cells), np.int8))


def undecided(column: Column, cutoffs: tuple[float, ...], number_needed: bool) -> Flags:
    """(n,) True where a cell gives only a bound that does not settle what the study asks; see `Number.stored`."""
    unsettled: Flags = np.full(column.values.shape, number_needed)
    for cutoff in cutoffs:
        unsettled |= ~np.where(column.censored < 0, column.values <= cutoff, column.values >= cutoff)
    unsettled &= column.censored != 0
    return unsettled


def check_bounds(
    coded: Iterable[CodedColumn], table: Mapping[str, Column], columns: Columns, problems: Problems
) -> None:
    """Note 305 for `<20` and the like where a model needs the number, or a cut-off that the bound does not decide."""
    used = tuple(coded)
    for name, column in table.items():
        source = columns.get(name)
        if source is None:
            continue
        above = tuple(c.cutoff for c in used if c.variable == name and c.coding == "above")
        number = any(c.variable == name and c.coding in NUMBERS for c in used)
        for i in np.flatnonzero(undecided(column, above, number)):
            problems.add(305, columns.place(source, int(i)), repr(source.cells[i]), variable=name)


def known_values(column: Column) -> FloatArray:
    """The distinct values that occur, sorted, without NaN."""
    return np.unique(column.values[~np.isnan(column.values)])
