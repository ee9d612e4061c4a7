"""client/describing: gene expression of a site in a few numbers, by cohort."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np

from client.cohort.units import Flags
from common.study.genomics import sequenced_sites
from common.study.protocol import Cohort, Study
from common.study.table import SiteTable


@dataclass(frozen=True)
class Sequenced:
    """Patients of a cohort: all, those with RNA, and the smallest, median and largest of their libraries."""

    cohort: str
    patients: int
    with_rna: int
    libraries: tuple[float, float, float]


@dataclass(frozen=True)
class ExpressionHere:
    """What there is of gene expression.

    Attributes
    ----------
    genes, silent
        Genes of the study; and those of them that no patient here expresses, or that the table lacks.
    cohorts
        Whose expression is compared.
    unread
        Whether the site's table could not be read.
    """

    genes: int
    silent: tuple[str, ...]
    cohorts: tuple[Sequenced, ...]
    unread: bool


def expression_here(
    site: str, table: SiteTable, study: Study, cohorts: Iterable[tuple[Cohort, Flags]]
) -> ExpressionHere | None:
    """None where the study compares no expression of this site; `cohorts` are the site's, with their rows."""
    if study.genomics is None or site not in sequenced_sites(study):
        return None
    read = table.expression
    if read is None:
        return ExpressionHere(len(study.genomics.symbols), (), (), True)
    compared = {one.cohort for one in study.genomics.comparisons}
    there = ~np.isnan(read.library)
    found = []
    for cohort, rows in cohorts:
        if cohort.name in compared:
            sizes = read.library[rows & there].tolist() or [np.nan]
            span = (min(sizes), median(sizes), max(sizes))
            found.append(Sequenced(cohort.name, int(rows.sum()), int((rows & there).sum()), span))
    expressed = (np.nan_to_num(read.values) > 0).sum(axis=0)
    silent = tuple(gene for gene, patients in zip(read.genes, expressed, strict=True) if patients == 0)
    return ExpressionHere(len(read.genes), silent, tuple(found), False)
