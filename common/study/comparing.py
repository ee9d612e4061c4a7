"""common/study: comparisons of expression as recipes have them: whose genes, by which groups, with what beside.

Who asks and who answers build them by the same functions.
"""

from __future__ import annotations

from dataclasses import replace

from common.study.coding import CodedColumn, columns_of
from common.study.dictionary import Variable
from common.study.expressed import Genes
from common.study.genomics import LIBRARY, ExpressionComparison, Genomics
from common.study.modelling import is_score
from common.study.protocol import Study
from common.study.recipe import Complete, Cut, Group, Recipe, Select
from common.study.scores import GROUP
from common.study.scoring import Parts
from common.study.terms import Term

FROZEN = "expression."
"""Comparisons of expression are frozen as `expression.` and their name, beside those of survival."""


def covariate_of(variable: Variable) -> tuple[CodedColumn, ...]:
    """The columns of a covariate: the number itself, or whether a level is not the first."""
    number = variable.kind == "continuous"
    return columns_of(variable, Term(variable=variable.name, coding="linear" if number else "levels"))


def beside(study: Study, comparison: ExpressionComparison) -> tuple[CodedColumn, ...]:
    """The columns that are held alike in a comparison, in the order of its covariates."""
    return tuple(column for name in comparison.covariates for column in covariate_of(study.variable(name)))


def design_of(study: Study, comparison: ExpressionComparison, score: str = "") -> tuple[str, ...]:
    """The columns that explain expression, the one of interest first; `score` is the column of its score."""
    first = score if comparison.by == "score" else GROUP
    return (first, *(column.name for column in beside(study, comparison)))


def scored_groups(study: Study, comparison: ExpressionComparison, parts: Parts, column: str, cutoff: float) -> Recipe:
    """Patients with RNA below, and at or above, the frozen cut-off of a score, as groups 0 and 1.

    The score is there, too; of all of them every column is known.
    """
    more = beside(study, comparison)
    columns = tuple({one.name: one for one in (*parts.columns, *more)}.values())
    known = dict.fromkeys((*parts.known, LIBRARY, *(one.name for one in more)))
    whole = replace(parts, columns=columns, reads=(Genes(), *parts.reads), known=tuple(known))
    return whole.recipe(()).then(Cut(column, GROUP, cutoff))


def declared_groups(study: Study, comparison: ExpressionComparison, labels: tuple[str, ...]) -> Recipe:
    """Patients with RNA by what the tables say: the levels of an endpoint or variable, as groups 0 and 1."""
    more = beside(study, comparison)
    select = (Select(more),) if more else ()
    known = (GROUP, LIBRARY, *(one.name for one in more))
    return Recipe((*select, Group(comparison.group, labels), Genes(), Complete(known, ())))


def expressed_groups(study: Study, cohort: str, recipe: Recipe) -> frozenset[str]:
    """By what the genes that a recipe reads may be compared in a cohort; by nothing where it reads none."""
    if study.genomics is None or not any(isinstance(step, Genes) for step in recipe.steps):
        return frozenset()
    return frozenset(one.group for one in study.genomics.comparisons if one.cohort == cohort)


def frozen_names(study: Study) -> tuple[str, ...]:
    """What a freeze calls the comparisons of expression."""
    found: Genomics | None = study.genomics
    return tuple(FROZEN + one.name for one in found.comparisons) if found is not None else ()


def grouping_scores(study: Study) -> frozenset[str]:
    """Scores by which expression is compared, as `score.<name>`."""
    found = study.genomics.comparisons if study.genomics is not None else ()
    return frozenset(one.group for one in found if is_score(one.group))
