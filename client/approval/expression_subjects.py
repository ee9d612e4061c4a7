"""client/approval: what `[genomics]` asks about: counts and sums of all genes, and what a hospital tells of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from client.approval.model_subjects import group_parts, is_computed
from client.approval.subject import Subject
from common.federation.query import Mode
from common.statistics.expression_levels import MOST_LEVELS
from common.study.comparing import declared_groups, design_of, scored_groups
from common.study.expressed import EffectiveLibrary
from common.study.genomics import LIBRARY, ExpressionComparison, gene_columns
from common.study.modelling import is_score
from common.study.protocol import Study
from common.study.recipe import Recipe
from common.study.scores import GROUP, of_score

_PART = "gene expression "
_CUTOFF = 0.01
_COUNTED = frozenset({"query.expression_counts"})
_SCALING = frozenset({"query.zero_counts", "query.log_counts", "query.library_logs"})
_SUMS = frozenset({"query.expression_products", "query.expression_residuals"})
_WEIGHTED = frozenset({"query.weight_counts", "query.weighted_products", "query.weighted_residuals"})
_OWN = frozenset({"query.expression_alone", "query.deseq_alone"})
_LEVELS = frozenset({"query.expression_levels"})


def expression_subjects(study: Study) -> Iterator[Subject]:
    """Which genes are found, what scales libraries, sums of genes, and each hospital's own results."""
    genomics = study.genomics
    for one in genomics.comparisons if genomics is not None else ():
        yield from _comparison(study, one)


def _comparison(study: Study, one: ExpressionComparison) -> Iterator[Subject]:
    genomics = study.genomics
    if genomics is None:
        return
    recipe, _, computed = _groups(study, one)
    genes, effective = gene_columns(genomics.symbols), genomics.scale == "counts" and genomics.libraries == "effective"
    scaled = recipe.then(EffectiveLibrary(genes, (0.0,) * len(genes), 0.0)) if effective else recipe
    part, ranges = _PART + one.name, ((0.0, float("inf")),) * len(genes)

    def asked(questions: frozenset[str], frame: Recipe, mode: Mode, known: bool = False) -> Subject:
        return Subject(
            part, one.cohort, questions, frame, genes, ranges=ranges, groups=2, computed=known, modes=(mode,)
        )

    yield asked(_COUNTED, recipe, Mode.TOTAL, known=computed)
    if effective:
        yield asked(_SCALING, recipe, Mode.TOTAL)
    yield asked(_SUMS | (_WEIGHTED if genomics.scale == "counts" else frozenset()), scaled, Mode.TOTAL)
    yield asked(_OWN, recipe, Mode.EACH, known=computed)
    few = genes[:MOST_LEVELS]
    yield Subject(
        part, one.cohort, _LEVELS, scaled, few, ranges=ranges[: len(few)], groups=2, computed=False, modes=(Mode.EACH,)
    )


def _groups(study: Study, one: ExpressionComparison) -> tuple[Recipe, str, bool]:
    """The recipe of a comparison's groups, the column of its score or "", and whether it can be made here now."""
    if is_score(one.group):
        parts, column = group_parts(study, of_score(one.group))
        return scored_groups(study, one, parts, column, _CUTOFF), column, is_computed(parts)
    own = next((e for e in study.endpoints if e.name == one.group), None)
    levels = (study.variable(one.group) if own is None else own).level_names
    return declared_groups(study, one, tuple(levels)), "", True


def expression_fields(subject: Subject, study: Study) -> dict[str, Any]:
    """The fields of such a question that the study decides; coefficients are zeros, and the trend is flat."""
    genomics = study.genomics
    if genomics is None or not subject.part.startswith(_PART):
        return {}
    one = next(one for one in genomics.comparisons if _PART + one.name == subject.part)
    design, genes = design_of(study, one, _groups(study, one)[1]), len(subject.columns)
    return {
        "design": design,
        "library": LIBRARY,
        "total": LIBRARY,
        "scale": genomics.scale,
        "libraries": genomics.libraries,
        "least": genomics.least_per_million,
        "found": study.limits.min_cell,
        "group": GROUP,
        "min_class": study.limits.min_class,
        "known": subject.columns,
        "log_means": np.zeros(genes),
        "coefficients": np.zeros((len(design), genes)),
        "fitted": np.zeros((len(design), genes)),
        "trend": np.array([[0.0, 1.0], [1.0, 1.0]]),
    }
