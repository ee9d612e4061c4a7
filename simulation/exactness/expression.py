"""simulation: exactness of differential expression and of size factors, against R's limma and the pooled formula."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from common.statistics.expression import MOST_ZEROS
from common.statistics.size_factors import SizeFactors, size_factors
from common.statistics.voom import DifferentialExpression, differential_expression
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, relative
from simulation.exactness.tables import rna_counts
from simulation.views import COHORT


def genes_of(table: Table) -> tuple[str, ...]:
    """The columns that are counts."""
    return tuple(name for name in table.columns if name.startswith("gene"))


def factors() -> Case:
    """Size factors by the median of ratios, and effective library sizes."""
    table = rna_counts()
    genes = genes_of(table)
    counts = table.matrix(genes)
    return Case(table, lambda: [size_factors(COHORT, Recipe(), genes)], lambda found: _factors(counts, found[0]))


def _factors(counts: FloatArray, fit: SizeFactors) -> list[Difference]:
    frozen = golden("expression")
    oracle = f"median of ratios in {frozen['r']['version'].split(' (')[0]}"
    return [
        Difference("size factors", oracle, relative(fit.factors(counts), frozen["size_factors"]), 1e-12),
        Difference(
            "effective library sizes",
            oracle,
            relative(fit.effective_library(counts), frozen["effective_library"]),
            1e-12,
        ),
    ]


def voom() -> Case:
    """Moderated t statistics of all genes: of the group alone, beside age, and with effective library sizes; and as
    studies have them, where genes that many patients lack are compared without weights."""
    table = rna_counts()
    genes = genes_of(table)
    effective = np.array(golden("expression")["effective_library"])
    table = replace(table, columns={**table.columns, "effective": effective})
    asked = (
        (("group",), "library", 1.0),
        (("group", "age"), "library", 1.0),
        (("group",), "effective", 1.0),
        (("group", "age"), "effective", MOST_ZEROS),
    )
    return Case(
        table,
        lambda: [
            differential_expression(COHORT, Recipe(), genes, design, library, zeros=zeros)
            for design, library, zeros in asked
        ],
        _voom,
    )


def tpm() -> Case:
    """Moderated t statistics of log2(TPM + 1): of the group alone, and beside age."""
    table = rna_counts()
    genes = genes_of(table)
    counts = table.matrix(genes)
    million = counts / counts.sum(axis=1)[:, np.newaxis] * 1e6
    table = replace(table, columns={**table.columns, **dict(zip(genes, million.T, strict=True))})
    asked = (("group",), ("group", "age"))
    return Case(
        table,
        lambda: [differential_expression(COHORT, Recipe(), genes, design, "library", scale="tpm") for design in asked],
        lambda found: _limma(found, ("tpm", "tpm_adjusted")),
    )


def _voom(found: list[DifferentialExpression]) -> list[Difference]:
    sparse = tuple(gene for gene, one in zip(found[3].genes, found[3].weighted_.tolist(), strict=True) if not one)
    if sparse != tuple(golden("expression")["sparse"]["sparse"]):
        raise AssertionError("other sparse genes than R's")
    return _limma(found, ("plain", "adjusted", "effective", "sparse"))


def _limma(found: list[DifferentialExpression], keys: tuple[str, ...]) -> list[Difference]:
    frozen = golden("expression")
    rows = []
    for fit, key in zip(found, keys, strict=True):
        oracle = f"R limma {frozen['r']['limma']}{' and lm' if key == 'sparse' else ''}"
        theirs: dict[str, Any] = frozen[key]
        if fit.genes != tuple(frozen["found"]):
            raise AssertionError("other genes than R's")
        hits = [np.array(p) < 0.05 for p in (fit.adjusted_p_, theirs["adjusted"])]
        rows += [
            Difference(f"log2 fold changes ({key})", oracle, largest(fit.log2_fold_change_, theirs["coef"]), 1e-8),
            Difference(f"moderated t ({key})", oracle, largest(fit.t_, theirs["t"]), 1e-6),
            Difference(f"standard errors ({key})", oracle, relative(fit.std_err_, theirs["std_err"]), 1e-6),
            Difference(f"log10 p ({key})", oracle, largest(np.log10(fit.p_), np.log10(theirs["p"])), 1e-6),
            Difference(
                f"prior degrees of freedom ({key})", oracle, relative(fit.prior_.degrees, theirs["prior_degrees"]), 1e-6
            ),
            Difference(
                f"genes within the false discovery rate ({key})", oracle, float((hits[0] != hits[1]).sum()), 0.0
            ),
        ]
    return rows


CASES = (factors, voom, tpm)
