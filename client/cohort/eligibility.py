"""client/cohort: the rules of a study's [eligibility], evaluated for every patient of the site."""

from __future__ import annotations

import math

import numpy as np

from client.cohort.cells import same_word
from client.cohort.columns import Columns, Source
from client.cohort.problems import Problems
from client.cohort.units import Flags, conversion
from client.cohort.values import read_numbers
from common.study.dictionary import Variable
from common.study.eligibility import Rule


def failed(name: str, rule: Rule, n: int, columns: Columns, problems: Problems) -> Flags:
    """(n,) True for each patient who fails the rule; nobody does where the column is missing, which is noted."""
    source = columns.get(rule.column or name)
    if source is None:
        return np.zeros(n, bool)
    empty = np.array([cell is None for cell in source.cells], dtype=bool)
    if rule.accept or rule.refuse:
        fails = np.array([cell is not None and not _passes(cell, rule) for cell in source.cells], dtype=bool)
    else:
        fails = _outside(rule, source, columns, problems)
    return fails | empty if rule.missing == "exclude" else fails


def _passes(cell: str, rule: Rule) -> bool:
    return not same_word(cell, rule.refuse) and (not rule.accept or same_word(cell, rule.accept))


def _outside(rule: Rule, source: Source, columns: Columns, problems: Problems) -> Flags:
    """A bound such as `<20` counts where it settles the rule; otherwise 305."""
    # A column that is no variable has no table of units: whatever unit is declared for it is unknown.
    plain = Variable(name=source.name, kind="continuous", known="preoperative")
    variable = columns.variable(source.name) or plain
    factor = conversion(source, variable, columns, problems)
    if factor is None:
        return np.zeros(len(source.cells), bool)
    column = read_numbers(source, factor, columns, problems)
    most = math.inf if rule.at_most is None else rule.at_most
    least = -math.inf if rule.at_least is None else rule.at_least
    values, censored = column.values, column.censored
    with np.errstate(invalid="ignore"):
        fails: Flags = ((values > most) & (censored >= 0)) | ((values == most) & (censored > 0))
        fails |= (values < least) & (censored <= 0)
        below = (censored < 0) & ((values > most) | (math.isfinite(least) & (values >= least)))
        above = (censored > 0) & ((math.isfinite(most) & (values < most)) | (values < least))
    for i in np.flatnonzero(below | above):
        problems.add(305, columns.place(source, int(i)), repr(source.cells[i]), variable=source.name)
    return fails
