"""client/release: the scope of tables of counts: of levels by class, and of a trait by two readers."""

from __future__ import annotations

from client.release.characteristics_scope import characteristics_tables
from common.errors import FedmviError
from common.federation.query import Query
from common.statistics.chi_square import ClassTable
from common.statistics.kappa import ReaderTable
from common.study.protocol import Study
from common.study.ranges import Range, table_columns
from common.study.readings import BothReadings
from common.study.recipe import Recipe


def check_table(query: Query, study: Study) -> None:
    """Error 414 for a table that the study does not declare in the question's cohort.

    The second reader's readings are asked for nothing else, and of all patients of the cohort: with any other recipe
    the table would be of patients of the server's choice.
    """
    if isinstance(query, ClassTable):
        declared = _columns(study, query, "chi-square") | characteristics_tables(study, query)
        _need((query.column, query.levels) in declared, "a number")
    if isinstance(query, ReaderTable):
        _need((query.column, query.levels) in _columns(study, query, "reader-kappa"), "a number")
        _need(query.min_cell == study.limits.min_cell, "a number")
        _need(query.recipe == Recipe((BothReadings(query.column),)), "second readings")


def read_by_both(step: BothReadings, query: Query, study: Study) -> dict[str, Range]:
    """The two columns of a trait with their ranges; error 414 where they are not what the question is about."""
    _need(isinstance(query, ReaderTable) and query.column == step.trait, "second readings")
    levels = len(study.variable(step.trait).level_names)
    return dict.fromkeys(step.columns, (0.0, levels - 1.0))


def _columns(study: Study, query: Query, statistic: str) -> set[tuple[str, int]]:
    """The columns that analyses of this statistic count in the question's cohort, with their levels."""
    asked = (a for a in study.analyses if a.statistic == statistic and a.cohort == query.cohort)
    terms = tuple(term for analysis in asked for term in analysis.predictors)
    return {(column.name, levels) for column, levels in table_columns(study, terms)}


def _need(sound: bool, part: str) -> None:
    if not sound:
        raise FedmviError(414, part=part)
