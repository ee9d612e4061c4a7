"""client/release: the scope of what is told of the acquisition of images: one question a cohort, in one form."""

from __future__ import annotations

from common.federation.query import Query
from common.statistics.level_table import LevelTable, OwnLevelTable
from common.study.coding import CodedColumn
from common.study.described import acquired_cohorts, acquired_columns, poolable
from common.study.protocol import Study
from common.study.ranges import Range
from common.study.recipe import Recipe, Select


def acquisition_columns(study: Study, query: Query) -> dict[CodedColumn, Range]:
    """The facts that a question counts, with the range of their levels; nothing for other questions."""
    if not isinstance(query, LevelTable | OwnLevelTable):
        return {}
    return {column: (0.0, levels - 1.0) for column, levels in acquired_columns(study)}


def acquisition_declares(query: Query, study: Study) -> bool:
    """Whether a question is the one of a study with images: all facts, of all patients of a cohort that shares nobody
    with another one that is asked about, and over all sites only where they are enough."""
    if not isinstance(query, LevelTable | OwnLevelTable):
        return False
    cohort = next((cohort for cohort in acquired_cohorts(study) if cohort.name == query.cohort), None)
    asked = acquired_columns(study)
    named = tuple((column.name, levels) for column, levels in asked)
    if cohort is None or (isinstance(query, LevelTable) and not poolable(study, cohort)):
        return False
    whole = Recipe((Select(tuple(column for column, _ in asked)),))
    return query.recipe == whole and tuple(zip(query.columns, query.levels, strict=False)) == named
