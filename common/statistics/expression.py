"""common/statistics: gene expression between groups across sites: libraries on one scale, then limma-voom.

Size factors by the median of ratios of all hospitals, and differential expression with libraries of that size. Which
genes are compared is decided by their share of the whole library, before libraries are scaled; those that many patients
lack have no part in the trend of weights (`MOST_ZEROS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from common.federation.runner import Conclusion, together
from common.statistics.size_factors import SizeFactors, size_factors
from common.statistics.voom import DifferentialExpression, Found, found_genes, moderated_tests
from common.statistics.voom_sums import Scale
from common.study.expressed import EffectiveLibrary
from common.study.genomics import LIBRARY
from common.study.recipe import Recipe

Libraries = Literal["effective", "total"]

MOST_ZEROS = 0.1
"""The largest share of patients without a gene whose counts have weights. Counts of twenty and more are hardly ever 0
by chance; genes that more patients lack are off in some, and logarithms of their counts have two humps."""


@dataclass(frozen=True)
class Expression:
    """Differential expression, and how libraries were scaled for it.

    Attributes
    ----------
    fit
        The genes' moderated t statistics.
    recipe
        Of the frame that they are made of, with effective library sizes if there are some.
    factors
        What makes these; None where libraries are their total counts, and of transcripts per million.
    """

    fit: DifferentialExpression
    recipe: Recipe
    factors: SizeFactors | None

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a gene."""
        return self.fit.summary


def expression(
    cohort: str,
    recipe: Recipe,
    columns: tuple[str, ...],
    design: tuple[str, ...],
    *,
    scale: Scale = "counts",
    libraries: Libraries = "effective",
    least: float = 0.0,
    fewest: int = 0,
    found: int = 1,
    zeros: float = MOST_ZEROS,
) -> Conclusion[Expression]:
    """Size factors where they are asked for, and differential expression; eight rounds, six with total libraries,
    three of TPM. Parameters as of `differential_expression`.

    Raises
    ------
    FedmviError
        601 too few patients; 649 fewer than two genes, or none in every patient; 603 columns that say nothing of their
        own.
    """
    known = found_genes(
        cohort, recipe, columns, design, LIBRARY, scale=scale, least=least, fewest=fewest, found=found, zeros=zeros
    )
    if scale == "tpm" or libraries == "total":
        genes: Found = yield from known
        fit = yield from moderated_tests(cohort, recipe, genes, design, LIBRARY, scale)
        return Expression(fit, recipe, None)
    genes, factors = yield from together(known, size_factors(cohort, recipe, columns, LIBRARY))
    scaled = recipe.then(effective(factors))
    fit = yield from moderated_tests(cohort, scaled, genes, design, LIBRARY, scale)
    return Expression(fit, scaled, factors)


def effective(factors: SizeFactors) -> EffectiveLibrary:
    """The step that replaces library sizes by effective ones."""
    means = factors.log_means_
    named = tuple(gene for gene, mean in zip(factors.genes, means.tolist(), strict=True) if np.isfinite(mean))
    return EffectiveLibrary(named, tuple(means[np.isfinite(means)].tolist()), factors.log_scale_)
