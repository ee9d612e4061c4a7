"""client/approval: what a study asks about survival by groups beside covariates: Cox regressions of comparisons."""

from __future__ import annotations

from collections.abc import Iterator

from client.approval.model_subjects import group_parts
from client.approval.subject import Subject
from client.release.hazard_scope import REGRESSES
from common.federation.query import Mode
from common.study.hazards import covariates_of, designs, hazards_by_score, hazards_by_table
from common.study.modelling import is_score
from common.study.protocol import Comparison, Study
from common.study.ranges import plausible_range
from common.study.scores import of_score

_CUTOFF = 0.5


def hazard_subjects(study: Study, part: str, comparison: Comparison) -> Iterator[Subject]:
    """The group alone, and with its covariates where it has some."""
    by_score = is_score(comparison.group)
    if by_score:
        recipe = hazards_by_score(study, comparison, *group_parts(study, of_score(comparison.group)), _CUTOFF)
    else:
        own = next((e for e in study.endpoints if e.name == comparison.group), None)
        levels = (study.variable(comparison.group) if own is None else own).level_names
        recipe = hazards_by_table(study, comparison, levels)
    ranges = {column.name: plausible_range(study, column) for column in covariates_of(study, comparison)}
    for columns in designs(study, comparison):
        yield Subject(
            part, comparison.cohort, REGRESSES, recipe, columns, comparison.endpoint,
            ranges=tuple(ranges.get(name, (0.0, 1.0)) for name in columns), horizon=comparison.horizon,
            # Who is high is not known before the cut-off is, and the gate looks at nothing else in more detail.
            computed=not by_score, modes=(Mode.TOTAL,),
        )  # fmt: skip
