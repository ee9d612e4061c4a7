"""server/study: what is published of gene expression: genes that differ, hospitals' own levels, and sets of genes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import FedmviError
from common.federation.query import HIDDEN
from common.published.results import Estimate, Result
from common.statistics.expression import MOST_ZEROS, Expression
from common.statistics.expression_alone import GenesTold
from common.statistics.multiplicity import benjamini_hochberg
from common.study.genomics import ExpressionComparison
from common.study.modelling import is_score
from common.study.protocol import Study
from server.study.compared_genes import STEP, ComparedGenes, symbols_of
from server.study.comparisons import group_labels
from server.study.evaluation import alone_base
from server.study.expression import Compared
from server.study.expression_by_site import by_site
from server.study.gene_set_results import gene_sets_of
from server.study.gene_sets import Sets
from server.study.models import refusal
from server.study.subject import number


def publish_expression(study: Study, found: Sequence[Compared], sets: Sets | None) -> list[Result]:
    """All results of all comparisons."""
    results: list[Result] = []
    for compared in found:
        base = _base(study, compared.comparison)
        if compared.pooled is None:
            own = _alone(study, compared, base, sets)
        elif isinstance(compared.pooled, FedmviError):
            status, why = refusal(compared.pooled)
            own = [Result.model_validate({**base, "status": status, "note": why})]
        else:
            own = _pooled(study, compared, compared.pooled, base, sets)
        results += [_with_groups(study, compared.comparison, result) for result in own]
    return results


def _with_groups(study: Study, comparison: ExpressionComparison, result: Result) -> Result:
    """What has a number a gene says what the groups are called: that of code 0 is `low` in columns of levels."""
    if result.genes is None:
        return result
    labels = group_labels(study, comparison.group)[:2]
    named = [Estimate(name="group", term=label, value=float(code)) for code, label in enumerate(labels)]
    return result.model_copy(update={"estimates": [*result.estimates, *named]})


def _base(study: Study, comparison: ExpressionComparison) -> dict[str, Any]:
    cohort = study.cohort(comparison.cohort)
    return {
        "id": f"expression.{comparison.name}",
        "statistic": "differential-expression",
        "kind": comparison.by,
        "title": comparison.label or _title(study, comparison),
        "cohort": cohort.name,
        "sites": sorted(cohort.sites),
        "how": "exact",
        "note": _note(study, comparison),
    }


def _title(study: Study, comparison: ExpressionComparison) -> str:
    head = group_labels(study, comparison.group)[0].partition(":")[0]
    if not is_score(comparison.group):
        return f"Gene expression by {head}"
    along = "with the score" if comparison.by == "score" else "high against low score"
    return f"Gene expression, {along} of {head}"


def _note(study: Study, comparison: ExpressionComparison) -> str:
    genomics = study.genomics
    scale = "counts" if genomics is None else genomics.scale
    low, high = group_labels(study, comparison.group)[:2]
    told = (
        f"Change for {STEP:g} more of the score." if comparison.by == "score" else f"Change of '{high}' from '{low}'."
    )
    method = (
        "Counts by limma-voom (Law et al., Genome Biol 2014;15:R29)"
        if scale == "counts"
        else "log2(TPM + 1) by limma (Smyth, Stat Appl Genet Mol Biol 2004;3:3)"
    )
    sparse = (
        f" Genes that more than {MOST_ZEROS:.0%} of the patients lack, or whose weights would single patients out: "
        "ordinary t of log counts without weights."
        if scale == "counts"
        else ""
    )
    alike = ", ".join(study.variable(name).title for name in comparison.covariates)
    beside_it = f" and with {alike} held alike" if alike else ""
    return (
        f"{told} {method}, within hospitals{beside_it}; moderated t, p values adjusted by Benjamini & Hochberg "
        f"(FDR: the expected share of false ones among genes that are said to differ).{sparse}"
    )


# ------------------------------------------------------------------------------------------------- all hospitals


def _pooled(
    study: Study, compared: Compared, found: Expression, base: Mapping[str, Any], sets: Sets | None
) -> list[Result]:
    comparison, fit = compared.comparison, found.fit
    step = STEP if comparison.by == "score" else 1.0
    genes = ComparedGenes(
        symbols_of(fit.genes), step * fit.log2_fold_change_, step * fit.std_err_, fit.t_, fit.p_, fit.adjusted_p_,
        fit.mean_, fit.degrees_,
    )  # fmt: skip
    parts_of = {"absent": fit.absent_, "rare": fit.rare_, "sparse": fit.sparse_, "apart": fit.apart_}
    estimates = [
        *genes.counted,
        *(Estimate(name=f"genes_{name}", value=float(count)) for name, count in parts_of.items()),
    ]
    if comparison.by == "group":
        cell, parts = study.limits.min_cell, (fit.n_ - fit.high_, fit.high_)
        labels = group_labels(study, comparison.group)
        shown = min(parts) >= cell
        estimates += [
            Estimate(name="patients", term=label, value=float(n) if shown else None)
            for label, n in zip(labels, parts, strict=False)
        ]
    estimates += [
        Estimate(name="prior_variance", value=number(fit.prior_.variance)),
        Estimate(name="prior_degrees", value=number(fit.prior_.degrees), note=_degrees_note(fit.prior_.degrees)),
        Estimate(name="degrees", value=number(float(fit.degrees_.max()))),
    ]
    whole = Result.model_validate({**base, "n": fit.n_, "estimates": estimates, "genes": genes.rows})
    reference = dict.fromkeys(base["sites"], genes)
    return [
        whole,
        *by_site(compared, base, reference),
        *gene_sets_of(study, base, genes, sets),
    ]


def _degrees_note(degrees: float) -> str:
    return "infinite: all genes vary alike" if math.isinf(degrees) else ""


# -------------------------------------------------------------------------------------------------- a site alone


def _alone(study: Study, compared: Compared, base: Mapping[str, Any], sets: Sets | None) -> list[Result]:
    """A result for each site of a cohort of too few for a sum."""
    results: list[Result] = []
    reference: dict[str, ComparedGenes] = {}
    for site, told in compared.alone.items():
        own = alone_base(dict(base), site)
        if isinstance(told, FedmviError):
            status, why = refusal(told)
            results.append(Result.model_validate({**own, "status": status, "note": why}))
            continue
        genes = reference[site] = _told(compared.comparison, told)
        counted = genes.counted
        n = None if HIDDEN in told.classes else sum(told.classes)
        results.append(Result.model_validate({**own, "n": n, "estimates": counted, "genes": genes.rows}))
        results += gene_sets_of(study, own, genes, sets)
    return results + (by_site(compared, base, reference) if reference else [])


def _told(comparison: ExpressionComparison, told: GenesTold) -> ComparedGenes:
    step = STEP if comparison.by == "score" else 1.0
    v = told.values
    return ComparedGenes(
        symbols_of(told.genes), step * v["change"], step * v["std_err"], v["t"], v["p"], benjamini_hochberg(v["p"]),
        v["mean"], v["degrees"],
    )  # fmt: skip
