"""server/study: what is published of each hospital's own expression: levels, their components, and DESeq2 beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import Summary
from common.published.results import Estimate, GeneRows, Result
from common.statistics.expression_alone import GenesTold
from common.statistics.multiplicity import benjamini_hochberg
from common.study.table import FloatArray
from server.study.compared_genes import DIFFERING, STEP, ComparedGenes, gene_rows, symbols_of
from server.study.expression import Compared
from server.study.models import refusal
from server.study.subject import number

_LEAST_ALIKE = 3
"""Fewest genes of which changes are correlated."""
_LEAST_SITES = 3
"""Fewest hospitals of which principal components are told."""


def by_site(compared: Compared, base: Mapping[str, Any], reference: Mapping[str, ComparedGenes]) -> list[Result]:
    """Levels of genes at each site, principal components of them, and DESeq2 of its own patients beside `reference`.

    No result where no site was asked.
    """
    if not compared.levels and not compared.deseq:
        return []
    levels = {site: told for site, told in compared.levels.items() if not isinstance(told, FedmviError)}
    known = {site: told for site, told in levels.items() if bool(np.any(told["level"] != 0))}
    step = STEP if compared.comparison.by == "score" else 1.0
    estimates = _components({site: told["level"] for site, told in known.items()})
    for site, own in compared.deseq.items():
        if site in reference and not isinstance(own, FedmviError):
            estimates += _deseq(site, own, step, reference[site])
    answers = (*compared.levels.items(), *compared.deseq.items())
    errors = [(site, one) for site, one in answers if isinstance(one, FedmviError)]
    notes = [*(_said(site, error) for site, error in errors), *([_LEVELS] if known else [])]
    columns = {name: values for site, told in known.items() for name, values in _levels_of(site, told).items()}
    refused = any(refusal(error)[0] == "refused" for _, error in errors)
    result = {
        **base,
        "id": f"{base['id']}.sites",
        "statistic": "expression-by-site",
        "title": f"{base['title']}: each hospital",
        "how": "site-alone",
        "status": "estimated" if estimates or columns else "refused" if refused else "not-estimable",
        "note": " ".join(dict.fromkeys(notes)),
        "estimates": estimates,
        "genes": _padded(symbols_of(compared.level_genes), columns) if columns else None,
    }
    return [Result.model_validate(result)]


def _said(site: str, error: FedmviError) -> str:
    """What a site answered instead, with its name."""
    words = refusal(error)[1]
    return words if error.site else f"Site {site}: {words}"


_LEVELS = (
    "Levels are mean log2 expression per million over a hospital's patients, of the genes with the smallest p values "
    "and of those expressed most, in hundredths; components are of the hospitals' levels less the genes' means."
)


def _levels_of(site: str, told: Summary) -> dict[str, FloatArray]:
    """The level of a site's genes, and of the first of them by group where groups are told."""
    found = {f"level {site}": told["level"]}
    if bool(np.any(told["groups"] != 0)):
        low, high = told["groups"]
        found |= {f"low {site}": low, f"high {site}": high}
    return found


def _padded(genes: tuple[str, ...], columns: Mapping[str, FloatArray]) -> GeneRows:
    whole = {}
    for name, values in columns.items():
        whole[name] = np.full(len(genes), np.nan)
        whole[name][: len(values)] = values
    return gene_rows(genes, whole)


def _components(levels: Mapping[str, FloatArray]) -> list[Estimate]:
    """Places of the sites on the first two principal components of their levels; of three sites and more."""
    if len(levels) < _LEAST_SITES:
        return []
    table = np.array(list(levels.values()))
    left, values, right = np.linalg.svd(table - table.mean(axis=0), full_matrices=False)
    total = float(np.square(values).sum())
    if not total > 0:
        return []
    found = []
    for axis in range(2):
        # A component has no direction of its own: its largest gene points up.
        sign = 1.0 if right[axis][np.argmax(np.abs(right[axis]))] >= 0 else -1.0
        places = sign * left[:, axis] * values[axis] + 0.0
        name = f"component_{axis + 1}"
        found += [Estimate(name=name, term=site, value=float(at)) for site, at in zip(levels, places, strict=True)]
        share = float(values[axis] ** 2) / total
        found.append(Estimate(name="share_of_variance", term=f"component {axis + 1}", value=share))
    return found


def _deseq(site: str, told: GenesTold, step: float, reference: ComparedGenes) -> list[Estimate]:
    """A site's own DESeq2 beside the reference: genes that differ, correlation of changes, and signs that agree."""
    own = dict(zip(symbols_of(told.genes), (step * told.values["change"]).tolist(), strict=True))
    adjusted = benjamini_hochberg(told.values["p"])
    found = [
        Estimate(name="deseq2_genes", term=site, value=float(len(own))),
        Estimate(name="deseq2_differing", term=site, value=float(np.count_nonzero(adjusted < DIFFERING))),
    ]
    both = [(own[gene], change) for gene, change in zip(reference.genes, reference.change, strict=True) if gene in own]
    if len(both) >= _LEAST_ALIKE:
        correlation = number(float(np.corrcoef(np.array(both).T)[0, 1]))
        found.append(Estimate(name="deseq2_correlation", term=site, value=correlation))
    differing = set(reference.differing)
    signs = [
        (own[gene] > 0) == (change > 0)
        for gene, change in zip(reference.genes, reference.change.tolist(), strict=True)
        if gene in own and gene in differing
    ]
    if signs:
        found.append(Estimate(name="deseq2_same_sign", term=site, value=float(np.mean(signs))))
    return found
