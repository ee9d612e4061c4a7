"""simulation: exactness of size factors, and of a hospital's own PyDESeq2, against what R's DESeq2 gave.

PyDESeq2 fits dispersions and coefficients by other steps than DESeq2, and ends a little elsewhere: its
tolerances say how far apart the two programs are, not how exact a sum is.
"""

from __future__ import annotations

import numpy as np

from common.statistics.deseq_alone import wald
from common.statistics.size_factors import SizeFactors, size_factors
from common.study.genomics import LIBRARY
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Absent, Case, Difference, largest, library, public_data, relative
from simulation.exactness.tables import deseq2_counts
from simulation.views import COHORT

GROUP = "group"
ORACLE = "R DESeq2"


def deseq() -> Case:
    """Size factors of three sites together; PyDESeq2 on the rows of all, as one hospital would have them."""
    try:
        ours = library("pydeseq2")
    except ImportError as error:
        raise Absent("pydeseq2 is not installed") from error
    table = deseq2_counts()
    genes = tuple(name for name in table.columns if name not in (GROUP, LIBRARY))
    counts, group = table.matrix(genes), table.columns[GROUP]

    def differences(found: list[SizeFactors]) -> list[Difference]:
        return [_factors(found[0].factors(counts)), *_wald(counts, group, ours)]

    return Case(table, lambda: [size_factors(COHORT, Recipe(), genes, LIBRARY)], differences)


def _factors(ours: FloatArray) -> Difference:
    return Difference("size factors", ORACLE, relative(ours, _reference("r_test_size_factors", "x")), 1e-12)


def _wald(counts: FloatArray, group: FloatArray, ours: str) -> list[Difference]:
    change, std_err, p = wald(counts.astype(np.int64), np.column_stack([np.ones(group.size), group]))
    theirs = {name: _reference("r_test_res", name) for name in ("log2FoldChange", "lfcSE", "pvalue")}
    oracle = f"{ORACLE}, v {ours}"
    return [
        Difference("log2 fold changes (one hospital)", oracle, largest(change, theirs["log2FoldChange"]), 1e-4),
        Difference("standard errors (one hospital)", oracle, relative(std_err, theirs["lfcSE"]), 2e-3),
        Difference("log10 p (one hospital)", oracle, largest(np.log10(p), np.log10(theirs["pvalue"])), 1e-2),
    ]


def _reference(file: str, column: str) -> FloatArray:
    import pandas as pd

    read = pd.read_csv(public_data("deseq2_reference") / "single_factor" / f"{file}.csv", index_col=0)
    return np.asarray(read[column].to_numpy(dtype=np.float64))


CASES = (deseq,)
