"""common/study: gene expression at a site, and the step of a recipe that reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import STRICT
from common.study.genomics import LIBRARY, gene_columns

if TYPE_CHECKING:
    from common.study.recipe import Frame
    from common.study.table import FloatArray, SiteTable


@dataclass(frozen=True)
class GeneTable:
    """The genes of a study at one site, before eligibility and cohorts.

    Attributes
    ----------
    genes
        Symbols, in the protocol's order.
    values
        (n, genes) counts or transcripts per million; 0 of a gene that the hospital's table has not, which no
        statistic takes for a measurement (a gene that some hospital never found is left out), and NaN in the whole
        row of a patient without RNA.
    library
        (n,) total over everything in the hospital's table, genes of the study or not; NaN without RNA.
    """

    genes: tuple[str, ...]
    values: FloatArray
    library: FloatArray

    def of(self, rows: NDArray[np.bool_]) -> GeneTable:
        """A part of the patients."""
        return GeneTable(self.genes, self.values[rows], self.library[rows])


@dataclass(frozen=True)
class Genes:
    """Adds the columns `gene.<symbol>` of all genes of the study, and `library`."""

    __pydantic_config__ = STRICT
    step: Literal["genes"] = "genes"

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """Add the columns; error 501 where the site's table has none."""
        if table.expression is None:
            raise FedmviError(501, "no gene expression")
        part = table.expression.of(rows)
        columns = dict(zip(gene_columns(part.genes), np.ascontiguousarray(part.values.T), strict=True))
        return replace(frame, columns={**frame.columns, **columns, LIBRARY: part.library})


@dataclass(frozen=True)
class EffectiveLibrary:
    """Replaces `library` by effective library sizes: factors by the median of ratios, and their broadcast scale.

    Attributes
    ----------
    names
        Columns of the genes that have a geometric mean over all libraries.
    log_means
        Its logarithm.
    log_scale
        As `SizeFactors.log_scale_`.
    """

    __pydantic_config__ = STRICT
    names: tuple[str, ...]
    log_means: tuple[float, ...]
    log_scale: float
    step: Literal["effective_library"] = "effective_library"

    def apply(self, frame: Frame) -> Frame:
        """Replace the column."""
        from common.statistics.size_factors import median_of_ratios

        factors = median_of_ratios(frame.matrix(self.names), np.array(self.log_means))
        return replace(frame, columns={**frame.columns, LIBRARY: np.exp(factors + self.log_scale)})
