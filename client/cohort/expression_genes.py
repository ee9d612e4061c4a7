"""client/cohort: which rows of a table of expression are which genes of the study, and what is lost on the way.

A hospital's identifiers are symbols, Ensembl identifiers with or without their version, or both in two columns; the
study's list says which of them are one gene. Nothing is guessed: a name that the list does not have is another gene.
"""

from __future__ import annotations

import re

import numpy as np

from client.cohort.expression_files import Matrix
from client.cohort.problems import Problems
from common.errors import FedmviError, Severity
from common.study.genomics import Genomics, unversioned

_TALLIES = re.compile(r"__\w+|N_(unmapped|multimapping|noFeature|ambiguous)", re.ASCII)
"""What HTSeq and STAR write below the genes: reads of none of them."""
_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATE = re.compile(
    rf"\d{{1,2}}-({_MONTH})|({_MONTH})-\d{{1,2}}|\d{{4}}-\d\d-\d\d( 00:00:00)?|\d\d?[./]\d\d?[./]\d{{4}}"
)
"""Genes such as MARCHF1, SEPTIN2 and DEC1 under their former symbols, after a spreadsheet (Ziemann et al., Genome Biol
2016; 17: 177)."""
_LISTED = 8
_LONGEST = 64
_MANY = 0.1
"""Of the study's genes: when more are lacking, somebody should look."""


def without_tallies(matrix: Matrix, problems: Problems) -> Matrix:
    """The rows that are genes; 221 notes the others."""
    tallies = [row for row, names in enumerate(matrix.names) if _TALLIES.fullmatch(names[0])]
    if not tallies:
        return matrix
    problems.add(221, matrix.place(tallies[0]), _listed([matrix.names[row][0] for row in tallies]), Severity.NOTE)
    gone = set(tallies)
    return matrix.of([row for row in range(len(matrix.names)) if row not in gone])


def rows_of_genes(matrix: Matrix, genomics: Genomics, problems: Problems) -> dict[str, int]:
    """The row of every gene of the study that the table has, by its symbol.

    A gene of the study in two rows is an error (218), whether under one name or two: whose counts to add, and whose to
    drop, the file does not say.
    """
    found: dict[str, int] = {}
    for row, names in enumerate(matrix.names):
        called = map(unversioned, _called(names))
        known = dict.fromkeys(genomics.by_name[name] for name in called if name in genomics.by_name)
        symbol = next(iter(known), None)
        if len(known) > 1:
            detail = f"{' and '.join(names)} are two genes of the study"
            problems.add(218, matrix.place(row), detail)
        elif symbol is not None and found.setdefault(symbol, row) != row:
            one, two = matrix.names[found[symbol]][0], names[0]
            what = f"'{two}'" if one == two else f"'{two}', which is '{symbol}' of the study as '{one}' is,"
            problems.add(218, matrix.place(row), f"{what} is in row {matrix.rows[found[symbol]]} too")
    _note_names(matrix, found, problems)
    _note_losses(matrix, genomics, found, problems)
    return found


def _called(names: tuple[str, ...]) -> list[str]:
    """All names of a gene; `A1BG|1`, as the first RNA tables of TCGA have it, is a symbol and an identifier."""
    return [name for cell in names for name in cell.split("|")]


def _note_names(matrix: Matrix, found: dict[str, int], problems: Problems) -> None:
    """What cannot be a name (217, 219), and other genes that are there twice."""
    taken = set(found.values())
    others = [row for row in range(len(matrix.names)) if row not in taken]
    dates = [row for row in others if any(_DATE.fullmatch(name) for name in matrix.names[row])]
    if dates:
        detail = _listed([" ".join(filter(_DATE.fullmatch, matrix.names[row])) for row in dates])
        problems.add(219, matrix.place(dates[0]), detail, Severity.WARNING, count=len(dates))
    dated = set(dates)
    strange = [row for row in others if row not in dated and not any(map(_is_name, _called(matrix.names[row])))]
    if strange:
        detail = _listed([repr(matrix.names[row][0]) for row in strange])
        problems.add(217, matrix.place(strange[0]), detail, Severity.WARNING, count=len(strange))
    first: dict[str, int] = {}
    again = [r for r in others if matrix.names[r][0] and first.setdefault(unversioned(matrix.names[r][0]), r) != r]
    if again:
        detail = f"{len(again)} of other genes than the study's: {_listed([matrix.names[row][0] for row in again])}"
        problems.add(218, matrix.place(again[0]), detail, Severity.NOTE)


def _is_name(name: str) -> bool:
    """Whether a gene may be called so, also outside of a study: annotations have `Y_RNA`, `HLA-DRB1*15` and `TRB@`."""
    return 0 < len(name) <= _LONGEST and name.isascii() and name.isprintable() and " " not in name


def _note_losses(matrix: Matrix, genomics: Genomics, found: dict[str, int], problems: Problems) -> None:
    """220: which genes of the study are lacking, and how much of what was read is of genes of the study."""
    lacking = [symbol for symbol in genomics.symbols if symbol not in found]
    words = f"{len(matrix.names)} genes in the table, {len(found)} of the study's {len(genomics.symbols)}"
    library = matrix.values.sum(axis=0)
    if found and matrix.samples and np.all(library > 0):
        share = 100 * matrix.values[sorted(found.values())].sum(axis=0) / library
        words += f", which have {share.min():.1f} to {share.max():.1f} % of the patients' libraries"
    if lacking:
        words += f"; not there: {_listed(lacking)}"
    if not found and matrix.names:
        words += f"; the table has {_listed([names[0] for names in matrix.names[:_LISTED]])}"
    many = len(lacking) > _MANY * len(genomics.symbols)
    severity = Severity.ERROR if not found else Severity.WARNING if many else Severity.NOTE
    facts = {"lacking": len(lacking), "genes": len(genomics.symbols)}
    problems.found.append(FedmviError(220, f"{matrix.file}: {words}", severity=severity, **facts))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
