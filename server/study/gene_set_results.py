"""server/study: what is published of gene sets: those enriched among ranked genes, or among genes that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.errors import FedmviError
from common.published.results import Curve, Estimate, GeneSetRow, Result
from common.study.fingerprint import study_fingerprint
from common.study.genomics import GeneSets
from common.study.protocol import Study
from server.study.compared_genes import ComparedGenes
from server.study.enrichment import Ranking, enriched, looked_for, over_represented, preranked, running_curves
from server.study.gene_sets import Sets, declared_sets
from server.study.models import refusal


def gene_sets_of(study: Study, base: Mapping[str, Any], genes: ComparedGenes, sets: Sets | None) -> list[Result]:
    """Preranked enrichment and over-representation, of a study that names gene sets."""
    declared = declared_sets(study)
    if declared is None:
        return []
    ranking = Ranking.of(genes.genes, genes.t)
    known = {} if sets is None else looked_for(sets, genes.genes, declared)
    seed = int(study_fingerprint(study)[:8], 16)

    def ranked() -> tuple[list[GeneSetRow], list[Curve], str]:
        rows = preranked(ranking, known, declared, seed)
        return rows, running_curves(ranking, known, rows), _PRERANKED

    def represented() -> tuple[list[GeneSetRow], list[Curve], str]:
        differing = genes.differing
        rows = over_represented(genes.genes, differing, known)
        return rows, [], _OVER if rows else "No gene differs, so that no set is over-represented."

    return [
        _set_result(base, "preranked", "Gene sets, ranked genes", declared, known, sets, ranked),
        _set_result(base, "over-representation", "Gene sets, genes that differ", declared, known, sets, represented),
    ]


_PRERANKED = (
    "Enrichment of genes ranked by t, its p values by random sets of as many genes and FDR by their normalised scores "
    "(GSEA; Subramanian et al., PNAS 2005;102:15545); no p is told as less than one over the random sets. Random sets "
    "take genes for independent: genes that go together make their set look enriched too often (Wu & Smyth, Nucleic "
    "Acids Res 2012;40:e133)."
)
_OVER = (
    "Genes with an FDR below 5 %, higher and lower ones together, against all that were compared: upper tail of the "
    "hypergeometric distribution, odds ratio with 0.5 added to each cell, FDR by Benjamini & Hochberg."
)


def _set_result(
    base: Mapping[str, Any],
    name: str,
    title: str,
    declared: GeneSets,
    known: Mapping[str, Sequence[str]],
    sets: Sets | None,
    find: Callable[[], tuple[list[GeneSetRow], list[Curve], str]],
) -> Result:
    result = {
        **base,
        "id": f"{base['id']}.gene-sets.{name}",
        "statistic": "gene-sets",
        "kind": name,
        "title": f"{title}: {base['title']}",
    }
    if sets is None:
        status, why = refusal(FedmviError(130, file=declared.file))
        return Result.model_validate({**result, "status": status, "note": why})
    if not known:
        why = f"No set of {declared.file} has {declared.smallest} to {declared.largest} of the genes compared."
        return Result.model_validate({**result, "status": "not-estimable", "note": why})
    try:
        rows, curves, note = find()
    except FedmviError as error:
        status, why = refusal(error)
        return Result.model_validate({**result, "status": status, "note": why})
    estimates = [
        Estimate(name="sets", value=float(len(known))),
        Estimate(name="enriched", value=float(sum(enriched(row) for row in rows))),
    ]
    note = f"{note} Sets of {declared.file} with {declared.smallest} to {declared.largest} of the genes compared."
    return Result.model_validate({**result, "note": note, "estimates": estimates, "curves": curves, "sets": rows})
