"""common/study: what `[[subgroups]]` ask: the columns that divide the patients, and the levels that are asked about."""

from __future__ import annotations

from dataclasses import dataclass

from common.study.coding import CodedColumn, columns_of
from common.study.dictionary import Variable
from common.study.protocol import Study
from common.study.recipe import Recipe, Select
from common.study.scores import score_terms
from common.study.subgroups import Division, Subgroups
from common.study.subset import Subset
from common.study.terms import Term


@dataclass(frozen=True)
class Divided:
    """A variable that divides the patients into levels.

    Attributes
    ----------
    column
        The index of each patient's level, or 0 up to the cut-off and 1 above it.
    levels
        What the levels are called, for readers, in the order of the index.
    """

    variable: Variable
    column: CodedColumn
    levels: tuple[str, ...]


def divided(study: Study, subgroups: Subgroups) -> tuple[Divided, ...]:
    """What divides the patients, in the order of the protocol; KeyError for a variable that the study has not."""
    return tuple(_divided(study.variable(division.variable), division) for division in subgroups.by)


def _divided(variable: Variable, division: Division) -> Divided:
    if variable.kind != "continuous":
        return Divided(variable, CodedColumn(variable.name, variable.name, "linear"), variable.level_names)
    (above,) = columns_of(variable, Term(variable=variable.name, coding="above", cutoff=division.cutoff))
    limit = f"{above.cutoff:g} {variable.unit}".strip()
    return Divided(variable, above, (f"at most {limit}", f"above {limit}"))


def subset_recipe(study: Study, subgroups: Subgroups, scoring: Recipe, part: Divided, level: int) -> Recipe:
    """The recipe of a subgroup: that of the frozen score, with the columns that divide read first, and the patients of
    the level taken just before the score."""
    columns = tuple(one.column for one in divided(study, subgroups))
    steps = _reading(scoring, columns).steps
    return Recipe((*steps[:-1], Subset(part.column.name, level), steps[-1]))


def _reading(scoring: Recipe, columns: tuple[CodedColumn, ...]) -> Recipe:
    """The recipe with these columns in its selection."""
    selects = [step for step in scoring.steps if isinstance(step, Select)]
    read = Select(tuple(dict.fromkeys((*(selects[0].columns if selects else ()), *columns))))
    if not selects:
        return Recipe((read, *scoring.steps))
    return Recipe(tuple(read if step is selects[0] else step for step in scoring.steps))


def subgroup_scores(study: Study) -> int:
    """The most scores that subgroups add to what is frozen: of every level the model's own, and what that needs."""
    models = {model.name: model for model in study.models}
    return sum(
        len(part.levels) * (1 + 2 * len(score_terms(models[subgroups.model])))
        for subgroups in study.subgroups
        for part in divided(study, subgroups)
    )
