"""client/release: the scope of `[[subgroups]]`: what may be asked of a part of a cohort, and what would tell too few.

A subgroup's answer less that of everybody is the answer of those outside it, and two subgroups that differ by a few
patients tell these few. So a variable divides the patients here only if all its parts are large, or not at all; and
scores are counted in public bins, because by a patient's exact score his rows of several subgroups could be joined.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Query
from common.statistics.confusion import ThresholdCounts
from common.study.coding import CodedColumn
from common.study.dividing import Divided, divided
from common.study.protocol import Limits, Model, Study
from common.study.ranges import Range
from common.study.recipe import Frame, Score, Select, Step
from common.study.subgroups import THRESHOLDS, Subgroups
from common.study.subset import Subset


def subset_of(query: Query) -> Subset | None:
    """The step that takes a subgroup, if the question has one."""
    return next((step for step in query.recipe.steps if isinstance(step, Subset)), None)


def without_subset(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps of the recipe of all patients."""
    return tuple(step for step in steps if not isinstance(step, Subset))


def before_subset(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps before the subgroup is taken."""
    return steps[: next(i for i, step in enumerate(steps) if isinstance(step, Subset))]


def subgroups_declare(query: Query, study: Study) -> bool:
    """Whether subgroups of the study ask this: of a declared level, or, to compare with, of everybody."""
    return _declared(query, study) is not None


def subgroup_columns(study: Study, query: Query) -> dict[CodedColumn, Range]:
    """The columns that divide the patients, with their ranges, in a question about a subgroup."""
    declared = _declared(query, study) if subset_of(query) is not None else None
    parts = divided(study, declared) if declared is not None else ()
    return {part.column: (0.0, len(part.levels) - 1.0) for part in parts}


def _declared(query: Query, study: Study) -> Subgroups | None:
    if not isinstance(query, ThresholdCounts):
        return None
    for subgroups in study.subgroups:
        model = next(m for m in study.models if m.name == subgroups.model)
        if subgroups.cohort == query.cohort and _asks(query, model) and _part(query, study, subgroups):
            return subgroups
    return None


def _asks(query: ThresholdCounts, model: Model) -> bool:
    """Whether it is the model's frozen score, in the bins of every study."""
    steps = query.recipe.steps
    own = bool(steps) and isinstance(steps[-1], Score) and steps[-1].model == model.name
    named = (query.columns, query.endpoint) == ((f"score.{model.name}",), model.endpoint)
    return own and named and np.array_equal(query.thresholds, [THRESHOLDS])


def _part(query: Query, study: Study, subgroups: Subgroups) -> bool:
    """Whether it is of everybody, or of a declared level that is taken just before the score, with all levels known."""
    places = [i for i, step in enumerate(query.recipe.steps) if isinstance(step, Subset)]
    if not places:
        return True
    step, parts = subset_of(query), divided(study, subgroups)
    read = {c for one in query.recipe.steps if isinstance(one, Select) for c in one.columns}
    sound = places == [len(query.recipe.steps) - 2] and {part.column for part in parts} <= read
    return sound and any(step == Subset(part.column.name, level) for part in parts for level in range(len(part.levels)))


def admit_division(query: Query, study: Study, limits: Limits, whole: Frame) -> list[NDArray[np.uint64]]:
    """Refuse a subgroup that would tell few patients of this site apart; the keys of the patients of each part.

    All levels of a variable are refused together, because any of them is everybody less the others.

    Parameters
    ----------
    whole
        The patients before the subgroup is taken, with the endpoint that is asked about.

    Raises
    ------
    FedmviError
        431 too few patients; 414 a subgroup that is not declared.
    """
    step, subgroups = subset_of(query), _declared(query, study)
    if step is None or subgroups is None:
        raise FedmviError(414, part="a subgroup")
    parts = divided(study, subgroups)
    own = next(part for part in parts if part.column.name == step.column)
    y = whole.endpoints[query.classes_of]
    levels = _members(own, whole)
    unknown = ~np.logical_or.reduce(levels)
    large = all(_large(rows, y, limits.min_class) for rows in levels)
    large = large and not 0 < np.count_nonzero(unknown) < limits.min_cell
    others = [rows for part in parts if part is not own for rows in _members(part, whole)]
    if not large or any(_near(one, other, limits.min_cell) for one, other in product(levels, others)):
        raise FedmviError(431, step.column, variable=own.variable.name, cohort=query.cohort)
    return [whole.keys[rows] for rows in (*levels, unknown)]


def _members(part: Divided, whole: Frame) -> list[NDArray[np.bool_]]:
    """(n,) who has each level."""
    return [whole.columns[part.column.name] == float(level) for level in range(len(part.levels))]


def _large(rows: NDArray[np.bool_], y: NDArray[np.float64], min_class: int) -> bool:
    """Whether both classes have so many patients that they may be told apart."""
    return min(int(np.count_nonzero(rows & (y == label))) for label in (0.0, 1.0)) >= min_class


def _near(one: NDArray[np.bool_], other: NDArray[np.bool_], min_cell: int) -> bool:
    """Whether a subgroup differs from another, or from those outside the other, by few patients."""
    apart = int(np.count_nonzero(one != other))
    return 0 < apart < min_cell or 0 < one.size - apart < min_cell
