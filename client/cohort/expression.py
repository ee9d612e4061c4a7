"""client/cohort: gene expression of a hospital's patients as the study sees it; every problem is noted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.cohort.expression_files import Matrix, read_matrix
from client.cohort.expression_genes import rows_of_genes, without_tallies
from client.cohort.expression_scale import check_scale
from client.cohort.problems import Place, Problems
from client.cohort.site import Site
from client.cohort.withdrawn import withdrawn
from common.errors import FedmviError, Severity
from common.study.expressed import GeneTable
from common.study.genomics import sequenced_sites
from common.study.protocol import Study

_LISTED = 8


def read_expression(site: Site, study: Study, patients: Sequence[str], problems: Problems) -> GeneTable | None:
    """The study's genes of the patients of the table, in its order.

    Returns
    -------
    None where the study does not compare this site's expression, or the file is no table of genes. Nothing is raised: a
    problem of severity ERROR says that what is returned must not be used.
    """
    if study.genomics is None or site.name not in sequenced_sites(study):
        return None
    try:
        matrix = read_matrix(site, frozenset(filter(None, patients)), problems)
        gone = withdrawn(site)
    except FedmviError as error:
        problems.found.append(error)
        return None
    if matrix is None:
        return None
    _note_strangers(matrix, [name for name in matrix.others if name and name not in gone], problems)
    if not matrix.names or not matrix.samples:
        if not matrix.names:
            problems.add(215, Place(matrix.file), "there is no gene")
        return None
    matrix = without_tallies(matrix, problems)
    check_scale(matrix, study.genomics, problems)
    found = rows_of_genes(matrix, study.genomics, problems)
    return _table(matrix, study.genomics.symbols, found, patients)


def _note_strangers(matrix: Matrix, others: list[str], problems: Problems) -> None:
    """216: an error where nobody else is there, as when the file has the laboratory's own ids."""
    if not others and matrix.samples:
        return
    shown = ", ".join(repr(name[:40]) for name in others[:_LISTED])
    more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
    detail = f"{shown}{more}; {len(matrix.samples)} of its columns are of patients"
    severity = Severity.WARNING if matrix.samples else Severity.ERROR
    problems.add(216, Place(matrix.file, 1), detail, severity, count=len(others))


def _table(matrix: Matrix, symbols: tuple[str, ...], found: dict[str, int], patients: Sequence[str]) -> GeneTable:
    """Patients by genes: 0 for genes that the table lacks, NaN for patients whom it lacks."""
    column = {name: i for i, name in enumerate(matrix.samples)}
    library = np.full(len(patients), np.nan)
    values = np.full((len(patients), len(symbols)), np.nan)
    there = [i for i, patient in enumerate(patients) if patient in column]
    chosen = [column[patients[i]] for i in there]
    library[there] = matrix.values.sum(axis=0)[chosen]
    genes = np.zeros((len(symbols), len(chosen)))
    for i, symbol in enumerate(symbols):
        if symbol in found:
            genes[i] = matrix.values[found[symbol], chosen]
    values[there] = genes.T
    return GeneTable(symbols, values, library)
