"""common/study: Cox regressions of survival by groups, as recipes have them: the groups, and what is held alike.

Who asks and who answers build them by the same functions. The patients are those of the groups of whom all covariates
are known, whether the groups stand alone in a regression or beside the covariates: of another set of patients the sums
would tell, less these, who lacks a covariate.
"""

from __future__ import annotations

from dataclasses import replace

from common.study.coding import CodedColumn, coded_columns
from common.study.protocol import Comparison, Study
from common.study.recipe import Complete, Group, Recipe, Select
from common.study.scores import GROUP
from common.study.scoring import Parts, grouped

PARAMETERS_AN_EVENT = 0.1
"""Most coefficients of such a regression, as a share of the events: ten events each."""


def covariates_of(study: Study, comparison: Comparison) -> tuple[CodedColumn, ...]:
    """The columns that are held alike, in the order of the comparison's `cox`."""
    return coded_columns(study, comparison.cox or ())


def designs(study: Study, comparison: Comparison) -> tuple[tuple[str, ...], ...]:
    """The columns of each regression: the group alone, and with its covariates where it has some."""
    beside = tuple(column.name for column in covariates_of(study, comparison))
    return ((GROUP,), (GROUP, *beside)) if beside else ((GROUP,),)


def hazards_by_score(study: Study, comparison: Comparison, parts: Parts, column: str, cutoff: float) -> Recipe:
    """Patients below, and at or above, the frozen cut-off of a score, as groups 0 and 1, with all covariates known."""
    more = covariates_of(study, comparison)
    columns = tuple({one.name: one for one in (*parts.columns, *more)}.values())
    known = tuple(dict.fromkeys((*parts.known, *(one.name for one in more))))
    return grouped(
        replace(parts, columns=columns, known=known), column, cutoff, study.endpoint(comparison.endpoint).keys
    )


def hazards_by_table(study: Study, comparison: Comparison, labels: tuple[str, ...]) -> Recipe:
    """Patients by what the tables say: the levels of an endpoint or variable, with all covariates known."""
    more = covariates_of(study, comparison)
    known = (GROUP, *(one.name for one in more))
    keys = study.endpoint(comparison.endpoint).keys
    return Recipe((*((Select(more),) if more else ()), Group(comparison.group, labels), Complete(known, keys)))
