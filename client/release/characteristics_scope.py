"""client/release: the scope of `[characteristics]`: which columns may be described, in which cohorts, and by what."""

from __future__ import annotations

from common.federation.query import Query
from common.statistics.chi_square import ClassTable
from common.statistics.student_t import ClassMoments
from common.statistics.variance import LevelCounts
from common.study.coding import CodedColumn
from common.study.described import Described, described_classes, described_cohorts, described_variables
from common.study.protocol import Cohort, Study
from common.study.ranges import Range, plausible_range
from common.study.recipe import Select, Standardise

NUMBERS = frozenset({"query.deviations", "query.class_moments"})
TABLES = frozenset({"query.level_counts", "query.class_table"})


def characteristics_columns(study: Study, query: Query) -> dict[CodedColumn, Range]:
    """The columns that a question may be about because they are described in its cohort, with their ranges."""
    plain = all(isinstance(step, Select | Standardise) for step in query.recipe.steps)
    cohort = _cohort(study, query) if plain else None  # of all its patients
    allowed: dict[CodedColumn, Range] = {}
    for part in described_variables(study, cohort) if cohort is not None else ():
        if query.name in NUMBERS and part.number is not None:
            allowed[part.number] = plausible_range(study, part.number)
        if query.name in TABLES and part.table is not None:
            allowed[part.table] = (0.0, len(part.terms) - 1.0)
    return allowed


def characteristics_tables(study: Study, query: Query) -> set[tuple[str, int]]:
    """The columns of which levels may be counted in a question's cohort, with their numbers of levels."""
    cohort = _cohort(study, query)
    parts: tuple[Described, ...] = described_variables(study, cohort) if cohort is not None else ()
    return {(part.table.name, len(part.terms)) for part in parts if part.table is not None}


def characteristics_declare(query: Query, study: Study) -> bool:
    """Whether the table of characteristics asks this: of all patients of a cohort, and by an endpoint that is open."""
    cohort = _cohort(study, query)
    steps = query.recipe.steps
    kinds = [type(step) for step in steps]
    if cohort is None or kinds != [Select, *([Standardise] if isinstance(query, ClassMoments) else [])]:
        return False
    columns = [column for step in steps if isinstance(step, Select) for column in step.columns]
    if len(columns) != 1 or columns[0] not in characteristics_columns(study, query):
        return False
    if isinstance(query, LevelCounts):
        return set(zip(query.columns, query.levels, strict=False)) <= characteristics_tables(study, query)
    if isinstance(query, ClassMoments | ClassTable):
        return query.endpoint == described_classes(study, cohort) != ""
    return False


def _cohort(study: Study, query: Query) -> Cohort | None:
    return next((cohort for cohort in described_cohorts(study) if cohort.name == query.cohort), None)
