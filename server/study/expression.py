"""server/study: step: which genes differ with a score or group: over all hospitals, and what each says of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from common.errors import FedmviError
from common.federation.query import Query, Summary, each
from common.federation.runner import Conclusion, attempt, together
from common.statistics.deseq_alone import DeseqAlone
from common.statistics.expression import Expression, expression
from common.statistics.expression_alone import ExpressionAlone, GenesAlone, GenesTold, read_genes
from common.statistics.expression_levels import MOST_GROUPED, MOST_LEVELS, ExpressionLevels
from common.statistics.voom import DifferentialExpression
from common.study.comparing import declared_groups, design_of, scored_groups
from common.study.genomics import LIBRARY, ExpressionComparison, Genomics, gene_columns
from common.study.modelling import is_score
from common.study.protocol import Study
from common.study.recipe import Recipe
from common.study.scores import GROUP
from common.study.scoring import frozen_prefixes
from server.study.comparisons import frozen_score, group_labels
from server.study.models import ScoredModel
from server.study.score_inputs import Scores


@dataclass(frozen=True)
class Grouped:
    """Whose genes are compared, and by what: the recipe of the groups, and the column of the score, if there is one."""

    recipe: Recipe
    score: str = ""


Groups = Mapping[str, Grouped | FedmviError]
"""By comparison: its groups, or why there are none."""

Own = Mapping[str, GenesTold | FedmviError]
"""By site: what it told of its genes, or why it told nothing."""


@dataclass(frozen=True)
class Compared:
    """What was found in a comparison.

    Attributes
    ----------
    pooled
        Over all sites, or why there is nothing; None of a cohort of too few for a sum.
    alone
        Of such a cohort, by site.
    level_genes, levels
        The genes of whose level each site tells, and what it tells; none without `pooled`, or where an earlier
        comparison of the same groups has them.
    deseq
        By site, DESeq2 of its own counts; empty of transcripts per million.
    """

    comparison: ExpressionComparison
    pooled: Expression | FedmviError | None = None
    alone: Own = field(default_factory=dict)
    level_genes: tuple[str, ...] = ()
    levels: Mapping[str, Summary | FedmviError] = field(default_factory=dict)
    deseq: Own = field(default_factory=dict)


def groups_of(study: Study, fitted: Sequence[ScoredModel], scores: Scores) -> Groups:
    """The groups of all comparisons of expression, by frozen scores and cut-offs or by what the tables say."""
    found = study.genomics.comparisons if study.genomics is not None else ()
    return {one.name: _grouped(study, one, fitted, scores) for one in found}


def frozen_groups(groups: Groups) -> set[str]:
    """Digests of the recipes whose groups are formed by scores, each up to a score or cut-off."""
    recipes = [one.recipe for one in groups.values() if isinstance(one, Grouped)]
    return set().union(*(frozen_prefixes(recipe) for recipe in recipes))


def _grouped(
    study: Study, comparison: ExpressionComparison, fitted: Sequence[ScoredModel], scores: Scores
) -> Grouped | FedmviError:
    if not is_score(comparison.group):
        return Grouped(declared_groups(study, comparison, group_labels(study, comparison.group)))
    scored = frozen_score(study, comparison.group, fitted, scores)
    if isinstance(scored, FedmviError):
        return scored
    parts, column, cutoff = scored
    return Grouped(scored_groups(study, comparison, parts, column, cutoff), column)


def compare_expression(study: Study, groups: Groups) -> Conclusion[list[Compared]]:
    """All comparisons of expression, in lock-step."""
    if study.genomics is None:
        return []
    asked, levels = [], set[str]()
    for one in study.genomics.comparisons:
        grouped = groups[one.name]
        digest = grouped.recipe.digest if isinstance(grouped, Grouped) else ""
        # Hospitals tell the levels of some patients by some groups once, whatever explains them.
        asked.append(_compare(study, study.genomics, one, grouped, levels=digest not in levels))
        levels.add(digest)
    return (yield from together(*asked))


def _compare(
    study: Study,
    genomics: Genomics,
    comparison: ExpressionComparison,
    grouped: Grouped | FedmviError,
    *,
    levels: bool,
) -> Conclusion[Compared]:
    if isinstance(grouped, FedmviError):
        return Compared(comparison, grouped)
    design, columns = design_of(study, comparison, grouped.score), gene_columns(genomics.symbols)
    cell = study.limits.min_cell
    if len(study.cohort(comparison.cohort).sites) < study.limits.min_sites:
        query = ExpressionAlone(
            comparison.cohort, grouped.recipe, columns, design, genomics.scale, genomics.least_per_million,
            study.limits.min_class, genomics.libraries, min_cell=cell,
        )  # fmt: skip
        alone, deseq = yield from together(_tell(study, query), _deseq(study, genomics, comparison, grouped, design))
        return Compared(comparison, alone=alone, deseq=deseq)
    asked = expression(
        comparison.cohort, grouped.recipe, columns, design, scale=genomics.scale, libraries=genomics.libraries,
        least=genomics.least_per_million,
    )  # fmt: skip
    pooled, deseq = yield from together(attempt(asked), _deseq(study, genomics, comparison, grouped, design))
    if isinstance(pooled, FedmviError):
        return Compared(comparison, pooled, deseq=deseq)
    if not levels:
        return Compared(comparison, pooled, deseq=deseq)
    genes = level_genes(pooled.fit)
    asked_of_each = ExpressionLevels(
        comparison.cohort, pooled.recipe, genes, LIBRARY, genomics.scale, GROUP, min_cell=cell
    )
    told = yield from _each(study, asked_of_each)
    return Compared(comparison, pooled, level_genes=genes, levels=told, deseq=deseq)


def level_genes(fit: DifferentialExpression) -> tuple[str, ...]:
    """The genes with the smallest p values, of which sites tell the level by group, then those expressed most."""
    first = np.lexsort((np.array(fit.genes), fit.p_))[:MOST_GROUPED]
    highest = [i for i in np.lexsort((np.array(fit.genes), -fit.mean_)) if i not in set(first.tolist())]
    return tuple(fit.genes[i] for i in [*first, *highest[: MOST_LEVELS - len(first)]])


def _deseq(
    study: Study,
    genomics: Genomics,
    comparison: ExpressionComparison,
    grouped: Grouped,
    design: tuple[str, ...],
) -> Conclusion[Own]:
    """DESeq2 of each site, of counts."""
    if genomics.scale != "counts":
        return {}
    query = DeseqAlone(
        comparison.cohort, grouped.recipe, gene_columns(genomics.symbols), design, genomics.scale,
        genomics.least_per_million, study.limits.min_class, min_cell=study.limits.min_cell,
    )  # fmt: skip
    return (yield from _tell(study, query))


def _tell(study: Study, query: GenesAlone) -> Conclusion[Own]:
    """What each site tells of its genes."""
    told = yield from _each(study, query)
    return {site: one if isinstance(one, FedmviError) else read_genes(query, one) for site, one in told.items()}


def _each(study: Study, query: Query) -> Conclusion[Mapping[str, Summary | FedmviError]]:
    """What each site answers, by name; one error of them all is each one's."""
    told = yield from attempt(_asked(query))
    if isinstance(told, FedmviError):
        return dict.fromkeys(sorted(study.cohort(query.cohort).sites), told)
    return dict(sorted(told.items()))


def _asked(query: Query) -> Conclusion[Mapping[str, Summary | FedmviError]]:
    told: Mapping[str, Summary | FedmviError] = yield each(query)
    return told
