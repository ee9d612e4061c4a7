"""client/release: the scope of `[genomics]`: what a site tells of gene expression, and of whom.

Nothing is told before the freeze, and afterwards only what a declared comparison asks: its frozen groups, its
covariates, genes of the study, the declared scale and filter. One comparison asks each question once a run. A gene's
sums at two trends, over two sets of genes that scale libraries, or over patients of whom one was left out would be
equations of which the unknowns are single patients' expression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from client.release.model_scope import is_score_of
from common.errors import FedmviError
from common.federation.codec import pack
from common.federation.query import Query
from common.federation.tasks import Freeze
from common.statistics.expression_alone import ExpressionAlone, GenesAlone
from common.statistics.expression_levels import ExpressionLevels
from common.statistics.size_factors import LibraryLogs, LogCounts, ZeroCounts
from common.statistics.voom_sums import Expressed, ExpressionCounts, ExpressionResiduals, blocks_of
from common.statistics.voom_weights import WeightCounts, Weighted, WeightedProducts, WeightedResiduals, singled_out
from common.study.chain import ChainedImpute
from common.study.coding import CodedColumn
from common.study.comparing import FROZEN, beside, declared_groups, design_of
from common.study.expressed import EffectiveLibrary, Genes
from common.study.fingerprint import canonical_json
from common.study.genomics import LIBRARY, ExpressionComparison, Genomics, gene_columns
from common.study.harmonisation import Combat
from common.study.modelling import is_score
from common.study.protocol import Limits, Study
from common.study.ranges import Range, plausible_range
from common.study.recipe import Complete, Cut, Frame, Group, Impute, Made, ModelColumns, Recipe, Score, Select, Step
from common.study.scores import GROUP, candidates, needed, of_score

ASKED = (Expressed, ZeroCounts, LogCounts, LibraryLogs, ExpressionLevels, GenesAlone)
"""Questions of gene expression; no other may read genes."""

_UNSCALED = (ExpressionCounts, ZeroCounts, LogCounts, LibraryLogs, GenesAlone)
"""Those that come before libraries are scaled, or scale their own."""

_SCORES = (Select, Genes, Made, ModelColumns, Combat, Impute, ChainedImpute, Complete, Score, Cut)

LARGEST_CHANGE = 1000.0
"""How many doublings a coefficient may make over the plausible range of its column, or per unit where that is less:
chance makes hundreds of a score whose patients are close, and of laboratory values whose range is wide."""
LARGEST_LOG = 40.0
"""Natural logarithm of the largest count, and of the largest library."""


def is_expression(query: Query) -> bool:
    """Whether a question is about gene expression."""
    return isinstance(query, ASKED)


def compared(query: Query, study: Study) -> ExpressionComparison | None:
    """The comparison of the study that asks a question; None where none does."""
    genomics = study.genomics
    if genomics is None or not is_expression(query) or study.cohort(query.cohort).role != "genomics":
        return None
    here = (one for one in genomics.comparisons if one.cohort == query.cohort)
    return next((one for one in here if _asks(one, genomics, query, study)), None)


def _asks(one: ExpressionComparison, genomics: Genomics, query: Query, study: Study) -> bool:
    steps = query.recipe.steps
    scaled = bool(steps) and isinstance(steps[-1], EffectiveLibrary)
    effective = genomics.scale == "counts" and genomics.libraries == "effective"
    if isinstance(query, Expressed) and not isinstance(query, ExpressionCounts) and scaled != effective:
        return False
    if scaled and (isinstance(query, _UNSCALED) or not effective):
        return False
    score = _grouping(one, unscaled(query.recipe), study)
    return score is not None and _of_study(genomics, query) and _explains(query, design_of(study, one, score))


def _grouping(one: ExpressionComparison, steps: tuple[Step, ...], study: Study) -> str | None:
    """The column of the score by which a recipe forms the groups of a comparison, "" where it is none; None where it
    forms other groups, or of other patients. That the recipe was frozen is decided with the data (`view`)."""
    if not is_score(one.group):
        labels = next((step.labels for step in steps if isinstance(step, Group)), ())
        return "" if Recipe(steps) == declared_groups(study, one, labels) else None
    last = steps[-1] if steps else None
    if not isinstance(last, Cut) or last.name != GROUP or not all(isinstance(step, _SCORES) for step in steps):
        return None
    read = sum(isinstance(step, Genes) for step in steps) == 1
    kept = [set(step.columns) for step in steps if isinstance(step, Complete)]
    known = {LIBRARY, *(column.name for column in beside(study, one))}
    whole = len(kept) == 1 and known <= kept[0]
    return last.source if read and whole and is_score_of(study, one.group, last.source) else None


def _of_study(genomics: Genomics, query: Query) -> bool:
    """Whether genes, scale, filter and libraries are the study's."""
    columns: tuple[str, ...] = getattr(query, "columns", ())
    own = bool(columns) and set(columns) <= set(gene_columns(genomics.symbols))
    own = own and getattr(query, "scale", genomics.scale) == genomics.scale
    own = own and getattr(query, "least", genomics.least_per_million) == genomics.least_per_million
    own = own and getattr(query, "library", LIBRARY) == LIBRARY and getattr(query, "group", GROUP) == GROUP
    if isinstance(query, ExpressionAlone) and query.libraries != genomics.libraries:
        return False
    if isinstance(query, ZeroCounts | LogCounts | LibraryLogs):
        own = own and genomics.scale == "counts" and genomics.libraries == "effective"
    return own and (not isinstance(query, LibraryLogs) or query.total == LIBRARY)


def _explains(query: Query, design: tuple[str, ...]) -> bool:
    return getattr(query, "design", design) == design


def compares_genes(study: Study, cohort: str, recipe: Recipe, opened: Freeze | None) -> bool:
    """Whether the groups of a recipe are those of a comparison of genes that was opened by the freeze."""
    if study.genomics is None or opened is None or not any(isinstance(step, Genes) for step in recipe.steps):
        return False
    here = (one for one in study.genomics.comparisons if one.cohort == cohort)
    steps = unscaled(recipe)
    return any(FROZEN + one.name in opened.comparisons and _grouping(one, steps, study) is not None for one in here)


def unscaled(recipe: Recipe) -> tuple[Step, ...]:
    """The steps of a recipe before libraries are scaled."""
    steps = recipe.steps
    return steps[:-1] if steps and isinstance(steps[-1], EffectiveLibrary) else steps


def declares(query: Query, study: Study) -> bool:
    """Whether a comparison of the study asks this."""
    return compared(query, study) is not None


def covariates(query: Query, study: Study) -> dict[CodedColumn, Range]:
    """The covariates of the comparisons of a cohort, each with its range; none for other questions."""
    if study.genomics is None or not is_expression(query):
        return {}
    here = (one for one in study.genomics.comparisons if one.cohort == query.cohort)
    return {column: plausible_range(study, column) for one in here for column in beside(study, one)}


def added_by(
    step: Genes | EffectiveLibrary, ranges: Mapping[str, Range], query: Query, study: Study
) -> dict[str, Range]:
    """The columns that a step of gene expression adds, each with its range; error 414 for what is not declared."""
    comparison = compared(query, study)
    if comparison is None or study.genomics is None:
        raise FedmviError(414, step.step, part="a column")
    if isinstance(step, Genes):
        return dict.fromkeys((*gene_columns(study.genomics.symbols), LIBRARY), (0.0, float("inf")))
    named = bool(step.names) and len(set(step.names)) == len(step.names) == len(step.log_means)
    if not named or not set(step.names) <= set(gene_columns(study.genomics.symbols)) & set(ranges):
        raise FedmviError(414, step.step, part="a column")
    _bounded(np.array(step.log_means), step.log_scale)
    return {}


def _bounded(log_means: np.ndarray[tuple[int, ...], np.dtype[np.float64]], log_scale: float = 0.0) -> None:
    """Error 414 for means that no counts have."""
    sound = bool(np.all((log_means >= 0) & (log_means <= LARGEST_LOG))) and abs(log_scale) <= LARGEST_LOG
    if not sound:
        raise FedmviError(414, part="a number")


def check_numbers(query: Query, ranges: Mapping[str, Range]) -> None:
    """Error 414 for coefficients that would draw the patients of a site apart on the trend of weights."""
    if isinstance(query, LibraryLogs):
        _bounded(query.log_means)
    brought = [query.coefficients] if isinstance(query, ExpressionResiduals | Weighted) else []
    brought += [query.fitted] if isinstance(query, WeightedResiduals) else []
    if not brought or not isinstance(query, Expressed):
        return
    ends = np.array([ranges[name] for name in query.design])
    width = np.where(np.isfinite(ends).all(axis=1), np.minimum(ends[:, 1] - ends[:, 0], 1.0), 1.0)
    if any(bool(np.any(np.abs(one) * width[:, np.newaxis] > LARGEST_CHANGE)) for one in brought):
        raise FedmviError(414, part="a number")


def complete_sets(study: Study) -> Iterator[frozenset[str]]:
    """The columns of which the comparisons of a study need all: those of the score, the library and the covariates."""
    for one in study.genomics.comparisons if study.genomics is not None else ():
        known = frozenset({LIBRARY, *(column.name for column in beside(study, one))})
        if not is_score(one.group):
            yield known | {GROUP}
            continue
        models = candidates(study, of_score(one.group))
        yield from (names | known for model in models for names in needed(study, model))
        if not models:  # of a network, whose scores are left out of what is compared
            yield known


def expression_values(query: Query, study: Study) -> Iterator[tuple[str, str, int]]:
    """What a question of expression may have one value of in a run, that value, and 1: see `Once`."""
    comparison = compared(query, study)
    if comparison is None:
        return
    yield canonical_json(["expression", comparison.name, query.name]), pack(query, type(query)).digest, 1
    last = query.recipe.steps[-1]
    if isinstance(last, EffectiveLibrary):
        key = canonical_json(["expression", comparison.name, "libraries"])
        yield key, pack(last, EffectiveLibrary).digest, 1


def tightened(query: ExpressionCounts | WeightCounts, limits: Limits) -> ExpressionCounts | WeightCounts:
    """The question as a site answers it: of fewer patients than it tells of no gene is told."""
    return query if query.found >= limits.min_cell else replace(query, found=limits.min_cell)


def fewest_of_class(query: Query, limits: Limits) -> int:
    """Patients of a class, below whom a site alone publishes nothing: expression is no area under a curve."""
    return limits.min_class if isinstance(query, GenesAlone) else limits.min_test_class


def refuse_few_expressed(query: Query, frame: Frame, limits: Limits) -> None:
    """Refuse sums of few patients with RNA, of genes that few of them have, and weights that leave few of them.

    Raises
    ------
    FedmviError
        403 patients with RNA, 405 of a group, 409 with a gene, 416 with weight.
    """
    if not isinstance(query, ASKED):
        return
    if frame.n < limits.min_patients:
        raise FedmviError(403, "patients with RNA", cohort=query.cohort, limit=limits.min_patients)
    if GROUP in query.uses:
        high = int(np.count_nonzero(frame.columns[GROUP] == 1.0))
        if min(high, frame.n - high) < limits.min_class:
            raise FedmviError(405, endpoint=GROUP, cohort=query.cohort, limit=limits.min_class)
    for genes, fewest in _must_have(query, frame, limits):
        _refuse_rare(query, genes, fewest, frame, limits)
    if isinstance(query, WeightedProducts | WeightedResiduals):
        _refuse_singled_out(query, frame, limits)


def _must_have(query: Query, frame: Frame, limits: Limits) -> Iterator[tuple[tuple[str, ...], int]]:
    """Genes of which something is told, and how many patients here must have them."""
    sums = isinstance(query, ExpressionLevels) or (
        isinstance(query, Expressed) and not isinstance(query, ExpressionCounts)
    )
    if sums:
        yield getattr(query, "columns", ()), limits.min_cell
    if isinstance(query, LogCounts):
        yield query.columns, frame.n
    if isinstance(query, LibraryLogs):
        yield query.known, frame.n
    for step in query.recipe.steps:
        if isinstance(step, EffectiveLibrary):
            yield step.names, frame.n


def _refuse_rare(query: Query, genes: tuple[str, ...], fewest: int, frame: Frame, limits: Limits) -> None:
    for block in blocks_of(len(genes)):
        had = np.count_nonzero(frame.matrix(genes[block]) > 0, axis=0)
        rare = np.flatnonzero(had < fewest)
        if rare.size:
            local = f"{genes[block][int(rare[0])]}: {int(had[rare[0]])} of {frame.n} patients have it"
            raise FedmviError(409, local, limit=limits.min_cell, cohort=query.cohort)


def _refuse_singled_out(query: Weighted, frame: Frame, limits: Limits) -> None:
    """Weighted sums of genes that `WeightCounts` names are those of few patients."""
    for genes in blocks_of(len(query.columns)):
        weight = query.weights(frame, genes, query.logs(frame, genes))
        if bool(singled_out(weight, limits.min_cell).any()):
            raise FedmviError(416, limit=limits.min_cell, cohort=query.cohort)
