"""common/statistics: DESeq2 at one site, over its own patients: a second opinion on which genes differ.

Negative binomial regression of counts with shrunk dispersions and Wald tests (Love et al., Genome Biol 2014;15:550), by
PyDESeq2 (Muzellec et al., Bioinformatics 2023;39:btad547), which a hospital installs if it likes. Changes are not
shrunk. It cannot be summed over hospitals: dispersions are fitted by steps over single counts.
"""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import SiteView, Summary
from common.statistics.deseq_steps import coefficients, dispersions
from common.statistics.expression_alone import GenesAlone, placed
from common.statistics.voom_sums import reaching
from common.study.genomics import LIBRARY
from common.study.recipe import Frame
from common.study.table import FloatArray

if TYPE_CHECKING:
    from pydeseq2.default_inference import DefaultInference

NOT_INSTALLED = 647
NOT_COUNTS = 648
TOO_FEW_GENES = 649
NOT_FITTED = 604


@dataclass(frozen=True)
class DeseqAlone(GenesAlone):
    """One site's own DESeq2; size factors are its own patients'.

    A gene of an outlying patient (Cook's distance) is not `kept`, as DESeq2 gives it no p value.
    """

    name: ClassVar[str] = "query.deseq_alone"

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own DESeq2 of {len(self.columns)} genes by {self.design[0]}"

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a group, or where nothing could be fitted, only counts are told."""
        frame = site.frame(self)
        summary = self.counted(frame)
        if int(summary["error"]):
            return summary
        genes = self._compared(frame)
        found = self._fitted(frame, genes)
        if isinstance(found, int):
            return {**summary, "error": np.array(found, dtype=np.int64)}
        known = np.flatnonzero(np.isfinite(found).all(axis=0))
        named = tuple(genes[place] for place in known.tolist())
        return summary | placed(self, named, tuple(found[:, known]))

    def _compared(self, frame: Frame) -> tuple[str, ...]:
        """Genes that `min_cell` patients have, and as many patients as the smaller group `least` per million of."""
        values, first = frame.matrix(self.columns), frame.columns[self.design[0]]
        high = int(np.count_nonzero(first == 1.0))
        binary = bool(np.isin(first, (0.0, 1.0)).all())
        enough = min(high, frame.n - high) if binary else -(-frame.n // 2)
        reached = np.count_nonzero(reaching(values, frame.columns[LIBRARY], self.scale, self.least), axis=0)
        had = np.count_nonzero(values > 0, axis=0)
        places = np.flatnonzero((reached >= enough) & (had >= self.min_cell))
        return tuple(self.columns[place] for place in places.tolist())

    def _fitted(self, frame: Frame, genes: tuple[str, ...]) -> FloatArray | int:
        """(3, genes) changes, standard errors and p values, or the number of what was met."""
        if self.scale != "counts":
            return NOT_COUNTS
        if len(genes) < 2:
            return TOO_FEW_GENES
        design = np.column_stack([np.ones(frame.n), frame.matrix(self.design)])
        if np.linalg.matrix_rank(design) < design.shape[1] or frame.n <= design.shape[1]:
            return 603
        try:
            return wald(frame.matrix(genes).astype(np.int64), design)
        except FedmviError as error:
            return error.number


def _inference() -> DefaultInference:
    """PyDESeq2's own, in one thread; its longest steps are taken for all genes at once, many times faster."""
    from pydeseq2.default_inference import DefaultInference

    class AtOnce(DefaultInference):  # type: ignore[misc] # the library has no types
        def irls(
            self,
            counts: FloatArray,
            size_factors: FloatArray,
            design_matrix: FloatArray,
            disp: FloatArray,
            min_mu: float,
            beta_tol: float,
        ) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
            known = {"size_factors": size_factors, "design_matrix": design_matrix, "min_mu": min_mu}
            found = coefficients(counts, size_factors, design_matrix, disp, min_mu, beta_tol)
            left = np.flatnonzero(~found.converged)
            if left.size:  # PyDESeq2 has another way for those that diverge
                rest = super().irls(counts=counts[:, left], disp=disp[left], beta_tol=beta_tol, **known)
                found.beta[left], found.mu[:, left], found.leverage[:, left], found.converged[left] = rest
            return found.beta, found.mu, found.leverage, found.converged

        def alpha_mle(
            self,
            counts: FloatArray,
            design_matrix: FloatArray,
            mu: FloatArray,
            alpha_hat: FloatArray,
            min_disp: float,
            max_disp: float,
            prior_disp_var: float | None = None,
            **_: bool,
        ) -> tuple[FloatArray, NDArray[np.bool_]]:
            prior = None if prior_disp_var is None else (alpha_hat, prior_disp_var)
            found = dispersions(counts, design_matrix, mu, (min_disp, max_disp), prior)
            return found, np.ones(found.size, dtype=bool)

        def lin_reg_mu(
            self, counts: FloatArray, size_factors: FloatArray, design_matrix: FloatArray, min_mu: float
        ) -> FloatArray:
            scaled = counts / size_factors[:, np.newaxis]
            fitted = design_matrix @ np.linalg.lstsq(design_matrix, scaled, rcond=None)[0]
            return np.asarray(np.maximum(size_factors[:, np.newaxis] * fitted, min_mu), dtype=np.float64)

    return AtOnce(n_cpus=1)


def wald(counts: NDArray[np.int64], design: FloatArray) -> FloatArray:
    """(3, genes) log2 change with the second column of the design, its standard error, and p of (n, genes) counts; the
    first column is ones.

    One thread and nothing printed; a gene that DESeq2 gives no p value has NaN.

    Raises
    ------
    FedmviError
        647 PyDESeq2 is not installed; 604 it could not be fitted.
    """
    try:
        from anndata import AnnData
        from pydeseq2.dds import DeseqDataSet
        from pydeseq2.ds import DeseqStats
    except ImportError as error:
        raise FedmviError(NOT_INSTALLED, str(error)) from error
    terms = {f"x{j}": column for j, column in enumerate(design.T) if j > 0}
    # What it prints and warns of may hold a hospital's numbers.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            inference, table = _inference(), AnnData(counts, obs=terms)
            fitted = DeseqDataSet(adata=table, design="~" + " + ".join(terms), inference=inference, quiet=True)
            fitted.deseq2()
            contrast = np.eye(design.shape[1])[1]
            tested = DeseqStats(fitted, contrast=contrast, inference=inference, independent_filter=False, quiet=True)
            tested.summary()
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            raise FedmviError(NOT_FITTED, f"{type(error).__name__}: {error}", model="DESeq2") from error
    found = tested.results_df
    return np.asarray(found[["log2FoldChange", "lfcSE", "pvalue"]].to_numpy(dtype=np.float64).T)
